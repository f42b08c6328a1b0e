"""Routes about tasks that were accepted."""

from __future__ import annotations

import msgspec
from litestar import Response, delete, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from hub.gateway.errors import BadParameter
from hub.gateway.models.codec import CodecResolver
from hub.gateway.routes.events import TaskEvents
from hub.gateway.tasks.headers import naming
from hub.gateway.tasks.lists import TaskListBody, TaskQuery
from hub.gateway.tasks.results import task_body
from hub.gateway.tasks.service import TaskService
from hub.http.conditional import NO_STORE, conditional_reply, json_reply
from hub.http.dependencies import HttpRequest, IncomingRequest
from hub.http.headers import MAX_WAIT, etag_matches, prefer_wait, preference_applied, seconds_of, whole_number
from hub.http.long_polling import LongPollRegistry
from hub.http.media_types import EVENT_STREAM, JSON
from hub.http.negotiation import Accept
from hub.http.streaming import DuplexStreamingResponse
from hub.task import TaskRecord


@get("/v1/tasks")
async def list_tasks(request: HttpRequest, tasks: NamedDependency[TaskService]) -> Response[bytes]:
    query = TaskQuery.from_parameters(request.query_params.multi_items())
    found = await tasks.recent(query.states, model=query.model, before=query.before, limit=query.limit)
    return conditional_reply(request, msgspec.json.encode(TaskListBody.of(query, found)))


@get("/v1/tasks/{task_id:str}")
async def show_task(
    request: HttpRequest,
    task_id: FromPath[str],
    codecs: NamedDependency[CodecResolver],
    tasks: NamedDependency[TaskService],
    polls: NamedDependency[LongPollRegistry],
) -> Response[bytes]:
    return await task_reply(request, task_id, codecs, tasks, polls)


async def task_reply(
    request: IncomingRequest, task_id: str, codecs: CodecResolver, tasks: TaskService, polls: LongPollRegistry
) -> Response[bytes]:
    """The task now, or at its next change; or all of its changes, for a client that prefers a stream of events."""
    accept = Accept(request.headers)
    if accept.quality(EVENT_STREAM) > accept.quality(JSON):
        return await _events(request, task_id, tasks, polls, codecs)
    known = request.headers.get("if-none-match")
    wait, applied = requested_wait(request)
    with naming(request, task_id):
        record = await tasks.get(task_id)
    if wait and not record.state.terminal and (known is None or etag_matches(known, _etag(record))):
        record = await tasks.wait_reconnecting(record, wait, after=None if known is None else record.revision)
    headers = {"Cache-Control": "no-cache", "ETag": _etag(record), "Vary": "Accept", **applied}
    if etag_matches(known, _etag(record)):
        return Response(b"", status_code=304, headers=headers)
    return json_reply(await task_body(record, codecs), headers=headers)


@delete("/v1/tasks/{task_id:str}", status_code=200)
async def cancel_task(
    request: HttpRequest,
    task_id: FromPath[str],
    codecs: NamedDependency[CodecResolver],
    tasks: NamedDependency[TaskService],
) -> Response[bytes]:
    with naming(request, task_id):
        record = await tasks.cancel(task_id)
    headers = {**NO_STORE, "ETag": _etag(record)}
    return json_reply(await task_body(record, codecs), headers=headers)


async def _events(
    request: IncomingRequest, task_id: str, tasks: TaskService, polls: LongPollRegistry, codecs: CodecResolver
) -> Response[bytes]:
    """The events of a task that follow the one in `Last-Event-ID`; 204, after which an `EventSource` ends, after the last."""
    with naming(request, task_id):
        record = await tasks.get(task_id)
    seen = whole_number(request.headers.get("last-event-id", ""))
    if record.state.terminal and record.revision == seen:
        return Response(b"", status_code=204, headers=NO_STORE)
    events = TaskEvents(tasks, polls, record, seen=seen, codecs=codecs)
    return DuplexStreamingResponse(events.write, media_type=EVENT_STREAM)


def requested_wait(request: IncomingRequest) -> tuple[float, dict[str, str]]:
    """The seconds to hold a reply back, at most `MAX_WAIT`, and the headers of the reply that confirm them.

    `?wait=N` counts, else `Prefer: wait=N`, which the reply confirms (RFC 7240 section 3); 0 without both.

    Raises:
        BadParameter: `?wait` is no number of seconds.
    """
    text = request.query_params.get("wait")
    if text is None:
        preferred = prefer_wait(request.headers.get("prefer"))
        return (0.0, {}) if preferred is None else (preferred, preference_applied(preferred))
    seconds = seconds_of(text)
    if seconds is None:
        raise BadParameter(f"wait={text!r} is no number of seconds; write ?wait=30")
    return min(seconds, MAX_WAIT), {}


def _etag(record: TaskRecord) -> str:
    return f'"{record.revision}"'
