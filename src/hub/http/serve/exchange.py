"""One request on a connection and the reply to it: what an ASGI application calls `receive` and `send`."""

from __future__ import annotations

from contextlib import nullcontext
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, cast, final

from anyio import CancelScope, current_time, move_on_after, sleep_forever
from anyio.lowlevel import checkpoint

from hub.http.disconnect import ON_DISCONNECT
from hub.http.serve.client import LINGER, PIECE, Address, ClientStream, RequestTimeout, status_line
from hub.http.serve.request_parser import END, RequestHead, RequestRefused

if TYPE_CHECKING:
    from litestar.types import HTTPScope, Message

KEEP_ALIVE: Final = 75.0
"""Seconds that an idle connection is kept: longer than clients do, so that none is closed as it is reused."""

REST: Final = 1024 * 1024
"""Bytes of an unread body that are read after the reply, so that the connection can be used again."""

BODY_RATE: Final = 512
"""Bytes of a body that buy its client a second more to send it."""

PIPELINED: Final = 64
"""Parts of further requests that are taken in while a request is answered; then reading stops."""

_SAFE: Final = frozenset({"GET", "HEAD"})
"""Methods whose request may be dropped when its client has gone: they change nothing (RFC 9110 section 9.2.1)."""

_NO_BODY: Final = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


@final
class Exchange:
    """One request and its reply.

    Args:
        client: The client.
        head: The head of the request.
        addresses: Scheme, address and port that the client has connected to, address and port of the client.

    Attributes:
        last: Whether the connection is to be closed after the reply.
    """

    def __init__(self, client: ClientStream, head: RequestHead, addresses: tuple[str, Address, Address | None]) -> None:
        self.last = not head.keep_alive
        self._client = client
        self._head = head
        self._addresses = addresses
        self._request_complete = False
        self._expected = head.expects_continue
        self._credit = client.limits.request_timeout
        self._refused: RequestRefused | None = None
        self._status = 0
        self._headers: list[tuple[bytes, bytes]] = []
        self._begun = False
        self._complete = False
        self._chunked = False
        self._left: int | None = None
        self._watching: CancelScope | None = None
        self._working: CancelScope | None = None
        self._hung_up = False

    def abandoned(self) -> bool:
        """Whether the client had closed its side by the last call of this too, and the reply to its safe request has not begun."""
        if self._begun or self._head.method not in _SAFE:
            return False
        before, self._hung_up = self._hung_up, self._client.half_closed()
        return before and self._hung_up

    def asgi_scope(self) -> HTTPScope:
        """The request, as ASGI has it."""
        scheme, server, peer = self._addresses
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
            "client": peer,
            "state": {},
            "extensions": {ON_DISCONNECT: self.cancel_on_hangup} if self._client.notices_hangups else {},
        }
        return cast("HTTPScope", scope)

    def cancel_on_hangup(self, scope: CancelScope | None) -> None:
        """Cancels `scope` when the client closes its side of the connection from now on, or if it has done so already."""
        self._working = scope
        if self._client.hung_up:
            self.on_hangup()

    def on_hangup(self) -> None:
        """To be called when the client has closed its side."""
        if self._working is not None:
            self._client.gone = True
            self._working.cancel("the client has disconnected")

    # --- the request --------------------------------------------------------------------------------------------------

    async def receive(self) -> Any:
        """A piece of the body, or `http.disconnect` when the client has gone, is too slow or sends what is no body."""
        client = self._client
        if client.parser.events and not (
            self._request_complete or self._complete or client.gone or client.reading.locked()
        ):
            body = self._arrived()  # with the head, as the small ones do; a lock costs 3 us
            if body is not None:
                return {"type": "http.request", "body": body, "more_body": not self._request_complete}
        async with client.reading:
            if self._complete or client.gone or self._refused is not None:
                await checkpoint()
            elif self._request_complete:
                await self._until_gone()
            elif (body := await self._body()) is not None:
                return {"type": "http.request", "body": body, "more_body": not self._request_complete}
        return {"type": "http.disconnect"}

    async def _until_gone(self) -> None:
        """Returns when the client has closed the connection, or the reply is complete."""
        with CancelScope() as self._watching:
            while len(self._client.parser.events) < PIPELINED:
                if not await self._client.read():
                    return
            await sleep_forever()  # the client sends further requests, and is not heeded before this one is answered

    async def _body(self) -> bytes | None:
        """What has arrived of the body; empty at its end, `None` when the rest will not come."""
        events = self._client.parser.events
        if self._expected and not events and not self._begun and not await self._client.sent(_CONTINUE):
            return None
        self._expected = False
        while not events:
            if not await self._wait_for_body():
                return None
        return self._arrived()

    def _arrived(self) -> bytes | None:
        """What is there of the body; `None` if it is refused in place of it."""
        events = self._client.parser.events
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
        advance. While a reply is under way the two talk: then a client may be silent as long as on an idle client.
        """
        began = current_time()
        with move_on_after(KEEP_ALIVE if self._begun else self._credit) as waiting:
            if not await self._client.read():
                return False
        if waiting.cancelled_caught:
            self._refused = RequestTimeout("the body of the request arrives too slowly")
            return False
        if not self._begun:
            arrived = sum(len(event) for event in self._client.parser.events if isinstance(event, bytes))
            credit = self._credit - (current_time() - began) + arrived / BODY_RATE
            self._credit = min(credit, self._client.limits.request_timeout)
        return True

    # --- the reply ----------------------------------------------------------------------------------------------------

    async def send(self, message: Message) -> None:
        """Takes a message of the reply. Nothing is sent any more once the request is refused.

        If the client has gone and there is more to come, this does not return: `receive` says `http.disconnect`, and the
        application cancels its reply. So it can still do what is due then (a call's task is cancelled), which it could not
        in a scope that is cancelled already. One that does not heed `receive` is cancelled after `DISCONNECT_TIMEOUT`.
        """
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
        there = True
        if opening and len(data) > PIECE:
            there = await self._client.write(opening)
        else:
            data = opening + data
        if data:
            there = await self._client.write(data)
        if self._complete or not there:
            if self._watching is not None:
                self._watching.cancel("the reply is complete, or its client has gone")
            if not self._complete:
                await sleep_forever()

    def _opening(self, size: int, *, more: bool) -> bytes:
        """The status line and the headers. Decides how the body is delimited (RFC 9112 section 6)."""
        lines: list[bytes] = [status_line(self._status)]
        names = {name.lower(): value for name, value in self._headers}
        lines.extend(b"%b: %b\r\n" % line for line in self._headers)
        if names.get(b"connection", b"").lower() == b"close":
            self.last = True
        if self._expected and not self._request_complete:
            self.last = True  # a client that still waits for its 100 (Continue) does not send the body now
        if not self._bodiless:
            lines.append(self._delimited(names.get(b"content-length"), size, more=more))
        if self.last and b"connection" not in names:
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
        self.last = True
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
        client = self._client
        if self._refused is not None and not self._begun and not client.gone:
            await client.refuse(self._refused)
            return False
        if not self._complete or client.gone or self._refused is not None:
            return False
        if not self._request_complete and not await self._drop_rest():
            await client.linger()
            return False
        return not self.last

    async def _drop_rest(self) -> bool:
        """Reads the rest of a body that the application did not want; whether that was soon done."""
        events = self._client.parser.events
        if self.last and not events:
            return False
        dropped = 0
        with nullcontext() if events and events[-1] is END else move_on_after(LINGER):  # a scope costs 3 us
            while dropped <= REST and (body := await self._body()) is not None:
                dropped += len(body)
                if self._request_complete:
                    return True
        return False
