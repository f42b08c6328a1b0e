"""The byte stream of one client: reads and parses its requests, writes replies, and knows whether the client has gone."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from math import inf
from time import time
from typing import Any, Final, TypeAlias, cast, final

import msgspec
import structlog
from anyio import (
    BrokenResourceError,
    ClosedResourceError,
    EndOfStream,
    Lock,
    TypedAttributeLookupError,
    current_time,
    get_cancelled_exc_class,
    move_on_after,
)
from anyio.abc import ByteStream, SocketAttribute
from anyio.lowlevel import checkpoint
from anyio.streams.tls import TLSStream
from typing_extensions import override

from hub.concurrency.notify import Notifier
from hub.http.problem_document import PROBLEM_TYPE, problem_members
from hub.http.serve.request_parser import HEAD_LIMIT, RequestParser, RequestRefused
from hub.http.serve.server_counts import LOAD

UNREAD: Final = 60.0
"""Seconds that a client may leave a piece of a reply unread; then its connection is broken."""

DISCONNECT_TIMEOUT: Final = 20.0
"""Seconds that an application has to end its reply to a client that has gone; then it is cancelled."""

LINGER: Final = 2.0
"""Seconds that the rest of a request is read after the reply to it: closing on unread bytes would destroy what the client
has not read yet (RFC 9112 section 9.6)."""

PIECE: Final = 64 * 1024
"""Bytes that are read at once at most."""

SENT_AT_ONCE: Final = 256 * 1024
"""Bytes that are written at once at most: each such piece has `UNREAD` seconds."""

_CLOSED_BY_PEER: Final = frozenset({7, 8})
"""TCP_CLOSE and TCP_CLOSE_WAIT of Linux, as the first byte of TCP_INFO has them."""

_LOST: Final = (BrokenResourceError, ClosedResourceError, EndOfStream, ssl.SSLError, OSError)

Address: TypeAlias = tuple[str, int]

_log = structlog.get_logger("hub.http")


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """What clients may take of a server.

    Attributes:
        head_limit: Bytes of the head of a request at most.
        request_timeout: Seconds that a client has for the head of a request, and that it may be behind with the body.
        connection_limit: Connections at once; 0: as many as the descriptors of the process allow.
    """

    head_limit: int = HEAD_LIMIT
    request_timeout: float = 20.0
    connection_limit: int = 0


@final
class RequestTimeout(RequestRefused):
    """The client has not sent its request in time."""

    code = "request_timeout"
    status = 408
    title = "Request timeout"

    @override
    def __str__(self) -> str:
        return f"{self.reason}; send it faster (the server's limit is its setting request_timeout)"


@final
class ClientStream:
    """What a connection and the exchange on it share.

    Args:
        stream: The accepted connection.
        limits: What the client may take.
        notices_hangups: Whether the server notices that the client has closed its side without being asked.

    Attributes:
        limits: What the client may take.
        parser: Has the parsed requests.
        reading: Held by the task that reads.
        gone: Whether the client has closed the connection.
        hung_up: Whether it has closed its side, if the server notices that.
        notices_hangups: Whether it does.
        expires: Until when the client has to read what it was sent, or to send a request, or the application to end its
            reply to a client that has gone; a time of the event loop.
    """

    def __init__(self, stream: ByteStream, limits: ConnectionLimits, *, notices_hangups: bool = False) -> None:
        self.limits: Final = limits
        self.parser: Final = RequestParser(limits.head_limit)
        self.reading: Final = Lock(fast_acquire=True)
        self.gone = False
        self.hung_up = False
        self.notices_hangups: Final = notices_hangups
        self.expires = inf
        self._stream = stream
        self._writing = False
        self._written = Notifier()

    async def read(self) -> bool:
        """Parses some more of what the client sends; `False` if the client has closed the connection."""
        try:
            self.parser.feed(await self._stream.receive(PIECE))
        except _LOST:
            self.gone = True
        except get_cancelled_exc_class() as cancelled:
            # A frame of anyio's stream on trio refers to the error whose traceback refers to the frame: a cycle that would
            # keep the whole request until the next garbage collection.
            cancelled.__traceback__ = None
            raise
        return not self.gone

    async def write(self, data: bytes) -> bool:
        """Sends `data` of a reply; `False` if the client has gone. The server cancels it after `UNREAD` seconds."""
        if self.gone:
            await checkpoint()
        elif not await self.sent(data):
            _log.debug("client disconnected before its reply was complete")
            self.expires = current_time() + DISCONNECT_TIMEOUT
        return not self.gone

    async def sent(self, data: bytes) -> bool:
        """Sends `data`; `False` if the client has gone."""
        while self._writing:  # no lock, which costs 3 us
            await self._written.wait()
        self._writing = True
        try:
            for start in range(0, len(data), SENT_AT_ONCE):
                piece = data if len(data) <= SENT_AT_ONCE else data[start : start + SENT_AT_ONCE]
                self.expires = current_time() + UNREAD
                await self._stream.send(piece)
            self.expires = inf
        except _LOST:
            self.gone = True
        finally:
            self._writing = False
            self._written.notify()
        return not self.gone

    async def refuse(self, refusal: RequestRefused) -> None:
        """Answers with a problem, and lets the client read it before the connection is closed."""
        if isinstance(refusal, RequestTimeout):
            LOAD.timeouts += 1
        else:
            LOAD.malformed += 1
        members = problem_members(
            refusal.status, code=refusal.code, title=refusal.title, detail=str(refusal), extensions=refusal.extensions
        )
        content = msgspec.json.encode(members)
        await self.write(
            b"%bcontent-type: %b\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b"
            % (status_line(refusal.status), PROBLEM_TYPE.encode(), len(content), content)
        )
        await self.linger()

    async def linger(self) -> None:
        """Reads and drops what the client still sends, for `LINGER` seconds at most."""
        with move_on_after(LINGER):
            try:
                if not isinstance(self._stream, TLSStream):  # which has no half that could be closed
                    await cast("Any", self._stream).send_eof()
                while True:
                    await self._stream.receive(PIECE)
            except _LOST:
                self.gone = True

    async def close(self) -> None:
        """Closes the connection."""
        await self._stream.aclose()

    def half_closed(self) -> bool:
        """Whether the client has closed its half of the connection, without reading; never on systems that cannot tell."""
        if not hasattr(socket, "TCP_INFO"):
            return False
        try:
            raw = self._stream.extra(SocketAttribute.raw_socket)
            return raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] in _CLOSED_BY_PEER
        except (*_LOST, TypedAttributeLookupError):
            return False


def status_line(status: int) -> bytes:
    """The first two lines of a reply: its status and the date."""
    return b"HTTP/1.1 %d %b\r\ndate: %b\r\n" % (status, _phrase(status), _date(int(time())))


@lru_cache(64)
def _phrase(status: int) -> bytes:
    try:
        return HTTPStatus(status).phrase.encode()
    except ValueError:
        return b""


@lru_cache(2)
def _date(second: int) -> bytes:
    return formatdate(second, usegmt=True).encode()
