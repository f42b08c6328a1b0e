"""The reply to those who want to be told of each change of a task."""

from __future__ import annotations

from litestar import Response

from hub.gateway.models.codecs import CodecResolver
from hub.gateway.negotiation import JSON, HttpRequest, liking
from hub.gateway.routes.replies import NO_STORE
from hub.gateway.routes.task_events import TaskEvents
from hub.gateway.tasks.headers import naming
from hub.gateway.tasks.service import TaskService
from hub.http.headers import whole_number
from hub.http.long_polling import LongPollRegistry
from hub.http.sse import EVENT_STREAM
from hub.http.streaming import DuplexStreamingResponse


def wants_events(request: HttpRequest) -> bool:
    """Whether `Accept` likes a stream of events better than one JSON document."""
    return liking(request, [EVENT_STREAM]) > liking(request, [JSON])


async def event_reply(
    request: HttpRequest,
    task_id: str,
    dispatch: TaskService,
    polls: LongPollRegistry,
    codecs: CodecResolver,
) -> Response[bytes]:
    """The events of a task, from the one on that `Last-Event-ID` names.

    A client that has seen the end is answered 204, which tells an `EventSource` not to come again.

    Raises:
        HubError: As `TaskService.find` says.
    """
    with naming(request, task_id):
        record = await dispatch.find(task_id)
    seen = whole_number(request.headers.get("last-event-id", ""))
    if record.state.terminal and record.revision == seen:
        return Response(b"", status_code=204, headers=NO_STORE)
    return DuplexStreamingResponse(
        TaskEvents(dispatch, polls, record, seen=seen, codecs=codecs), media_type=EVENT_STREAM
    )
