"""One connection of the HTTP server: a task that reads requests, calls the application and writes its replies, in turn."""

from __future__ import annotations

import socket
import ssl
from contextlib import nullcontext
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
    CancelScope,
    ClosedResourceError,
    EndOfStream,
    Lock,
    TypedAttributeLookupError,
    current_time,
    get_cancelled_exc_class,
    move_on_after,
    sleep_forever,
)
from anyio.abc import ByteStream, SocketAttribute
from anyio.lowlevel import checkpoint
from anyio.streams.tls import TLSStream
from litestar.types import ASGIApp, HTTPScope, Message
from typing_extensions import override

from hub.http.problems import PROBLEM_TYPE, problem_members
from hub.http.serve.request_parser import END, HEAD_LIMIT, RequestHead, RequestParser, RequestRefused
from hub.http.server_counts import LOAD

KEEP_ALIVE: Final = 75.0
"""Seconds that an idle connection is kept: longer than clients do, so that none is closed as it is reused."""

UNREAD: Final = 60.0
"""Seconds that a client may leave a piece of a reply unread; then its connection is broken."""

LINGER: Final = 2.0
"""Seconds that the rest of a request is read after the reply to it: closing on unread bytes would destroy what the client
has not read yet (RFC 9112 section 9.6)."""

REST: Final = 1024 * 1024
"""Bytes of an unread body that are read after the reply, so that the connection can be used again."""

BODY_RATE: Final = 512
"""Bytes of a body that buy its client a second more to send it."""

PIECE: Final = 64 * 1024
"""Bytes that are read at once at most."""

SENT_AT_ONCE: Final = 256 * 1024
"""Bytes that are written at once at most: each such piece has `UNREAD` seconds."""

PIPELINED: Final = 64
"""Parts of further requests that are taken in while a request is answered; then reading stops."""

_SAFE: Final = frozenset({"GET", "HEAD"})
"""Methods whose request may be dropped when its client has gone: they change nothing (RFC 9110 section 9.2.1)."""

_CLOSED_BY_PEER: Final = frozenset({7, 8})
"""TCP_CLOSE and TCP_CLOSE_WAIT of Linux, as the first byte of TCP_INFO has them."""

_NO_BODY: Final = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})
_LOST: Final = (BrokenResourceError, ClosedResourceError, EndOfStream, ssl.SSLError, OSError)
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"

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
class HttpConnection:
    """Serves one client until either side closes the connection, or its scope is cancelled.

    Args:
        stream: The accepted connection.
        app: Called once for each request, one after the other, in the task of the connection.
        scheme: `http` or `https`.
        server: Address and port that the client has connected to.
        client: Address and port of the client; `None` if it has none.
    """

    def __init__(
        self,
        stream: ByteStream,
        app: ASGIApp,
        *,
        limits: ConnectionLimits,
        scheme: str,
        server: Address,
        client: Address | None,
    ) -> None:
        self.scope = CancelScope()
        self.idle_since: float | None = None
        self.expires = inf
        self.limits = limits
        self.addresses = (scheme, server, client)
        self.closing = False
        self.gone = False
        self.parser = RequestParser(limits.head_limit)
        self.reading = Lock(fast_acquire=True)
        self._stream = stream
        self._writing = Lock(fast_acquire=True)
        self._app = app
        self._used = False
        self._exchange: _Exchange | None = None

    def close_when_idle(self) -> None:
        """Ends the connection now if it is idle, and after its reply otherwise."""
        self.closing = True
        if self.idle_since is not None:
            self.scope.cancel("the connection is idle")

    def close_when_expired(self, now: float) -> None:
        """Ends the connection if it has been idle, or what it was sent unread, for too long. Called once a second.

        So it does while a safe request is held back (a long poll) whose client has closed its side of the connection for a
        second: the route awaits something else, and does not notice. Clients that close only their sending half, and
        expect the reply, have that second. Other methods see `http.disconnect`, and decide themselves.

        A cancel scope with a deadline for each of the two would cost an asyncio server a third of its requests per second.
        """
        if self.expires <= now:
            self.scope.cancel("the client neither sends nor reads")
        elif self._exchange is not None and self._exchange.abandoned(self._stream):
            self.scope.cancel("the client has disconnected")

    async def run(self) -> None:
        """Returns when the connection has ended. Cancelling it breaks the connection."""
        with self.scope:
            try:
                while await self._one_request():
                    self._used = True
            finally:
                await self._stream.aclose()

    async def _one_request(self) -> bool:
        """Whether the connection can be used for another request."""
        head = await self._head()
        if head is None:
            return False
        if isinstance(head, RequestRefused):
            await self.refuse(head)
            return False
        exchange = self._exchange = _Exchange(self, head)
        try:
            await self._app(exchange.asgi_scope(), exchange.receive, exchange.send)
        except Exception:  # noqa: BLE001 - `with_problems` has logged it; the reply had begun, so it is cut
            return False
        finally:
            self._exchange = None
        return await exchange.finish()

    async def _head(self) -> RequestHead | RequestRefused | None:
        """The next request; `None` if the client closes the connection, or has sent nothing for too long."""
        events = self.parser.events
        timeout = self.limits.request_timeout
        if not events and self.parser.between_requests():
            if self.closing:
                return None
            self.idle_since = current_time()
            self.expires = self.idle_since + (KEEP_ALIVE if self._used else timeout)
            while self.parser.between_requests() and await self.read():
                pass  # blank lines in front of a request mean nothing
            self.expires = inf
            if self.parser.between_requests():
                return None
            self.idle_since = None
        if not events:
            with move_on_after(timeout) as waiting:
                while not events:
                    if not await self.read():
                        return None
            if waiting.cancelled_caught:
                return RequestTimeout(f"the head of the request was not complete after {timeout:g} s")
        return cast("RequestHead | RequestRefused", events.popleft())  # what comes after an `END`

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

    async def write(self, data: bytes) -> None:
        """Sends `data`. If the client has gone, the connection is cancelled; so it is by its server after `UNREAD` seconds."""
        known = self.gone
        if known or not await self.sent(data):
            if not known:
                _log.debug("client disconnected before its reply was complete")
            self.scope.cancel("the client has disconnected")
            await checkpoint()

    async def sent(self, data: bytes) -> bool:
        """Sends `data`; `False` if the client has gone."""
        try:
            async with self._writing:
                for start in range(0, len(data), SENT_AT_ONCE):
                    piece = data if len(data) <= SENT_AT_ONCE else data[start : start + SENT_AT_ONCE]
                    self.expires = current_time() + UNREAD
                    await self._stream.send(piece)
                self.expires = inf
        except _LOST:
            self.gone = True
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
            % (_status_line(refusal.status), PROBLEM_TYPE.encode(), len(content), content)
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


@final
class _Exchange:
    """One request and its reply: what the application calls `receive` and `send`."""

    def __init__(self, connection: HttpConnection, head: RequestHead) -> None:
        self._connection = connection
        self._head = head
        self._request_complete = False
        self._expected = head.expects_continue
        self._credit = connection.limits.request_timeout
        self._refused: RequestRefused | None = None
        self._status = 0
        self._headers: list[tuple[bytes, bytes]] = []
        self._begun = False
        self._complete = False
        self._chunked = False
        self._left: int | None = None
        self._keep_alive = head.keep_alive
        self._watching = CancelScope()
        self._hung_up = False

    def abandoned(self, stream: ByteStream) -> bool:
        """Whether the client had closed its side by the last call of this too, and the reply to its safe request has not begun."""
        if self._begun or self._head.method not in _SAFE:
            return False
        before, self._hung_up = self._hung_up, _closed_by_peer(stream)
        return before and self._hung_up

    def asgi_scope(self) -> HTTPScope:
        """The request, as ASGI has it."""
        scheme, server, client = self._connection.addresses
        head = self._head
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": head.http_version,
            "method": head.method,
            "scheme": scheme,
            "path": head.path,
            "raw_path": head.raw_path,
            "query_string": head.query,
            "root_path": "",
            "headers": head.headers,
            "server": server,
            "client": client,
            "state": {},
            "extensions": {},
        }
        return cast("HTTPScope", scope)

    # --- the request --------------------------------------------------------------------------------------------------

    async def receive(self) -> Any:
        """A piece of the body, or `http.disconnect` when the client has gone, is too slow or sends what is no body."""
        async with self._connection.reading:
            if self._complete or self._connection.gone or self._refused is not None:
                await checkpoint()
            elif self._request_complete:
                await self._until_gone()
            elif (body := await self._body()) is not None:
                return {"type": "http.request", "body": body, "more_body": not self._request_complete}
        return {"type": "http.disconnect"}

    async def _until_gone(self) -> None:
        """Returns when the client has closed the connection, or the reply is complete."""
        with self._watching:
            while len(self._connection.parser.events) < PIPELINED:
                if not await self._connection.read():
                    return
            await sleep_forever()  # the client sends further requests, and is not heeded before this one is answered

    async def _body(self) -> bytes | None:
        """What has arrived of the body; empty at its end, `None` when the rest will not come."""
        events = self._connection.parser.events
        if self._expected and not events and not self._begun and not await self._connection.sent(_CONTINUE):
            return None
        self._expected = False
        while not events:
            if not await self._wait_for_body():
                return None
        pieces: list[bytes] = []
        while events and isinstance(events[0], bytes):
            pieces.append(cast("bytes", events.popleft()))
        if events and events[0] is END:
            events.popleft()
            self._request_complete = True
        elif events and isinstance(events[0], RequestRefused) and not pieces:
            self._refused = events[0]
            return None
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def _wait_for_body(self) -> bool:
        """Reads once; `False` if nothing more of the body comes.

        The client has `request_timeout` seconds, and a second more for each `BODY_RATE` bytes, never more than that in
        advance. While a reply is under way the two talk: then a client may be silent as long as on an idle connection.
        """
        began = current_time()
        with move_on_after(KEEP_ALIVE if self._begun else self._credit) as waiting:
            if not await self._connection.read():
                return False
        if waiting.cancelled_caught:
            self._refused = RequestTimeout("the body of the request arrives too slowly")
            return False
        if not self._begun:
            arrived = sum(len(event) for event in self._connection.parser.events if isinstance(event, bytes))
            credit = self._credit - (current_time() - began) + arrived / BODY_RATE
            self._credit = min(credit, self._connection.limits.request_timeout)
        return True

    # --- the reply ----------------------------------------------------------------------------------------------------

    async def send(self, message: Message) -> None:
        """Takes a message of the reply. Nothing is sent any more once the request is refused."""
        if self._refused is not None:
            await checkpoint()
            return
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._headers = list(message["headers"])
            return
        if message["type"] != "http.response.body" or self._complete or not self._status:
            raise RuntimeError("a reply is one http.response.start and then its body")
        body, more = message.get("body", b""), message.get("more_body", False)
        opening = b"" if self._begun else self._opening(len(body), more=more)
        data = self._framed(body, more=more)
        self._begun = True
        self._complete = not more
        if opening and len(data) > PIECE:
            await self._connection.write(opening)
        else:
            data = opening + data
        if data:
            await self._connection.write(data)
        if self._complete:
            self._watching.cancel("the reply is complete")

    def _opening(self, size: int, *, more: bool) -> bytes:
        """The status line and the headers. Decides how the body is delimited (RFC 9112 section 6)."""
        lines: list[bytes] = [_status_line(self._status)]
        names = {name.lower(): value for name, value in self._headers}
        lines.extend(b"%b: %b\r\n" % line for line in self._headers)
        if names.get(b"connection", b"").lower() == b"close" or self._connection.closing:
            self._keep_alive = False
        if self._expected and not self._request_complete:
            self._keep_alive = False  # a client that still waits for its 100 (Continue) does not send the body now
        if not self._bodiless:
            lines.append(self._delimited(names.get(b"content-length"), size, more=more))
        if not self._keep_alive and b"connection" not in names:
            lines.append(b"connection: close\r\n")
        lines.append(b"\r\n")
        opening = b"".join(lines)
        if opening.count(b"\n") != len([line for line in lines if line]) + 1:  # the first of them has the date too
            raise RuntimeError("a header of the reply has a line break in it")
        return opening

    def _delimited(self, length: bytes | None, size: int, *, more: bool) -> bytes:
        """The header line that says where the body ends, if there has to be another one."""
        if length is not None:
            self._left = int(length)
            return b""
        if not more:
            self._left = size
            return b"content-length: %d\r\n" % size
        if self._head.http_version == "1.1":
            self._chunked = True
            return b"transfer-encoding: chunked\r\n"
        self._keep_alive = False
        return b""

    @property
    def _bodiless(self) -> bool:
        return self._head.method == "HEAD" or self._status in _NO_BODY

    def _framed(self, body: bytes, *, more: bool) -> bytes:
        if self._bodiless:
            return b""
        if self._chunked:
            chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            return chunk if more else chunk + b"0\r\n\r\n"
        if self._left is not None:
            self._left -= len(body)
            if self._left < 0 or (self._left and not more):
                raise RuntimeError("the body of the reply is not as long as its Content-Length")
        return body

    async def finish(self) -> bool:
        """Ends the exchange when the application has returned; whether the connection can be used again."""
        connection = self._connection
        if self._refused is not None and not self._begun and not connection.gone:
            await connection.refuse(self._refused)
            return False
        if not self._complete or connection.gone or self._refused is not None:
            return False
        if not self._request_complete and not await self._drop_rest():
            await connection.linger()
            return False
        return self._keep_alive and not connection.closing

    async def _drop_rest(self) -> bool:
        """Reads the rest of a body that the application did not want; whether that was soon done."""
        events = self._connection.parser.events
        if not self._keep_alive and not events:
            return False
        dropped = 0
        with nullcontext() if events and events[-1] is END else move_on_after(LINGER):  # a scope costs 3 us
            while dropped <= REST and (body := await self._body()) is not None:
                dropped += len(body)
                if self._request_complete:
                    return True
        return False


def _status_line(status: int) -> bytes:
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


def _closed_by_peer(stream: ByteStream) -> bool:
    """Whether the other side has closed its half of the connection, without reading; never on systems that cannot tell."""
    if not hasattr(socket, "TCP_INFO"):
        return False
    try:
        raw = stream.extra(SocketAttribute.raw_socket)
        return raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] in _CLOSED_BY_PEER
    except (*_LOST, TypedAttributeLookupError):
        return False
