"""Routes with what a task came to: its response message, or its chunks."""

from __future__ import annotations

from typing import Final

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from hub.gateway.routes.tasks import requested_wait
from hub.gateway.streams.forms import end_position
from hub.gateway.streams.negotiation import FORMS, resume_position, stream_type
from hub.gateway.streams.results import outcome_reply
from hub.gateway.streams.service import StreamService
from hub.gateway.tasks.headers import naming
from hub.http.conditional import NO_STORE
from hub.http.dependencies import HttpRequest
from hub.http.headers import etag_matches
from hub.http.media_types import JSON, PROTOBUF
from hub.http.negotiation import json_or_protobuf
from hub.task import TaskRecord
from hub.types import TaskState

_SHORT_NAMES: Final = {JSON: "json", PROTOBUF: "protobuf"}


@get("/v1/tasks/{task_id:str}/result")
async def show_result(
    request: HttpRequest, task_id: FromPath[str], streams: NamedDependency[StreamService]
) -> Response[bytes]:
    """The response message of a task; of a streaming model all of its chunks."""
    media_type = json_or_protobuf(request.headers)
    with naming(request, task_id):
        record = await streams.tasks.get(task_id)
    return await _outcome(request, record, media_type, streams)


@get("/v1/tasks/{task_id:str}/chunks")
async def show_chunks(
    request: HttpRequest, task_id: FromPath[str], streams: NamedDependency[StreamService]
) -> Response[bytes]:
    """The chunks of a task as they come, after `Last-Event-ID` if that is given; or all of them, as `show_result` has them.

    204, after which an `EventSource` does not connect again, if that is the end of the task.
    """
    media_type = stream_type(request.headers)
    form = FORMS.get(media_type)
    after = resume_position(request.headers)
    with naming(request, task_id):
        record = await streams.tasks.get(task_id)
    codec = await streams.codec_of(record)
    if form is None:
        return await _outcome(request, record, media_type, streams)
    if record.state.terminal and request.headers.get("last-event-id") == end_position(record.attempt):
        return Response(b"", status_code=204, headers={**NO_STORE, "Vary": "Accept"})
    return streams.reply(record, codec, form, after=after)


async def _outcome(
    request: HttpRequest, record: TaskRecord, media_type: str, streams: StreamService
) -> Response[bytes]:
    wait, applied = requested_wait(request)
    if wait and not record.state.terminal:
        record = await streams.tasks.wait_reconnecting(record, wait)
    etag = f'"{record.revision}-{_SHORT_NAMES[media_type]}"'
    headers = {"Cache-Control": "no-cache", "ETag": etag, "Vary": "Accept", **applied}
    if record.state is TaskState.SUCCEEDED and etag_matches(request.headers.get("if-none-match"), etag):
        return Response(b"", status_code=304, headers=headers)
    return await outcome_reply(record, streams.tasks, streams.codecs, media_type, headers)
