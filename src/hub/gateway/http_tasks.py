"""Routes about tasks that were accepted."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from litestar import Response, delete, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from hub.contract.errors import NoJsonForm
from hub.gateway.bodies import TaskBody, moment
from hub.gateway.codec import Codec
from hub.gateway.codecs import Codecs
from hub.gateway.dispatch import Dispatch
from hub.gateway.http_events import event_reply, wants_events
from hub.gateway.long_polls import LongPolls
from hub.gateway.negotiation import JSON, PROTOBUF, HttpRequest, asked_wait, reply_type
from hub.gateway.replies import NO_STORE, json_reply
from hub.gateway.task_errors import ContractMissing, NotFinished, TaskCancelled, TaskExpired, TaskFailed
from hub.http.headers import etag_matches
from hub.task import TaskRecord
from hub.vocabulary import TaskState

_SHORT_NAMES: Final = {JSON: "json", PROTOBUF: "protobuf"}
_ENDS: Final = {TaskState.EXPIRED: TaskExpired, TaskState.CANCELLED: TaskCancelled}


@get("/v1/tasks/{task_id:str}")
async def show_task(
    request: HttpRequest,
    task_id: FromPath[str],
    codecs: NamedDependency[Codecs],
    dispatch: NamedDependency[Dispatch],
    polls: NamedDependency[LongPolls],
) -> Response[bytes]:
    if wants_events(request):
        return await event_reply(request, task_id, dispatch, polls, codecs=codecs, show=task_body)
    known = request.headers.get("if-none-match")
    seconds, applied = asked_wait(request)
    record = await dispatch.find(task_id)
    if seconds and not record.state.terminal and (known is None or etag_matches(known, _etag(record))):
        record = await dispatch.wait(record, seconds, after=None if known is None else record.revision)
    headers = {"Cache-Control": "no-cache", "ETag": _etag(record), "Vary": "Accept", **applied}
    if etag_matches(known, _etag(record)):
        return Response(b"", status_code=304, headers=headers)
    return json_reply(task_body(record, await codecs.of(record)), headers=headers)


@get("/v1/tasks/{task_id:str}/result")
async def show_result(
    request: HttpRequest, task_id: FromPath[str], codecs: NamedDependency[Codecs], dispatch: NamedDependency[Dispatch]
) -> Response[bytes]:
    kind = reply_type(request)
    seconds, applied = asked_wait(request)
    record = await dispatch.find(task_id)
    if seconds and not record.state.terminal:
        record = await dispatch.wait(record, seconds)
    etag = f'"{record.revision}-{_SHORT_NAMES[kind]}"'
    headers = {"Cache-Control": "no-cache", "ETag": etag, "Vary": "Accept", **applied}
    if record.state is TaskState.SUCCEEDED and etag_matches(request.headers.get("if-none-match"), etag):
        return Response(b"", status_code=304, headers=headers)
    return await message_reply(record, codecs, kind, headers)


@delete("/v1/tasks/{task_id:str}", status_code=200)
async def cancel_task(
    task_id: FromPath[str], codecs: NamedDependency[Codecs], dispatch: NamedDependency[Dispatch]
) -> Response[bytes]:
    record = await dispatch.cancel(task_id)
    headers = {**NO_STORE, "ETag": _etag(record)}
    return json_reply(task_body(record, await codecs.of(record)), headers=headers)


def task_body(record: TaskRecord, codec: Codec | None) -> TaskBody:
    """The view of a task, with its result inside when the contract is known here and the result has a JSON form."""
    result: bytes | None = None
    if codec is not None and record.outcome is not None and record.outcome.body is not None:
        with suppress(NoJsonForm):  # `result_url` stands in the view, and gives it as protobuf
            result = codec.response_to_json(record.outcome.body)
    return TaskBody.of(record, result)


async def message_reply(record: TaskRecord, codecs: Codecs, kind: str, headers: dict[str, str]) -> Response[bytes]:
    """The response message of a task, alone, as JSON or protobuf.

    Raises:
        NotFinished: There is no outcome yet.
        TaskFailed, TaskExpired, TaskCancelled: It ended without a response.
        ContractMissing: JSON is wanted, and the contract is not to be had.
        NoJsonForm: JSON is wanted, and this message has none.
    """
    body = _succeeded(record)
    headers = {**headers, "Hub-Task": record.id, "Hub-Expires-At": moment(record.expires_at).isoformat()}
    if kind == PROTOBUF:
        return Response(body, status_code=200, media_type=PROTOBUF, headers=headers)
    codec = await codecs.of(record)
    if codec is None:
        raise ContractMissing
    return Response(codec.response_to_json(body), status_code=200, media_type=kind, headers=headers)


def _succeeded(record: TaskRecord) -> bytes:
    if record.outcome is None:
        raise NotFinished(record.id, record.state)
    if record.outcome.failure is not None:
        raise _ENDS.get(record.state, TaskFailed)(record.id, record.state, record.outcome.failure)
    return record.outcome.body or b""


def _etag(record: TaskRecord) -> str:
    return f'"{record.revision}"'
