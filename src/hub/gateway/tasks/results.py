"""The outcome of a task in a reply: the response message alone, or inside the body of its task."""

from __future__ import annotations

from typing import Final

import structlog
from litestar import Response

from hub.errors import HubError, Undecodable
from hub.gateway.models.codec import Codec, CodecResolver
from hub.gateway.schemas import FailureBody, TaskBody, moment
from hub.gateway.tasks.errors import (
    ContractUnavailable,
    NotFinished,
    TaskCancelled,
    TaskExpired,
    TaskFailed,
    UnreadableResult,
)
from hub.http.media_types import PROTOBUF
from hub.task import TaskRecord
from hub.types import TaskId, TaskState

_ENDS: Final = {TaskState.EXPIRED: TaskExpired, TaskState.CANCELLED: TaskCancelled}

_log = structlog.get_logger("hub.gateway")


async def task_body(record: TaskRecord, codecs: CodecResolver) -> TaskBody:
    """The body of a task, with its result, or with the reason why that cannot be shown. Does not fail, whatever is stored.

    A streaming task has the number and the URL of its chunks in place of its result.
    """
    if is_streaming(record, codecs):
        return TaskBody.of(record, None, streaming=True)
    if record.outcome is None or record.outcome.body is None:
        return TaskBody.of(record, None)
    try:
        return TaskBody.of(record, await _json(record, record.outcome.body, codecs))
    except HubError as error:
        return TaskBody.of(record, None, FailureBody(code=error.code, message=str(error)))
    except Exception as bug:  # noqa: BLE001
        # A bug. The client gets the rest of the task, and its response as protobuf at `result_url`.
        _log.error("unexpected error", task=record.id, model=record.model, exc_info=bug)
        reason = "an unexpected error was raised; the log of this server has the details"
        return TaskBody.of(record, None, FailureBody(code=HubError.code, message=reason))


def is_streaming(record: TaskRecord, codecs: CodecResolver) -> bool:
    """Whether the model of a task answers with chunks, as far as that is known without a request to the registry."""
    outcome = record.outcome
    if record.chunks or (outcome is not None and outcome.chunks is not None):
        return True
    codec = codecs.known(record.fingerprint)
    return codec is not None and codec.contract.streaming


async def message_reply(
    record: TaskRecord, codecs: CodecResolver, media_type: str, headers: dict[str, str]
) -> Response[bytes]:
    """The response message of a task, alone, as JSON or protobuf.

    Raises:
        NotFinished: There is no outcome yet.
        TaskFailed, TaskExpired, TaskCancelled: It ended without a response.
        ContractUnavailable: JSON is wanted, and the contract cannot be fetched.
        NotJsonRepresentable: JSON is wanted, and this message cannot be written as JSON.
        UnreadableResult: JSON is wanted, and the stored bytes are not the response message.
    """
    body = response_of(record)
    content = body if media_type == PROTOBUF else await _json(record, body, codecs)
    headers = {**headers, "Hub-Expires-At": moment(record.expires_at).isoformat()}
    return Response(content, status_code=200, media_type=media_type, headers=headers)


async def _json(record: TaskRecord, body: bytes, codecs: CodecResolver) -> bytes:
    codec = await codecs.resolve(record)
    if codec is None:
        raise ContractUnavailable
    return await message_json(codec, record.id, record.state, body)


async def message_json(codec: Codec, task: TaskId, state: TaskState, body: bytes) -> bytes:
    """A response message of a task, or one of its chunks, as JSON.

    Raises:
        NotJsonRepresentable: It has a value that JSON cannot express.
        UnreadableResult: `body` is not the response message of the model.
    """
    try:
        return await codec.response_to_json(body)
    except Undecodable as error:
        raise UnreadableResult(task, state, str(error)) from error


def response_of(record: TaskRecord) -> bytes:
    """The serialized response of a task; empty if its response is its chunks.

    Raises:
        NotFinished: There is no outcome yet.
        TaskFailed, TaskExpired, TaskCancelled: It ended without a response.
    """
    if record.outcome is None:
        raise NotFinished(record.id, record.state)
    if record.outcome.failure is not None:
        raise _ENDS.get(record.state, TaskFailed)(record.id, record.state, record.outcome.failure)
    return record.outcome.body or b""
