"""The ends that the gateway itself gives to tasks, and when it does."""

from __future__ import annotations

from math import inf
from typing import Final

from hub.gateway.tasks.submit_result import SubmitResult
from hub.task import DEADLINE_EXCEEDED, Failure, Outcome, TaskRecord
from hub.types import TaskState

GRACE: Final = 1.0
"""Seconds past its deadline after which a task that waits is given up: an instance that takes it now says so itself."""

RUNNING_GRACE: Final = 10.0
"""Seconds past its deadline after which a task that runs is given up: its instance has died, or lost the store."""


def late_at(task: TaskRecord | SubmitResult) -> float:
    """When to give a task up that has no outcome by then, in Unix seconds; infinity if never."""
    if task.deadline is None or task.state.terminal:
        return inf
    return task.deadline + (RUNNING_GRACE if task.state is TaskState.RUNNING else GRACE)


def expired(record: TaskRecord, now: float) -> Outcome:
    """The outcome of a task that was late while nobody ran it."""
    where = "while it ran, and its instance has not said so" if record.attempt else "before an instance took it"
    return _ended(
        record, TaskState.EXPIRED, Failure(code=DEADLINE_EXCEEDED, message=f"its deadline passed {where}"), now
    )


def cancelled(record: TaskRecord, now: float) -> Outcome:
    """The outcome of a task that its client does not want any more."""
    return _ended(record, TaskState.CANCELLED, Failure(code="cancelled", message="it was cancelled by a client"), now)


def _ended(record: TaskRecord, state: TaskState, failure: Failure, now: float) -> Outcome:
    # Without an instance: the one that may run the task has not said this, and is to be told of it.
    return Outcome(task_id=record.id, state=state, failure=failure, attempt=record.attempt, finished_at=now)
