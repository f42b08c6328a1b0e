"""The HTTP server of every component, on both backends: a task for each connection, all of them bounded.

Decision 183 says why hub has one of its own. What it does not do: HTTP/2, WebSockets, ASGI's lifespan, signals.
"""

from __future__ import annotations

import errno
import os
import resource
import socket
import ssl
from collections.abc import Callable
from contextlib import ExitStack, closing
from functools import partial
from typing import Final, cast, final

import structlog
from anyio import (
    TASK_STATUS_IGNORED,
    BrokenResourceError,
    CancelScope,
    EndOfStream,
    Event,
    create_task_group,
    current_time,
    move_on_after,
    sleep,
    sleep_forever,
    wait_readable,
)
from anyio.abc import ByteStream, SocketStream, TaskGroup, TaskStatus
from anyio.streams.tls import TLSStream
from litestar.types import ASGIApp

from hub.http.middleware.problems import with_problems
from hub.http.serve.client import Address
from hub.http.serve.connection import HttpConnection
from hub.http.serve.hangups import AVAILABLE, HangUps
from hub.http.serve.listen import ListenAddress
from hub.http.serve.server_counts import LOAD

DRAIN_GRACE: Final = 5.0
"""Seconds that requests in flight have to finish once the server is cancelled."""

RESERVE: Final = 64
"""Descriptors that connections of clients leave to the rest of the process: links to broker and store, files."""

PAUSE: Final = 0.1
"""Seconds without accepting after the system has run out of something; clients wait in the backlog meanwhile."""

EXPIRY: Final = 1.0
"""Seconds between two looks for connections whose time is over."""

ACCEPTED_AT_ONCE: Final = 256
"""Connections that are accepted before other tasks have their turn: some 10 ms. Of a loaded event loop a turn takes longer, and
with fewer at once, clients would wait for many of them before their request is even refused."""

_NO_ROOM: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_BUSY: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\nretry-after: 1\r\n"
    b"content-length: %d\r\nconnection: close\r\n\r\n%b"
)
_BUSY_BODY: Final = (
    b'{"type":"urn:hub:problem:too_many_connections","title":"Too many connections","status":503,"detail":"the server has '
    b"as many connections as it takes; reuse connections, or raise its setting connection_limit or the limit on open "
    b'files of its process","code":"too_many_connections"}'
)

_log = structlog.get_logger("hub.http")


async def serve(
    app: ASGIApp,
    bind: ListenAddress,
    *,
    grace: float = DRAIN_GRACE,
    on_drain: Callable[[], None] = lambda: None,
    task_status: TaskStatus[str] = TASK_STATUS_IGNORED,
) -> None:
    """Serves `app` until its scope is cancelled. Start it with `url = await tg.start(serve, app, bind)`.

    Cancellation drains: no new connections, requests in flight may finish for `grace` seconds, then they are cancelled.

    Args:
        app: The ASGI application.
        bind: Where to listen, and the limits.
        grace: Seconds for requests in flight.
        on_drain: Called as the drain begins, so that long polls can be answered now instead of being cut.
        task_status: Gets the base URL, with the real port, when connections are accepted.

    Raises:
        ConfigurationError: The address cannot be listened on, or the certificate cannot be used.
    """
    tls = bind.tls()
    with closing(bind.open()) as listener, ExitStack() as stack:
        url = bind.url(listener)
        hangups = stack.enter_context(closing(HangUps())) if AVAILABLE and tls is None else None
        server = _Server(with_problems(app), bind, listener, tls, hangups)
        drains = Event()

        async def drain_when_cancelled() -> None:
            try:
                await sleep_forever()
            finally:
                on_drain()
                drains.set()

        async with create_task_group() as tg:
            tg.start_soon(drain_when_cancelled, name=f"hub.http stop {url}")
            with CancelScope(shield=True) as requests:  # bounded by `grace` once the drain has begun
                async with create_task_group() as watch:
                    watch.start_soon(server.close_expired, name=f"hub.http expiry {url}")
                    if hangups is not None:
                        watch.start_soon(hangups.run, name=f"hub.http hang-ups {url}")
                    async with create_task_group() as connections:
                        accepting = CancelScope()
                        connections.start_soon(server.accept, connections, accepting, name=f"hub.http accept {url}")
                        task_status.started(url)
                        await drains.wait()
                        accepting.cancel("the server ends")
                        requests.deadline = current_time() + grace
                        server.drain()
                    watch.cancel_scope.cancel("all connections have ended")
            tg.cancel_scope.cancel("the server has ended")


@final
class _Server:
    """Accepts connections, as many as there is room for, and serves each in a task of its own."""

    def __init__(
        self,
        app: ASGIApp,
        bind: ListenAddress,
        listener: socket.socket,
        tls: ssl.SSLContext | None,
        hangups: HangUps | None,
    ) -> None:
        self._app = app
        self._bind = bind
        self._listener = listener
        self._tls = tls
        self._connections: dict[int, HttpConnection | None] = {}
        self._number = 0
        self._draining = False
        self._hangups = hangups

    async def accept(self, tasks: TaskGroup, scope: CancelScope) -> None:
        """Accepts until `scope` is cancelled. No error of a connection, and no lack of descriptors, ends it."""
        with scope:
            while True:
                await wait_readable(self._listener)
                for _ in range(ACCEPTED_AT_ONCE):
                    try:
                        accepted, _address = self._listener.accept()
                    except (BlockingIOError, InterruptedError):
                        break
                    except OSError as error:
                        if error.errno in _NO_ROOM:
                            await self._pause(error)
                        break  # or a connection that its client has closed already (accept(2))
                    accepted.setblocking(False)
                    if self._has_room(accepted):
                        self._number += 1
                        self._connections[self._number] = None
                        tasks.start_soon(self._serve, self._number, accepted, name="hub.http connection")
                    else:
                        _turn_away(accepted)
        self._listener.close()

    async def _pause(self, error: OSError) -> None:
        LOAD.paused += 1
        _log.warning("no descriptors for new connections; clients wait", reason=error.strerror, seconds=PAUSE)
        self._close_longest_idle()
        await sleep(PAUSE)

    def _has_room(self, accepted: socket.socket) -> bool:
        """Whether another connection can be served. When there is no room the longest idle one makes way."""
        limit = self._bind.limits.connection_limit
        if limit and len(self._connections) >= limit:
            return self._close_longest_idle()
        # The system gives the lowest number that is free, so this counts what all parts of the process have open.
        if accepted.fileno() >= _descriptor_limit() - RESERVE:
            return self._close_longest_idle()
        return True

    def _close_longest_idle(self) -> bool:
        idle = {
            number: each.idle_since
            for number, each in self._connections.items()
            if each is not None and each.idle_since is not None
        }
        if not idle:
            return False
        connection = self._connections.pop(min(idle, key=idle.__getitem__))
        if connection is not None:
            connection.close_when_idle()
        LOAD.evicted += 1
        return True

    async def close_expired(self) -> None:
        """Ends the connections whose time is over, as they are found once every `EXPIRY` seconds."""
        while True:
            await sleep(EXPIRY)
            now = current_time()
            for connection in self._connections.values():
                if connection is not None:
                    connection.close_when_expired(now)

    def drain(self) -> None:
        """Closes what is idle, and each other connection after its reply."""
        self._draining = True
        for connection in self._connections.values():
            if connection is not None:
                connection.close_when_idle()

    async def _serve(self, number: int, accepted: socket.socket) -> None:
        LOAD.open += 1
        try:
            server, client = _address(accepted.getsockname()), _address(accepted.getpeername())
            async with await SocketStream.from_socket(accepted) as plain:
                stream = plain if self._tls is None else await self._encrypted(plain)
                if stream is None:
                    return
                connection = HttpConnection(
                    stream,
                    self._app,
                    limits=self._bind.limits,
                    scheme=self._bind.scheme,
                    server=server,
                    client=client,
                    noticing=None if self._hangups is None else partial(self._hangups.watching, accepted.fileno()),
                )
                connection.closing = self._draining
                self._connections[number] = connection
                await connection.run()
        except (OSError, ValueError):  # the client had gone before its connection was wrapped
            accepted.close()
        finally:
            self._connections.pop(number, None)
            LOAD.open -= 1

    async def _encrypted(self, plain: SocketStream) -> ByteStream | None:
        """The stream inside of TLS; `None` if the client does not complete the handshake in time."""
        with move_on_after(self._bind.limits.request_timeout):
            try:
                return await TLSStream.wrap(plain, server_side=True, ssl_context=self._tls, standard_compatible=False)
            except (ssl.SSLError, BrokenResourceError, EndOfStream, OSError):
                return None
        return None


def _turn_away(accepted: socket.socket) -> None:
    """Answers 503 at once, as far as the buffer of the socket takes it, and closes the connection."""
    LOAD.refused += 1
    with accepted:
        try:
            accepted.send(_BUSY % (len(_BUSY_BODY), _BUSY_BODY))
            accepted.shutdown(socket.SHUT_WR)
        except OSError:
            return


def _descriptor_limit() -> int:
    """The soft limit on open files of this process; it may be raised while it runs."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft if soft != resource.RLIM_INFINITY else os.sysconf("SC_OPEN_MAX")


def _address(name: object) -> Address:
    return cast("Address", name[:2]) if isinstance(name, tuple) else ("", 0)  # pyright: ignore[reportUnknownArgumentType]
