"""Routes about tasks that were accepted."""

from __future__ import annotations

from typing import Final

from litestar import Response, delete, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from hub.gateway.models.codecs import CodecResolver
from hub.gateway.negotiation import JSON, PROTOBUF, HttpRequest, asked_wait, reply_type
from hub.gateway.routes.events import event_reply, wants_events
from hub.gateway.routes.replies import NO_STORE, json_reply
from hub.gateway.tasks.headers import naming
from hub.gateway.tasks.results import message_reply, task_body
from hub.gateway.tasks.service import TaskService
from hub.http.headers import etag_matches
from hub.http.long_polling import LongPollRegistry
from hub.task import TaskRecord
from hub.types import TaskState

_SHORT_NAMES: Final = {JSON: "json", PROTOBUF: "protobuf"}


@get("/v1/tasks/{task_id:str}")
async def show_task(
    request: HttpRequest,
    task_id: FromPath[str],
    codecs: NamedDependency[CodecResolver],
    dispatch: NamedDependency[TaskService],
    polls: NamedDependency[LongPollRegistry],
) -> Response[bytes]:
    if wants_events(request):
        return await event_reply(request, task_id, dispatch, polls, codecs)
    known = request.headers.get("if-none-match")
    seconds, applied = asked_wait(request)
    with naming(request, task_id):
        record = await dispatch.find(task_id)
    if seconds and not record.state.terminal and (known is None or etag_matches(known, _etag(record))):
        record = await dispatch.wait_out(record, seconds, after=None if known is None else record.revision)
    headers = {"Cache-Control": "no-cache", "ETag": _etag(record), "Vary": "Accept", **applied}
    if etag_matches(known, _etag(record)):
        return Response(b"", status_code=304, headers=headers)
    return json_reply(await task_body(record, codecs), headers=headers)


@get("/v1/tasks/{task_id:str}/result")
async def show_result(
    request: HttpRequest,
    task_id: FromPath[str],
    codecs: NamedDependency[CodecResolver],
    dispatch: NamedDependency[TaskService],
) -> Response[bytes]:
    kind = reply_type(request)
    seconds, applied = asked_wait(request)
    with naming(request, task_id):
        record = await dispatch.find(task_id)
    if seconds and not record.state.terminal:
        record = await dispatch.wait_out(record, seconds)
    etag = f'"{record.revision}-{_SHORT_NAMES[kind]}"'
    headers = {"Cache-Control": "no-cache", "ETag": etag, "Vary": "Accept", **applied}
    if record.state is TaskState.SUCCEEDED and etag_matches(request.headers.get("if-none-match"), etag):
        return Response(b"", status_code=304, headers=headers)
    return await message_reply(record, codecs, kind, headers)


@delete("/v1/tasks/{task_id:str}", status_code=200)
async def cancel_task(
    request: HttpRequest,
    task_id: FromPath[str],
    codecs: NamedDependency[CodecResolver],
    dispatch: NamedDependency[TaskService],
) -> Response[bytes]:
    with naming(request, task_id):
        record = await dispatch.cancel(task_id)
    headers = {**NO_STORE, "ETag": _etag(record)}
    return json_reply(await task_body(record, codecs), headers=headers)


def _etag(record: TaskRecord) -> str:
    return f'"{record.revision}"'
