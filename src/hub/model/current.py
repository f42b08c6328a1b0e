"""The task that is being processed right here."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

from hub.model.errors import NotInTask
from hub.vocabulary import InstanceId, ModelName, TaskId


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrentTask:
    """What `process_request` may want to know about the task whose request it has.

    Attributes:
        attempt: Which run of the task this is, from 1. Above 1 an earlier one was cut short, perhaps half-way.
        deadline: When the outcome stops being of use, in Unix seconds; `None` if never.
    """

    id: TaskId
    attempt: int
    deadline: float | None
    model: ModelName
    instance: InstanceId


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
