"""The outcome of a task in a reply: the response message alone, or inside the body of its task."""

from __future__ import annotations

from typing import Final

import structlog
from litestar import Response

from hub.errors import HubError, Undecodable
from hub.gateway.models.codec import CodecResolver
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
from hub.types import TaskState

_ENDS: Final = {TaskState.EXPIRED: TaskExpired, TaskState.CANCELLED: TaskCancelled}

_log = structlog.get_logger("hub.gateway")


async def task_body(record: TaskRecord, codecs: CodecResolver) -> TaskBody:
    """The body of a task, with its result, or with the reason why that cannot be shown. Does not fail, whatever is stored."""
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
    body = _succeeded(record)
    content = body if media_type == PROTOBUF else await _json(record, body, codecs)
    headers = {**headers, "Hub-Expires-At": moment(record.expires_at).isoformat()}
    return Response(content, status_code=200, media_type=media_type, headers=headers)


async def _json(record: TaskRecord, body: bytes, codecs: CodecResolver) -> bytes:
    codec = await codecs.resolve(record)
    if codec is None:
        raise ContractUnavailable
    try:
        return await codec.response_to_json(body)
    except Undecodable as error:
        raise UnreadableResult(record.id, record.state, str(error)) from error


def _succeeded(record: TaskRecord) -> bytes:
    if record.outcome is None:
        raise NotFinished(record.id, record.state)
    if record.outcome.failure is not None:
        raise _ENDS.get(record.state, TaskFailed)(record.id, record.state, record.outcome.failure)
    return record.outcome.body or b""
