"""What a submit comes to."""

from __future__ import annotations

from dataclasses import dataclass

from hub.task import Task, TaskRecord
from hub.types import ModelName, TaskId, TaskState


@dataclass(frozen=True, slots=True)
class SubmitResult:
    """A task that ends in an outcome: made by this submit, or by an earlier one under the same `Idempotency-Key`.

    Attributes:
        task: What this submit asked for.
        record: What the earlier submit led to, as of now; `None` when this is the first.
    """

    task: Task
    record: TaskRecord | None = None

    @property
    def replayed(self) -> bool:
        """Whether an earlier submit made it."""
        return self.record is not None

    @property
    def keyed(self) -> bool:
        """Whether its client may come again for it."""
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
