"""A reply that is written while things happen, and while its request may still be arriving."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, Final, TypeAlias, cast, final

from anyio import (
    BrokenResourceError,
    CancelScope,
    ClosedResourceError,
    Event,
    create_memory_object_stream,
    create_task_group,
    move_on_after,
)
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from litestar import Request, Response
from litestar.response.base import ASGIResponse
from litestar.types import HTTPReceiveMessage, Receive, Scope, Send
from typing_extensions import override

from hub.errors import HubError
from hub.http.middleware.methods import is_head

LINGER: Final = 2.0
"""Seconds that the rest of a request is read after the reply to it: closing on unread bytes would destroy what the client
has not read yet (RFC 9112 section 9.6)."""

SEND_TIMEOUT: Final = 60.0
"""Seconds that a client may leave what we send unread, then we hang up."""

RequestBody: TypeAlias = MemoryObjectReceiveStream[bytes | HubError]
"""Chunks of the request; an error in place of what cannot be read of it, and nothing after that."""

Write: TypeAlias = Callable[[bytes], Awaitable[None]]
Talk: TypeAlias = Callable[[RequestBody, Write], Awaitable[None]]
"""Reads chunks of the request and writes chunks of the reply, in any order; the reply is complete when it returns."""


@final
class DuplexStreamingResponse(Response[bytes]):
    """To be returned by a route handler: runs `talk` in a scope of its own, outside of the handler.

    When the client hangs up, `talk` is cancelled. What it does not read stays with the client (back-pressure), until it
    returns or closes the body: from then on the rest is read and dropped. An error of `talk` cuts the connection.

    Args:
        talk: What happens while the connection stands.
        media_type: Of the reply.
    """

    def __init__(self, talk: Talk, *, media_type: str) -> None:
        super().__init__(
            b"",
            status_code=200,
            media_type=media_type,
            headers={
                "Cache-Control": "no-store",
                "Vary": "Accept",
                "X-Accel-Buffering": "no",  # nginx would collect the reply before it passes it on
            },
        )
        self._talk = talk

    @override
    def to_asgi_response(self, app: object, request: Request[Any, Any, Any], **_: Any) -> ASGIResponse:
        return _DuplexStream(self._talk, media_type=str(self.media_type), headers=self.headers)


@final
class _DuplexStream(ASGIResponse):
    _should_set_content_length = False

    def __init__(self, talk: Talk, *, media_type: str, headers: Mapping[str, str]) -> None:
        super().__init__(media_type=media_type, headers=dict(headers))
        self._talk = talk

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if is_head(scope):
            await self.start_response(send)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        first = await _receive(receive)  # before the status line: a client that expects 100 (Continue) gets it
        if first["type"] == "http.disconnect":
            return
        await self.start_response(send)

        async def write(chunk: bytes) -> None:
            with move_on_after(SEND_TIMEOUT) as timeout:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            if timeout.cancelled_caught:
                hung_up.cancel("the client does not read")

        complete = False
        arrived = Event()
        arriving, body = create_memory_object_stream[bytes | HubError](0)
        with arriving, body, CancelScope() as hung_up:
            async with create_task_group() as tg:
                tg.start_soon(_read, first, receive, arriving, arrived, hung_up, name="hub.gateway request")
                await self._talk(body, write)
                body.close()
                with move_on_after(LINGER):
                    await arrived.wait()
                complete = True
                tg.cancel_scope.cancel("the reply is complete")
        if complete:
            await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _read(
    message: HTTPReceiveMessage,
    receive: Receive,
    arriving: MemoryObjectSendStream[bytes | HubError],
    arrived: Event,
    hung_up: CancelScope,
) -> None:
    """Passes the request on as it is taken, then watches the connection."""
    while message["type"] == "http.request":
        chunk = message.get("body", b"")
        if chunk:
            with suppress(BrokenResourceError, ClosedResourceError):  # nobody reads any more: drop it, notice the end
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
    hung_up.cancel("the client has hung up")


async def _receive(receive: Receive) -> HTTPReceiveMessage:
    return cast("HTTPReceiveMessage", await receive())  # Litestar types the messages of WebSockets in as well
