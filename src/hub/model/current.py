"""`current_task()` and `current_tasks()`: what the calling code is processing."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from math import isfinite
from typing import Final, final

from hub.model.errors import NotInTask
from hub.types import InstanceId, ModelName, TaskId

LONGEST_MESSAGE: Final = 1_000
"""Characters of a progress message that are stored."""


@final
class TaskControl:
    """The link between the run of a task and the code of its model.

    Args:
        report_progress: Called with a fraction and a message, from the thread that the model runs in; returns at once.
    """

    __slots__ = ("cancelled", "report_progress")

    def __init__(self, report_progress: Callable[[float | None, str], None]) -> None:
        self.report_progress = report_progress
        self.cancelled = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrentTask:
    """The task of a request that `process_request` or `process_batch` is called with.

    Attributes:
        attempt: Number of this run of the task, from 1. Above 1 an earlier run was interrupted, possibly half-way, or failed
            and is retried.
        deadline: Unix time in seconds after which the outcome is not needed; `None` if there is no limit.
    """

    id: TaskId
    attempt: int
    deadline: float | None
    model: ModelName
    instance: InstanceId
    control: TaskControl = field(repr=False, compare=False)

    @property
    def cancelled(self) -> bool:
        """Whether the task has been cancelled or its deadline has passed.

        For a plain `process_request`, whose thread cannot be interrupted: check it regularly, and return. An `async def`
        is cancelled at its next `await`.
        """
        return self.control.cancelled

    def report(self, fraction: float | None = None, message: str = "") -> None:
        """Reports progress; clients receive it as `progress` of the task, shortly afterwards.

        Returns at once. It may be called at any rate (the last report counts, about five a second are sent), from the event
        loop, a worker thread, or a process of the model's own. Reports are lost while the store is out of reach.

        Args:
            fraction: Share of the work that is done, from 0 to 1; `None` if unknown.
            message: Text for clients, up to `LONGEST_MESSAGE` characters.

        Raises:
            ValueError: `fraction` is not between 0 and 1.
        """
        if fraction is not None and not (isfinite(fraction) and 0 <= fraction <= 1):
            raise ValueError(f"fraction is {fraction!r}; report progress as a number from 0 to 1, or None")
        if not self.cancelled:
            self.control.report_progress(fraction, message[:LONGEST_MESSAGE])


_current: Final[ContextVar[CurrentTask | tuple[CurrentTask, ...]]] = ContextVar("hub.current_task")
"""A tuple in `process_batch`."""


def current_task() -> CurrentTask:
    """The task of the calling `process_request`, also in threads and tasks that it started.

    Raises:
        NotInTask: The caller is not in a `process_request`. In `process_batch`, `current_tasks` has the tasks.
    """
    current = _current.get(None)
    if current is None or isinstance(current, tuple):
        raise NotInTask(0 if current is None else len(current))
    return current


def current_tasks() -> tuple[CurrentTask, ...]:
    """The tasks of the calling `process_batch`, one for each request, in the same order; in `process_request` its only one.

    A task that has left its batch, because it was cancelled or its deadline has passed, keeps its place and is `cancelled`.

    Raises:
        NotInTask: The caller is neither in a `process_batch` nor in a `process_request`.
    """
    current = _current.get(None)
    if current is None:
        raise NotInTask
    return current if isinstance(current, tuple) else (current,)


@contextmanager
def processing(task: CurrentTask | Sequence[CurrentTask]) -> Generator[None]:
    """Makes `task` the current one while the block runs; a sequence, those of a batch."""
    token = _current.set(task if isinstance(task, CurrentTask) else tuple(task))
    try:
        yield
    finally:
        _current.reset(token)
