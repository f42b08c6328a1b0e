"""Errors about tasks that clients ask for."""

from __future__ import annotations

from typing import final

from typing_extensions import override

from hub.errors import HubError
from hub.http.middleware.root_path import rooted
from hub.task import Failure
from hub.types import TaskState


@final
class UnknownTask(HubError):
    code = "unknown_task"
    status = 404
    title = "Unknown task"

    def __init__(self, task: str) -> None:
        super().__init__(task)
        self.task = task

    @override
    def __str__(self) -> str:
        return f"there is no task {self.task!r}"


@final
class TaskRecordExpired(HubError):
    """The task existed, and its record has expired."""

    code = "task_record_expired"
    status = 410
    title = "The task has expired"

    def __init__(self, task: str) -> None:
        super().__init__(task)
        self.task = task

    @override
    def __str__(self) -> str:
        return f"task {self.task} has expired; results are kept until the expires_at of the task"


class TaskError(HubError):
    """An error about one accepted task: the reply links to the task, so that its outcome is not lost."""

    def __init__(self, task: str, state: TaskState) -> None:
        super().__init__(task, state)
        self.task = task
        self.state = state

    @property
    @override
    def extensions(self) -> dict[str, object]:
        return {"task": self.task, "state": self.state.value}


@final
class NotFinished(TaskError):
    """The result of a task was requested before there is one."""

    code = "not_finished"
    status = 409
    title = "The task has not finished"

    @override
    def __str__(self) -> str:
        return f"task {self.task} is {self.state.value}; GET {_path(self.task)}?wait=30 answers when it has ended"

    @property
    @override
    def retry_after(self) -> float | None:
        return 1.0


@final
class CallTimeout(TaskError):
    """The wait of a synchronous call is over, and its task goes on."""

    code = "call_timeout"
    status = 504
    title = "The task has not finished in time"

    @override
    def __str__(self) -> str:
        return f"task {self.task} is {self.state.value} and goes on; fetch its outcome at {_path(self.task)}"


@final
class TaskAlreadyFinished(TaskError):
    """A task was to be cancelled, and has ended otherwise."""

    code = "task_already_finished"
    status = 409
    title = "The task has ended already"

    @override
    def __str__(self) -> str:
        return f"task {self.task} is {self.state.value} and cannot be cancelled; see {_path(self.task)}"


class TaskFailed(TaskError):
    """The result of a task was requested that ended without one: its model raised, or its attempts are used up (`dead`)."""

    code = "task_failed"
    status = 502
    title = "The task failed"

    def __init__(self, task: str, state: TaskState, failure: Failure) -> None:
        super().__init__(task, state)
        self.args = (task, state, failure)
        self.failure = failure

    @property
    @override
    def extensions(self) -> dict[str, object]:
        reason = {"code": self.failure.code, "type": self.failure.type, "message": self.failure.message}
        if self.failure.traceback:
            reason["traceback"] = self.failure.traceback
        return {**super().extensions, "failure": reason}

    @override
    def __str__(self) -> str:
        return f"task {self.task} {self.state.value}: {self.failure.message or self.failure.code}"


@final
class TaskExpired(TaskFailed):
    """The result of a task was requested, and its deadline passed before there was one."""

    code = "task_expired"
    status = 504
    title = "The deadline of the task has passed"


@final
class TaskCancelled(TaskFailed):
    """The result of a task was requested that a client has cancelled."""

    code = "task_cancelled"
    status = 409
    title = "The task was cancelled"


@final
class UnreadableResult(TaskError):
    """A result was requested as JSON, and the stored bytes are not the response message of the model."""

    code = "undecodable"
    status = 502
    title = "The result cannot be read"

    def __init__(self, task: str, state: TaskState, reason: str) -> None:
        super().__init__(task, state)
        self.args = (task, state, reason)
        self.reason = reason

    @override
    def __str__(self) -> str:
        return f"the result of task {self.task} is {self.reason}; 'Accept: application/x-protobuf' gives the bytes as they are"


@final
class ContractUnavailable(HubError):
    """A result was requested as JSON, and its contract is neither in this gateway nor in the registry."""

    code = "contract_unavailable"
    status = 503
    title = "The contract of the result is not available"

    @override
    def __str__(self) -> str:
        return (
            "the model has changed its contract since, and the former one cannot be fetched from the registry: "
            "ask again later, or with 'Accept: application/x-protobuf'"
        )


def _path(task: str) -> str:
    return rooted(f"/v1/tasks/{task}")
