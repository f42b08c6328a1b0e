"""Replies that are written while their request may still be arriving."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any, Final, TypeAlias, cast, final

from anyio import (
    BrokenResourceError,
    CancelScope,
    ClosedResourceError,
    Event,
    create_memory_object_stream,
    create_task_group,
    current_time,
    move_on_after,
    sleep_until,
)
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from litestar import Request, Response
from litestar.response.base import ASGIResponse
from litestar.types import HTTPReceiveMessage, Receive, Scope, Send
from typing_extensions import override

from hub.errors import HubError
from hub.http.middleware.methods import is_head

LINGERING_CLOSE_TIMEOUT: Final = 2.0
"""Seconds that the rest of a request is read after the reply: to close a connection with unread bytes would discard the
end of the reply (RFC 9112 section 9.6)."""

SEND_TIMEOUT: Final = 55.0
"""Seconds that a client may leave a chunk of the reply unread before the connection is closed. Less than `UNREAD`, after
which the server cancels the connection: `on_disconnect` could not be called any more."""

RequestBody: TypeAlias = MemoryObjectReceiveStream[bytes | HubError]
"""Chunks of the request; an error in place of a part that cannot be decoded, and nothing after that."""

_READ: Final[HTTPReceiveMessage] = {"type": "http.request", "body": b"", "more_body": False}
"""What is left of a request whose body was read."""

Write: TypeAlias = Callable[[bytes], Awaitable[None]]
StreamHandler: TypeAlias = Callable[[RequestBody, Write], Awaitable[None]]
"""Reads chunks of the request and writes chunks of the reply, in any order; the reply is complete when it returns."""


@final
class DuplexStreamingResponse(Response[bytes]):
    """Returned by a route handler: runs `handler` in a scope of its own, after the route handler.

    When the client disconnects, `handler` is cancelled. While it does not read, the client cannot send (back-pressure).
    When it returns or closes the body, the rest is read and dropped. An error of `handler` closes the connection.

    Args:
        handler: Reads the request and writes the reply.
        media_type: Of the reply.
        headers: Further headers of the reply.
        body_read: Whether the route handler has read the body of the request, which is then empty for `handler`.
        on_disconnect: Called when the client has disconnected, or does not read, before the reply was complete; not when
            the server ends the reply.
    """

    def __init__(
        self,
        handler: StreamHandler,
        *,
        media_type: str,
        headers: Mapping[str, str] = MappingProxyType({}),
        body_read: bool = False,
        on_disconnect: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        super().__init__(
            b"",
            status_code=200,
            media_type=media_type,
            headers={
                "Cache-Control": "no-store",
                "Vary": "Accept",
                "X-Accel-Buffering": "no",  # nginx would buffer the reply
                **headers,
            },
        )
        self._handler = handler
        self._body_read = body_read
        self._on_disconnect = on_disconnect

    @override
    def to_asgi_response(self, app: object, request: Request[Any, Any, Any], **_: Any) -> ASGIResponse:
        return _DuplexStream(
            self._handler,
            media_type=str(self.media_type),
            headers=self.headers,
            body_read=self._body_read,
            on_disconnect=self._on_disconnect,
        )


@final
class _DuplexStream(ASGIResponse):
    _should_set_content_length = False

    def __init__(
        self,
        handler: StreamHandler,
        *,
        media_type: str,
        headers: Mapping[str, str],
        body_read: bool,
        on_disconnect: Callable[[], Awaitable[None]] | None,
    ) -> None:
        super().__init__(media_type=media_type, headers=dict(headers))
        self._handler = handler
        self._body_read = body_read
        self._on_disconnect = on_disconnect

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if is_head(scope):
            await self.start_response(send)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        # Before the status line: a client that expects 100 (Continue) gets it.
        first = _READ if self._body_read else await _receive(receive)
        if first["type"] == "http.request" and await self._reply(first, receive, send):
            return
        if self._on_disconnect is not None:
            await self._on_disconnect()

    async def _reply(self, first: HTTPReceiveMessage, receive: Receive, send: Send) -> bool:
        """Sends the reply; whether that was complete before the client disconnected."""
        await self.start_response(send)

        complete = False
        writing_since: float | None = None
        arrived = Event()
        arriving, body = create_memory_object_stream[bytes | HubError](0)

        async def write(chunk: bytes) -> None:
            nonlocal writing_since
            writing_since = current_time()
            try:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            finally:
                writing_since = None

        async def watch() -> None:
            """Ends the reply when a write has taken `SEND_TIMEOUT`; a scope for each write would cost more than most writes."""
            while True:
                since = writing_since
                await sleep_until((current_time() if since is None else since) + SEND_TIMEOUT)
                if since is not None and since == writing_since:
                    disconnected.cancel("the client does not read")

        async def handle() -> None:
            nonlocal complete
            await self._handler(body, write)
            body.close()
            with move_on_after(LINGERING_CLOSE_TIMEOUT):
                await arrived.wait()
            complete = True
            tg.cancel_scope.cancel("the reply is complete")

        with arriving, body, CancelScope() as disconnected:
            async with create_task_group() as tg:
                # A task of its own: each wake-up of this one goes through all layers in front of the route.
                tg.start_soon(handle, name="hub.http reply")
                tg.start_soon(watch, name="hub.http reply timeout")
                await _read(first, receive, arriving, arrived, disconnected)
        if complete:
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        return complete


async def _read(
    message: HTTPReceiveMessage,
    receive: Receive,
    arriving: MemoryObjectSendStream[bytes | HubError],
    arrived: Event,
    disconnected: CancelScope,
) -> None:
    """Sends the request to the handler as that receives it, then waits for the end of the connection."""
    while message["type"] == "http.request":
        chunk = message.get("body", b"")
        if chunk:
            with suppress(BrokenResourceError, ClosedResourceError):  # the handler has ended: drop it
                await arriving.send(chunk)
        if not message.get("more_body", False):
            arriving.close()
            arrived.set()
        try:
            message = await _receive(receive)
        except HubError as error:
            with suppress(BrokenResourceError):
                await arriving.send(error)
            arriving.close()
            message = await _receive(receive)
    disconnected.cancel("the client has disconnected")


async def _receive(receive: Receive) -> HTTPReceiveMessage:
    return cast("HTTPReceiveMessage", await receive())  # Litestar's type includes the messages of WebSockets
