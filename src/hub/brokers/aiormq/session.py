"""One connection of aiormq, kept apart from the cancellation of structured concurrency.

aiormq was written for asyncio's edge cancellation: a cancelled call closes its channel, a connection that times out
ends its callers with a `CancelledError` that no scope requested, which a task group takes for its own and drops. So
each of its calls runs in a task of its own that no cancel scope reaches; callers wait for that task, and they get a
result,
 `ConnectionLost`, or their own cancellation.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from math import inf
from typing import Any, Final, Never, TypeVar, final
from urllib.parse import parse_qsl, urlencode, urlsplit

import aiormq
import structlog
from aiormq.connection import TCPTransportFactory, TLSTransportFactory, TransportFactory
from aiormq.exceptions import AMQPError
from anyio import CancelScope, Event, current_effective_deadline
from pamqp import commands
from structlog.typing import FilteringBoundLogger
from typing_extensions import override
from yarl import URL

from hub.amqp import AmqpAddress, connect
from hub.brokers.options import BrokerOptions
from hub.concurrency.timeouts import timeout_as
from hub.errors import ConnectionLost, ConnectionRefused
from hub.tls import tls_refusal
from hub.urls import BROKER_SCHEMES, split_url

CONNECT_TIMEOUT: Final = 10.0
"""Seconds for TCP, TLS and the AMQP handshake together."""

CLOSE_TIMEOUT: Final = 2.0
"""Seconds for an orderly close; after that the socket is aborted, and the broker notices by itself."""

T = TypeVar("T")

_log: FilteringBoundLogger = structlog.get_logger(__name__)


@final
class AiormqSession:
    """One open connection. Made by `open_session`, and used inside its block."""

    def __init__(
        self,
        url: str,
        address: AmqpAddress,
        *,
        connect_timeout: float,
        on_blocked: Callable[[str | None], None],
    ) -> None:
        self.server = address.server
        self._address = address
        self._connect_timeout = connect_timeout
        self._transport = _Transport(secure=urlsplit(url).scheme == "amqps")
        self.connection = _NotifyingConnection(url, transport_factory=self._transport)
        self.connection.on_blocked = on_blocked
        self._calls: set[asyncio.Task[Any]] = set()
        self._gone = Event()
        self._reason = "the connection was closed"
        self._on_lost: list[Callable[[str], None]] = []

    @property
    def usable(self) -> bool:
        return not self._gone.is_set()

    async def lost(self) -> Never:
        """Waits for the end of the connection.

        Raises:
            ConnectionLost: Always.
        """
        await self._gone.wait()
        raise ConnectionLost(self.server, self._reason)

    def on_lost(self, callback: Callable[[str], None]) -> None:
        """Registers a callback, called with the reason when the connection ends."""
        self._on_lost.append(callback)

    def start(self, coroutine: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
        """Runs a coroutine of aiormq that no scope cancels, until the session closes at the latest."""
        task = asyncio.create_task(coroutine, name=f"hub.aiormq {name}")
        self._calls.add(task)
        task.add_done_callback(self._forget)
        return task

    async def call(self, coroutine: Coroutine[Any, Any, T], name: str) -> T:
        """Runs a coroutine of aiormq and waits for it. If the caller is cancelled the call continues; its result is discarded.

        Raises:
            ConnectionLost: The connection broke, whichever error aiormq raises for it.
            AMQPError: The broker answered with an error of the channel.
        """
        task = self.start(coroutine, name)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError as error:
            if current_effective_deadline() == -inf or not task.done():
                raise
            raise ConnectionLost(self.server, "no heartbeat") from error  # noqa: ASYNC104 - no scope cancelled this task
        except (aiormq.exceptions.ConnectionClosed, aiormq.exceptions.ChannelInvalidStateError, OSError) as error:
            raise self.connection_lost(error) from error
        except RuntimeError as error:  # "<Connection ...> closed"
            raise self.connection_lost(error) from error

    def connection_lost(self, error: BaseException) -> ConnectionLost:
        return ConnectionLost(self.server, str(error) or type(error).__name__)

    async def open(self) -> None:
        seconds = self._connect_timeout
        try:
            with timeout_as(lambda: ConnectionLost(self.server, f"no connection within {seconds:g} s"), seconds):
                await self.call(self._connect(), f"connect {self.server}")
        except AMQPError as error:
            raise await self._explained(self.connection_lost(error), error) from error
        except ConnectionLost as lost:
            raise await self._explained(lost, lost) from lost
        closing: asyncio.Future[Any] = self.connection.closing  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]  # bare
        closing.add_done_callback(self._closed)

    async def close(self) -> None:
        """Closes the connection within `CLOSE_TIMEOUT`, and ends every call under way, in no more than that time again.

        A call that swallows its cancellation is left behind, with a line in the log; its socket is closed.
        """
        closing = asyncio.create_task(self.connection.close(), name=f"hub.aiormq close {self.server}")
        await asyncio.wait({closing}, timeout=CLOSE_TIMEOUT)
        self._transport.abort()
        for task in (closing, *self._calls):
            task.cancel()
        _, left = await asyncio.wait({closing, *self._calls}, timeout=CLOSE_TIMEOUT)
        if left:
            calls = sorted(task.get_name() for task in left)
            _log.warning("calls of aiormq ignore their cancellation", server=self.server, calls=calls)
        if closing.done() and not closing.cancelled():
            closing.exception()

    async def _explained(self, lost: ConnectionLost, error: BaseException) -> ConnectionLost:
        """Why there is no connection. aiormq drops the text of the server, so hub's own driver connects once more to get it."""
        why = tls_refusal(error, trust="?cafile=FILE in the URL")
        if why is not None:
            return ConnectionRefused(self.server, why)
        if not self._address.secure:
            try:
                async with connect(self._address):
                    pass
            except ConnectionLost as better:
                return better
        return lost

    async def _connect(self) -> None:
        await self.connection.connect()  # pyright: ignore[reportUnknownMemberType]  # wrapped without types

    def _closed(self, closing: asyncio.Future[Any]) -> None:
        error = None if closing.cancelled() else closing.exception()
        if error is not None:
            self._reason = str(error) or type(error).__name__
        self._gone.set()
        for callback in self._on_lost:
            callback(self._reason)

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._calls.discard(task)
        if not task.cancelled():
            task.exception()  # retrieved, even if its caller has left


def address_of(url: str) -> AmqpAddress:
    """Where a URL of this adapter leads. Its query is aiormq's, and left out.

    Raises:
        ConfigurationError: It is no such URL.
    """
    parts = split_url(url, BROKER_SCHEMES)
    return AmqpAddress.parse(parts._replace(scheme=parts.scheme.removesuffix("+aiormq"), query="").geturl())


@asynccontextmanager
async def open_session(
    url: str,
    options: BrokerOptions,
    *,
    connect_timeout: float = CONNECT_TIMEOUT,
    on_blocked: Callable[[str | None], None] = lambda _reason: None,
) -> AsyncGenerator[AiormqSession]:
    """A connection while the block runs.

    Args:
        url: `amqp+aiormq://...` or `amqps+aiormq://...` with one host, and the query parameters that aiormq knows.
        options: Heartbeat and connection name, unless the URL says otherwise.
        connect_timeout: Seconds for TCP, TLS and the AMQP handshake together.
        on_blocked: Called with the reason when the broker stops taking messages, and with `None` when it goes on.

    Raises:
        ConnectionRefused: On entry: the broker refuses us; see `hub.amqp.connect`.
        ConnectionLost: On entry: the broker cannot be reached.
    """
    parts = urlsplit(url)
    query = {"heartbeat": str(options.heartbeat), "name": options.connection_name, **dict(parse_qsl(parts.query))}
    plain = parts._replace(scheme=parts.scheme.removesuffix("+aiormq"), query=urlencode(query))
    session = AiormqSession(plain.geturl(), address_of(url), connect_timeout=connect_timeout, on_blocked=on_blocked)
    try:
        await session.open()
        yield session
    finally:
        with CancelScope(shield=True):  # bounded by twice CLOSE_TIMEOUT, which `close` keeps itself
            await session.close()


class _NotifyingConnection(aiormq.Connection):
    """Reports `connection.blocked` and `connection.unblocked`, which aiormq handles in private methods and only logs."""

    on_blocked: Callable[[str | None], None]

    async def _Connection__handle_connection_blocked(self, frame: commands.Connection.Blocked) -> None:  # noqa: N802
        await super()._Connection__handle_connection_blocked(frame)  # type: ignore[misc]
        self.on_blocked(frame.reason)

    async def _Connection__handle_connection_unblocked(self, frame: commands.Connection.Unblocked) -> None:  # noqa: N802
        await super()._Connection__handle_connection_unblocked(frame)  # type: ignore[misc]
        self.on_blocked(None)


class _Transport(TransportFactory):
    """Remembers the socket of a connection, so that it can be aborted."""

    def __init__(self, *, secure: bool) -> None:
        self._inner = TLSTransportFactory() if secure else TCPTransportFactory()
        self._writer: asyncio.StreamWriter | None = None

    @override
    async def create(self, url: URL, **kwargs: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await self._inner.create(url, **kwargs)
        self._writer = writer
        return reader, writer

    def abort(self) -> None:
        if self._writer is not None:
            self._writer.transport.abort()
