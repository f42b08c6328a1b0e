"""Errors of tasks that end without a response, in the form in which clients of a gateway get them."""

from __future__ import annotations

from typing_extensions import override

from hub.client.errors import TaskUnsuccessful, error_of_task
from hub.errors import HubError
from hub.task import TaskRecord


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


def error_of(record: TaskRecord) -> TaskUnsuccessful:
    """The error for a task that has ended without a result, as `hub.Client` raises it."""
    assert record.outcome is not None  # noqa: S101 - it has ended
    assert record.outcome.failure is not None  # noqa: S101 - see Outcome
    failure = record.outcome.failure
    shown: dict[str, object] = {"code": failure.code, "message": failure.message}
    if failure.type:
        shown["type"] = failure.type
    return error_of_task(record.id, record.state, shown)
