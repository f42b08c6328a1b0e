"""Errors of tasks that end without a response, in the form in which clients of a gateway get them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from typing_extensions import override

from hub.errors import HubError
from hub.task import TaskRecord
from hub.types import TaskState


class TaskUnsuccessful(HubError):
    """A task has ended without a result. Its subclasses say how.

    Attributes:
        task: Id of the task.
        state: The final state.
        failure: `code` and `message` of the failure, and `type`, the class of the exception that the model raised.
    """

    code = "task_unsuccessful"
    status = 502
    title = "The task has no result"

    def __init__(self, task: str, state: TaskState, failure: Mapping[str, object]) -> None:
        super().__init__(task, state, failure)
        self.task = task
        self.state = state
        self.failure = failure

    @property
    @override
    def extensions(self) -> dict[str, object]:
        return {"task": self.task, "state": self.state.value, "failure": self.failure}

    @override
    def __str__(self) -> str:
        return f"task {self.task} {self.state.value}: {self.failure.get('message') or self.failure.get('code')}"


class ModelFailed(TaskUnsuccessful):
    """The model raised an error, or the task is dead: `failure` has the reason."""

    code = "task_failed"


class TaskWasCancelled(TaskUnsuccessful):
    """The task was cancelled, by a client or because the task that called it has ended."""

    code = "task_cancelled"
    status = 409


class DeadlineMissed(TaskUnsuccessful):
    """The deadline of the task has passed before it had a result."""

    code = "task_expired"
    status = 504


class StreamRestarted(HubError):
    """Another attempt of a streaming task has begun: the chunks that were read do not count any more.

    Raised by a stream without `on_restart`, once chunks of an earlier attempt have been read.
    """

    code = "stream_restarted"
    status = 409
    title = "The stream began again"

    def __init__(self, task: str, attempt: int) -> None:
        super().__init__(task, attempt)
        self.task = task
        self.attempt = attempt

    @override
    def __str__(self) -> str:
        return (
            f"attempt {self.attempt} of task {self.task} has begun, so the chunks so far are void: drop them and open the "
            "stream again, or pass on_restart and drop them when it is called"
        )


class TaskForgotten(HubError):
    """The record of a task has expired: its outcome is not stored any more. That takes a day, which virtual time may pass."""

    code = "task_record_expired"
    status = 410
    title = "The record of the task has expired"

    def __init__(self, task: str) -> None:
        super().__init__(task)
        self.task = task

    @override
    def __str__(self) -> str:
        return f"the record of task {self.task} has expired; results are kept for a day"


_OF_STATE: Final[Mapping[TaskState, type[TaskUnsuccessful]]] = {
    TaskState.CANCELLED: TaskWasCancelled,
    TaskState.EXPIRED: DeadlineMissed,
}


def error_of(record: TaskRecord) -> TaskUnsuccessful:
    """The error for a task that has ended without a result."""
    assert record.outcome is not None  # noqa: S101 - it has ended
    assert record.outcome.failure is not None  # noqa: S101 - see Outcome
    failure = record.outcome.failure
    shown: dict[str, object] = {"code": failure.code, "message": failure.message}
    if failure.type:
        shown["type"] = failure.type
    return _OF_STATE.get(record.state, ModelFailed)(record.id, record.state, shown)
