"""The reply to those who want to be told of each change of a task."""

from __future__ import annotations

from collections.abc import Callable

from litestar import Response

from hub.gateway.bodies import TaskBody
from hub.gateway.codec import Codec
from hub.gateway.codecs import Codecs
from hub.gateway.dispatch import Dispatch
from hub.gateway.live_reply import LiveReply
from hub.gateway.long_polls import LongPolls
from hub.gateway.negotiation import JSON, HttpRequest, liking
from hub.gateway.replies import NO_STORE
from hub.gateway.sse import EVENT_STREAM
from hub.gateway.task_events import TaskEvents
from hub.task import TaskRecord


def wants_events(request: HttpRequest) -> bool:
    """Whether `Accept` likes a stream of events better than one JSON document."""
    return liking(request, [EVENT_STREAM]) > liking(request, [JSON])


async def event_reply(
    request: HttpRequest,
    task_id: str,
    dispatch: Dispatch,
    polls: LongPolls,
    *,
    codecs: Codecs,
    show: Callable[[TaskRecord, Codec | None], TaskBody],
) -> Response[bytes]:
    """The events of a task, from the one on that `Last-Event-ID` names.

    A client that has seen the end is answered 204, which tells an `EventSource` not to come again.

    Raises:
        HubError: As `Dispatch.find` says.
    """
    record = await dispatch.find(task_id)
    last = request.headers.get("last-event-id", "")
    seen = int(last) if last.isascii() and last.isdigit() else None
    if record.state.terminal and record.revision == seen:
        return Response(b"", status_code=204, headers=NO_STORE)
    codec = await codecs.of(record)

    def shown(now: TaskRecord) -> TaskBody:
        return show(now, codec)

    return LiveReply(TaskEvents(dispatch, polls, record, seen=seen, show=shown), media_type=EVENT_STREAM)
