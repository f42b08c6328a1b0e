"""What the gateway tells of tasks and models, as values. Times are UTC."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from msgspec import Struct

from hub.ports.directory import ModelLimits
from hub.types import TaskState


class TaskProgress(Struct, frozen=True, kw_only=True):
    """How far a run has come, as the model reported it. `fraction` is from 0 to 1, `None` if unknown."""

    at: datetime
    fraction: float | None = None
    message: str = ""


class TaskSnapshot(Struct, frozen=True, kw_only=True):
    """A task at one moment; `docs/tasks.md` has its states.

    Attributes:
        attempt: The number of its present or last run, 0 before the first one.
        retry_at: When it runs again, if it has failed and waits for that.
        result: The response as JSON; `None` if there is none, or it has no JSON form.
        chunks: Of a streaming model: how many chunks the run has yielded.
        failure: `code`, `message`, perhaps `type` and `traceback`, of a task that has ended without a result.
        parent: The task that it was called from.
    """

    id: str
    model: str
    state: TaskState
    created_at: datetime
    expires_at: datetime
    attempt: int = 0
    retries: int = 0
    updated_at: datetime | None = None
    deadline: datetime | None = None
    instance: str | None = None
    retry_at: datetime | None = None
    progress: TaskProgress | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    result: Any = None
    result_error: Mapping[str, Any] | None = None
    chunks: int | None = None
    failure: Mapping[str, Any] | None = None
    parent: str | None = None


class ModelEntry(Struct, frozen=True, kw_only=True):
    """A model that is alive. `request` and `response` are the full names of its messages."""

    name: str
    instances: int
    fingerprint: str
    request: str
    response: str
    streaming: bool


class ModelContract(Struct, frozen=True, kw_only=True):
    """The messages of a model that is alive, for tools that generate code.

    Attributes:
        model: Its name.
        fingerprint: SHA-256 of the contract: equal ones mean the same wire and JSON form.
        request: Full name of the request message.
        response: Full name of the response message, or of one chunk.
        streaming: Whether it answers with a stream of response messages.
        limits: Limits of its tasks.
        comments: Comments of the `.proto` files, by the full name of a message, a field, an enum or a value
            (`<enum>.<value>`), or by the name of a file.
        descriptors: A serialized `google.protobuf.FileDescriptorSet` with both messages and all that they refer to,
            dependencies first, without comments.
    """

    model: str
    fingerprint: str
    request: str
    response: str
    streaming: bool
    limits: ModelLimits
    comments: dict[str, str]
    descriptors: bytes


class ModelList(Struct, frozen=True, kw_only=True):
    """The reply of `GET /v1/models`."""

    models: list[ModelEntry]
