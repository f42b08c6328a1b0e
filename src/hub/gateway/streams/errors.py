"""Errors about the chunks of tasks."""

from __future__ import annotations

from typing import final

from typing_extensions import override

from hub.errors import HubError
from hub.gateway.tasks.errors import TaskError
from hub.http.media_types import EVENT_STREAM, NDJSON
from hub.http.middleware.root_path import rooted
from hub.types import TaskState


@final
class NotStreaming(HubError):
    """The chunks of a task were requested whose model answers with one message."""

    code = "not_streaming"
    status = 404
    title = "The task has no chunks"

    def __init__(self, task: str, model: str) -> None:
        super().__init__(task, model)
        self.task = task
        self.model = model

    @override
    def __str__(self) -> str:
        path = rooted(f"/v1/tasks/{self.task}")
        return (
            f"{self.model!r} answers with one message, so task {self.task} has no chunks; GET {path}/result for the message, "
            f"or {path} with 'Accept: {EVENT_STREAM}' for the changes of the task"
        )


@final
class ArrayTooLarge(TaskError):
    """All chunks of a task were requested in one reply, and they are too large for that."""

    code = "array_too_large"
    status = 406
    title = "The chunks are too large for one reply"

    def __init__(self, task: str, state: TaskState, limit: int) -> None:
        super().__init__(task, state)
        self.args = (task, state, limit)
        self.limit = limit

    @property
    @override
    def extensions(self) -> dict[str, object]:
        return {**super().extensions, "limit": self.limit}

    @override
    def __str__(self) -> str:
        path = rooted(f"/v1/tasks/{self.task}/chunks")
        return (
            f"the chunks of task {self.task} are larger than {self.limit} bytes together; GET {path} with "
            f"'Accept: {EVENT_STREAM}' or 'Accept: {NDJSON}' streams them"
        )


@final
class IncompleteStream(TaskError):
    """The store has fewer chunks of a task than its outcome counts."""

    code = "incomplete_stream"
    status = 502
    title = "Chunks of the task are missing"

    def __init__(self, task: str, state: TaskState, found: int, counted: int) -> None:
        super().__init__(task, state)
        self.args = (task, state, found, counted)
        self.found = found
        self.counted = counted

    @override
    def __str__(self) -> str:
        return f"task {self.task} has {self.counted} chunks, and the result store has only {self.found} of them"
