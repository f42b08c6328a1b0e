"""The result of a submit, and the outcomes that the gateway itself gives to tasks."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Final

from hub.task import DEADLINE_EXCEEDED, Failure, Outcome, Task, TaskRecord
from hub.types import ModelName, TaskId, TaskState

EXPIRY_GRACE: Final = 1.0
"""Seconds past its deadline after which a waiting task is ended: an instance that receives it now ends it itself."""

RUNNING_EXPIRY_GRACE: Final = 10.0
"""Seconds past its deadline after which a running task is ended: its instance has died, or cannot reach the store."""


@dataclass(frozen=True, slots=True)
class SubmitResult:
    """An accepted task: made by this submit, or by an earlier one under the same `Idempotency-Key`.

    Attributes:
        task: The task that this submit asked for, without its body if that is big.
        record: The record of the earlier submit, as it is now; `None` when this is the first.
    """

    task: Task
    record: TaskRecord | None = None

    @property
    def replayed(self) -> bool:
        """Whether an earlier submit made the task."""
        return self.record is not None

    @property
    def idempotent(self) -> bool:
        """Whether the client gave an `Idempotency-Key`, with which it may send the request again."""
        return bool(self.task.idempotency_key)

    @property
    def id(self) -> TaskId:
        return self.task.id

    @property
    def model(self) -> ModelName:
        return self.task.model

    @property
    def state(self) -> TaskState:
        return TaskState.QUEUED if self.record is None else self.record.state

    @property
    def created_at(self) -> float:
        return (self.record or self.task).created_at

    @property
    def expires_at(self) -> float:
        """See `TaskRecord.expires_at`."""
        return self.task.created_at + self.task.result_ttl if self.record is None else self.record.expires_at

    @property
    def deadline(self) -> float | None:
        return (self.record or self.task).deadline


def expiry_time(task: TaskRecord | SubmitResult) -> float:
    """When the gateway ends a task that has no outcome by then, in Unix seconds; infinity if never."""
    if task.deadline is None or task.state.terminal:
        return inf
    return task.deadline + (RUNNING_EXPIRY_GRACE if task.state is TaskState.RUNNING else EXPIRY_GRACE)


def expired_outcome(record: TaskRecord, now: float) -> Outcome:
    """The outcome of a task whose deadline has passed, and that no instance has ended."""
    where = "while it ran, and its instance has not said so" if record.attempt else "before an instance took it"
    failure = Failure(code=DEADLINE_EXCEEDED, message=f"its deadline passed {where}")
    return _outcome(record, TaskState.EXPIRED, failure, now)


def cancelled_outcome(record: TaskRecord, now: float) -> Outcome:
    """The outcome of a task that its client has cancelled."""
    failure = Failure(code="cancelled", message="it was cancelled by a client")
    return _outcome(record, TaskState.CANCELLED, failure, now)


def _outcome(record: TaskRecord, state: TaskState, failure: Failure, now: float) -> Outcome:
    # Without an instance, so that the store notifies the instance that may be running the task.
    return Outcome(task_id=record.id, state=state, failure=failure, attempt=record.attempt, finished_at=now)
