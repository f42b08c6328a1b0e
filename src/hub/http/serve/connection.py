"""One connection of the HTTP server: a task that reads requests, calls the application and writes its replies, in turn."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from math import inf
from typing import TYPE_CHECKING, cast, final

from anyio import CancelScope, current_time, move_on_after
from anyio.abc import ByteStream

from hub.http.serve.client import Address, ClientStream, ConnectionLimits, RequestTimeout
from hub.http.serve.exchange import KEEP_ALIVE, Exchange
from hub.http.serve.request_parser import RequestHead, RequestRefused

if TYPE_CHECKING:
    from litestar.types import ASGIApp


@final
class HttpConnection:
    """Serves one client until either side closes the connection, or its scope is cancelled.

    Args:
        stream: The accepted connection.
        app: Called once for each request, one after the other, in the task of the connection.
        scheme: `http` or `https`.
        server: Address and port that the client has connected to.
        client: Address and port of the client; `None` if it has none.
        noticing: In the block that it returns, its argument is called when the client has closed its side; `None` if this is
            not noticed. See `HangUps.watching`.
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
        noticing: Callable[[Callable[[], None]], AbstractContextManager[None]] | None = None,
    ) -> None:
        self.scope = CancelScope()
        self.idle_since: float | None = None
        self.closing = False
        self._client = ClientStream(stream, limits, notices_hangups=noticing is not None)
        self._noticing = noticing
        self._addresses = (scheme, server, client)
        self._app = app
        self._used = False
        self._exchange: Exchange | None = None

    def _on_hangup(self) -> None:
        self._client.hung_up = True
        if self._exchange is not None:
            self._exchange.on_hangup()

    def close_when_idle(self) -> None:
        """Ends the connection now if it is idle, and after its reply otherwise."""
        self.closing = True
        if self._exchange is not None:
            self._exchange.last = True
        if self.idle_since is not None:
            self.scope.cancel("the connection is idle")

    def close_when_expired(self, now: float) -> None:
        """Ends the connection if it has been idle, or what it was sent unread, for too long. Called once a second.

        So it does while a safe request is held back (a long poll) whose client has closed its side of the connection for a
        second: the route awaits something else, and does not notice. Clients that close only their sending half, and
        expect the reply, have that second. Other methods see `http.disconnect`, and decide themselves.

        A cancel scope with a deadline for each of the two would cost an asyncio server a third of its requests per second.
        """
        if self._client.expires <= now:
            self.scope.cancel("the client neither sends nor reads, or has gone")
        elif self._exchange is not None and self._exchange.abandoned():
            self.scope.cancel("the client has disconnected")

    async def run(self) -> None:
        """Returns when the connection has ended. Cancelling it breaks the connection."""
        with self.scope:
            try:
                with nullcontext() if self._noticing is None else self._noticing(self._on_hangup):
                    while await self._one_request():
                        self._used = True
            finally:
                await self._client.close()  # noqa: ASYNC102 - closing a socket does not wait

    async def _one_request(self) -> bool:
        """Whether the connection can be used for another request."""
        head = await self._head()
        if head is None:
            return False
        if isinstance(head, RequestRefused):
            await self._client.refuse(head)
            return False
        exchange = self._exchange = Exchange(self._client, head, self._addresses)
        exchange.last |= self.closing
        try:
            await self._app(exchange.asgi_scope(), exchange.receive, exchange.send)
        except Exception:  # noqa: BLE001 - `with_problems` has logged it; the reply had begun, so it is cut
            return False
        finally:
            self._exchange = None
        return await exchange.finish()

    async def _head(self) -> RequestHead | RequestRefused | None:
        """The next request; `None` if the client closes the connection, or has sent nothing for too long."""
        client, parser = self._client, self._client.parser
        events, timeout = parser.events, client.limits.request_timeout
        if not events and parser.between_requests():
            if self.closing:
                return None
            self.idle_since = current_time()
            client.expires = self.idle_since + (KEEP_ALIVE if self._used else timeout)
            while parser.between_requests() and await client.read():
                pass  # blank lines in front of a request mean nothing
            client.expires = inf
            if parser.between_requests():
                return None
            self.idle_since = None
        if not events:
            with move_on_after(timeout) as waiting:
                while not events:
                    if not await client.read():
                        return None
            if waiting.cancelled_caught:
                return RequestTimeout(f"the head of the request was not complete after {timeout:g} s")
        return cast("RequestHead | RequestRefused", events.popleft())  # what comes after an `END`
