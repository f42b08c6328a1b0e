"""Request bodies with a `Content-Encoding`, decoded before any route reads them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, final

from anyio.lowlevel import checkpoint

from hub.errors import HubError
from hub.http.middleware.asgi import HttpApp, send_problem
from hub.http.middleware.codings import ACCEPTED, Decoder, UnsupportedCoding, coding_of

if TYPE_CHECKING:
    from litestar.types import HTTPReceiveMessage, HTTPScope, Receive, ReceiveMessage, Send

_OF_THE_WIRE: Final = frozenset({b"content-encoding", b"content-length"})
"""What is no longer true of a body that was decoded."""

_WITH_A_BODY: Final = frozenset({"PATCH", "POST", "PUT"})
"""Other methods ignore what is sent with them, so clients may set the header once for all of their requests."""


def with_decoding(app: HttpApp, *, limit: int) -> HttpApp:
    """Lets routes read bodies in gzip or deflate as if they had been sent as they are.

    Limits of `app` hold for the decoded bytes, which it gets in pieces as it reads: what is too large is refused long
    before it is decoded. A body that cannot be decoded raises a `HubError` where it is read. Another coding is a 415 with
    `Accept-Encoding` (RFC 9110 section 15.5.16).

    Args:
        app: What reads the bodies.
        limit: Bytes of a body, or of a line of a batch, at most.
    """

    async def asgi(scope: HTTPScope, receive: Receive, send: Send) -> None:
        if scope["method"] not in _WITH_A_BODY:
            await app(scope, receive, send)
            return
        declared = next((value for name, value in scope["headers"] if name == b"content-encoding"), b"")
        try:
            coding = coding_of(declared.decode("latin-1"))
        except UnsupportedCoding as error:
            await send_problem(error, send, headers={"Accept-Encoding": ACCEPTED})
            return
        if coding is not None:
            headers = [(name, value) for name, value in scope["headers"] if name not in _OF_THE_WIRE]
            decoded: HTTPScope = {**scope, "headers": headers}
            await app(decoded, _Decoded(receive, Decoder(coding, limit=limit)), send)
        else:
            await app(scope, receive, send)

    return asgi


@final
class _Decoded:
    """The messages of a request, with its body decoded. After an error the rest of the body reads as empty."""

    def __init__(self, receive: Receive, decoder: Decoder) -> None:
        self._receive = receive
        self._decoder = decoder
        self._pieces: Iterator[bytes] = iter(())
        self._arrived = False
        self._over = False
        self._failed = False

    async def __call__(self) -> HTTPReceiveMessage | ReceiveMessage:
        try:
            return await self._next()
        except HubError:
            self._failed = True
            raise

    async def _next(self) -> HTTPReceiveMessage | ReceiveMessage:
        while not self._over:
            # A checkpoint for each step: the reader may never wait, and others are to have their turn.
            await checkpoint()
            if self._failed:
                self._pieces = iter(())
            piece = next(self._pieces, None)
            if piece:
                return _part(piece, more=True)
            if piece is None and self._arrived:
                if not self._failed:
                    self._decoder.finish()
                self._over = True
                return _part(b"", more=False)
            if piece is None:
                message = await self._receive()
                if message["type"] != "http.request":
                    return message
                self._arrived = not message.get("more_body", False)
                if not self._failed:
                    self._pieces = self._decoder.feed(message.get("body", b""))
        return await self._receive()


def _part(body: bytes, *, more: bool) -> HTTPReceiveMessage:
    return {"type": "http.request", "body": body, "more_body": more}
