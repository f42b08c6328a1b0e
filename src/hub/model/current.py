"""The task that is being processed right here."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from math import isfinite
from typing import Final, final

from hub.model.errors import NotInTask
from hub.types import InstanceId, ModelName, TaskId

LONGEST_MESSAGE: Final = 1_000
"""Characters of a progress message that are kept: it is read by people, again and again."""


@final
class TaskControl:
    """What the run of a task and the code of its model tell each other.

    Args:
        tell: Takes progress; called from whichever thread the model runs in, returns at once.
    """

    __slots__ = ("cancelled", "tell")

    def __init__(self, tell: Callable[[float | None, str], None]) -> None:
        self.tell = tell
        self.cancelled = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrentTask:
    """What `process_request` may want to know about the task whose request it has, and to say of it.

    Attributes:
        attempt: Which run of the task this is, from 1. Above 1 an earlier one was cut short, perhaps half-way, or failed
            and is tried again.
        deadline: When the outcome stops being of use, in Unix seconds; `None` if never.
    """

    id: TaskId
    attempt: int
    deadline: float | None
    model: ModelName
    instance: InstanceId
    control: TaskControl = field(repr=False, compare=False)

    @property
    def cancelled(self) -> bool:
        """Whether nobody waits for the outcome any more: the task was cancelled, or its deadline has passed.

        For a plain `process_request`, whose thread cannot be interrupted: look at it now and then, and return. An
        `async def` one is cancelled at its next `await` and need not ask.
        """
        return self.control.cancelled

    def report(self, fraction: float | None = None, message: str = "") -> None:
        """Says how far the work has come; clients see it as `progress` of the task, some moments later.

        Returns at once, may be called as often as you like (the last word counts, about five a second are sent), from
        the event loop, from a worker thread, or from a process of its own. It is lost when the store is out of reach.

        Args:
            fraction: Of the whole, from 0 to 1; `None` if that cannot be told.
            message: For people, up to `LONGEST_MESSAGE` characters.

        Raises:
            ValueError: `fraction` is not between 0 and 1.
        """
        if fraction is not None and not (isfinite(fraction) and 0 <= fraction <= 1):
            raise ValueError(f"fraction is {fraction!r}; report progress as a number from 0 to 1, or None")
        if not self.cancelled:
            self.control.tell(fraction, message[:LONGEST_MESSAGE])


_current: Final[ContextVar[CurrentTask]] = ContextVar("hub.current_task")


def current_task() -> CurrentTask:
    """The task of the `process_request` that this is called from, also in threads and tasks that it started.

    Raises:
        NotInTask: It is not called from one.
    """
    try:
        return _current.get()
    except LookupError:
        raise NotInTask from None


@contextmanager
def processing(task: CurrentTask) -> Generator[None]:
    """Makes `task` the current one while the block runs."""
    token = _current.set(task)
    try:
        yield
    finally:
        _current.reset(token)
