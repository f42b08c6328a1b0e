"""The forms in which the chunks of a task are sent: events, lines, and all at once. Bytes out, nothing awaits."""

from __future__ import annotations

from typing import Final, Protocol, final

import msgspec
from typing_extensions import override

from hub.gateway.schemas import TaskBody
from hub.http.media_types import EVENT_STREAM, NDJSON
from hub.http.sse import comment, event, retry
from hub.ports.result_store import ChunkPosition
from hub.task import varint

RECONNECT: Final = 1.0
"""Seconds that an `EventSource` waits before it connects again."""


class StreamForm(Protocol):
    """Encodes what happens to a streaming task; its ids may come back as `Last-Event-ID`."""

    @property
    def media_type(self) -> str: ...

    def begin(self, task: TaskBody) -> bytes:
        """The first bytes: the task as it is, unless it has ended. So a task that has ended is always the end."""
        ...

    def chunk(self, position: ChunkPosition, document: bytes) -> bytes:
        """One chunk; `document` is its JSON in one line."""
        ...

    def restarted(self, attempt: int) -> bytes:
        """Another attempt has begun: the chunks of former ones do not count any more."""
        ...

    def ended(self, task: TaskBody) -> bytes:
        """The last bytes: the task with its outcome."""
        ...

    def problem(self, members: bytes) -> bytes:
        """The last bytes when the rest of the stream cannot be read; `members` is a problem as JSON."""
        ...

    def idle(self, reason: str) -> bytes:
        """What is sent when there was nothing else to send for a while; clients ignore it."""
        ...


def end_position(attempt: int) -> str:
    """The id of the end of a stream: a client that sends it as `Last-Event-ID` has everything."""
    return f"{attempt}-end"


@final
class EventForm(StreamForm):
    """Server-sent events: `task`, `chunk`, `restarted`, and `task` again; or `problem`."""

    @property
    @override
    def media_type(self) -> str:
        return EVENT_STREAM

    @override
    def begin(self, task: TaskBody) -> bytes:
        present = b"" if task.state.terminal else event("task", msgspec.json.encode(task))
        return retry(RECONNECT) + present

    @override
    def chunk(self, position: ChunkPosition, document: bytes) -> bytes:
        return event("chunk", document, identity=str(position))

    @override
    def restarted(self, attempt: int) -> bytes:
        return event("restarted", b'{"attempt":%d}' % attempt, identity=f"{attempt}-0")

    @override
    def ended(self, task: TaskBody) -> bytes:
        return event("task", msgspec.json.encode(task), identity=end_position(task.attempt))

    @override
    def problem(self, members: bytes) -> bytes:
        return event("problem", members)

    @override
    def idle(self, reason: str) -> bytes:
        return comment(reason)


@final
class LineForm(StreamForm):
    """Lines of JSON (NDJSON), each an object with `chunk`, `restarted`, `task` for the end, `problem`, or `idle`.

    The last line of a complete stream is `task`, so a stream that was cut is not mistaken for a complete one.
    """

    @property
    @override
    def media_type(self) -> str:
        return NDJSON

    @override
    def begin(self, task: TaskBody) -> bytes:
        return b""  # the headers of the reply name the task

    @override
    def chunk(self, position: ChunkPosition, document: bytes) -> bytes:
        return b'{"id":"%s","chunk":%s}\n' % (str(position).encode(), document)

    @override
    def restarted(self, attempt: int) -> bytes:
        return b'{"id":"%d-0","restarted":{"attempt":%d}}\n' % (attempt, attempt)

    @override
    def ended(self, task: TaskBody) -> bytes:
        return b'{"id":"%s","task":%s}\n' % (end_position(task.attempt).encode(), msgspec.json.encode(task))

    @override
    def problem(self, members: bytes) -> bytes:
        return b'{"problem":%s}\n' % members

    @override
    def idle(self, reason: str) -> bytes:
        return b'{"idle":%s}\n' % msgspec.json.encode(reason)


def delimited(message: bytes) -> bytes:
    """A serialized message with its length in front, as a varint: what `parseDelimitedFrom` of protobuf's libraries reads."""
    return varint(len(message)) + message
