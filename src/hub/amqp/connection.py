"""One connection to one broker, over a socket."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from copy import copy
from typing import Final, Never, Self, final

from anyio import (
    AsyncContextManagerMixin,
    BrokenResourceError,
    CancelScope,
    ClosedResourceError,
    EndOfStream,
    Event,
    connect_tcp,
    create_task_group,
    current_time,
    move_on_after,
    sleep,
)
from anyio.abc import ByteStream
from pamqp import commands
from typing_extensions import override

from hub.amqp.address import AmqpAddress
from hub.amqp.channel import Channel
from hub.amqp.errors import ConnectionClosed
from hub.amqp.options import AmqpOptions
from hub.amqp.protocol.channel import ChannelState
from hub.amqp.protocol.connection import ConnectionState
from hub.amqp.protocol.handshake import Tuning
from hub.amqp.publisher import Publisher
from hub.amqp.wait import CLOSE_TIMEOUT, wait_reply
from hub.concurrency.exceptions import collapse_exception_group
from hub.concurrency.notify import Notifier
from hub.errors import ConnectionLost, ConnectionRefused
from hub.tls import speaks_tls, tls_refusal

_RECEIVE_SIZE: Final = 256 * 1024
_BROKEN: Final = (BrokenResourceError, ClosedResourceError, EndOfStream, OSError)


@final
class AmqpConnection(AsyncContextManagerMixin):
    """A connection over a socket that is connected already; usually made by `connect`.

    Entering the block logs in, leaving it closes the connection in good order. When the connection breaks, every call
    that waits and every later one raises `ConnectionLost`; nothing is cancelled. An error of the block comes out as it
    is, not in an `ExceptionGroup`.

    Args:
        stream: Closed by the caller.
        address: User and virtual host to log in with.
        options: Already joined with the query of the address.
        on_blocked: Called with the reason when the broker stops taking messages, and with `None` when it goes on.
    """

    def __init__(
        self,
        stream: ByteStream,
        address: AmqpAddress,
        options: AmqpOptions,
        *,
        on_blocked: Callable[[str | None], None] = lambda _reason: None,
    ) -> None:
        self._stream = stream
        self._on_blocked = on_blocked
        self._timeout = options.connect_timeout
        self._output = Notifier()
        self._room = Notifier()
        self._closed = Event()
        self._flushed = Event()
        self._last_received = current_time()
        self._last_sent = current_time()
        self._state = ConnectionState(
            address, options, on_output=self._output.notify, on_blocked=self._blocked_changed, on_closed=self._end
        )

    @property
    def server(self) -> str:
        """The broker's address, without credentials."""
        return self._state.server

    @property
    def server_properties(self) -> Mapping[str, object]:
        """The server's description of itself, such as `product` and `version`."""
        return self._state.server_properties

    @property
    def usable(self) -> bool:
        return self._state.usable

    @property
    def blocked(self) -> str | None:
        """Why the broker takes no messages at present, such as `low on memory`."""
        return self._state.blocked

    @property
    def channels(self) -> int:
        """Channel numbers in use, those of channels that are about to close included."""
        return self._state.channels

    @asynccontextmanager
    async def channel(self) -> AsyncGenerator[Channel]:
        """Opens a channel for declaring and consuming; closing it puts back what is unsettled on it.

        Raises:
            ConnectionLost: The connection broke.
            TooManyChannels: There are no more numbers.
        """
        async with self._open_channel() as state:
            yield Channel(state)

    @asynccontextmanager
    async def publisher(self) -> AsyncGenerator[Publisher]:
        """Opens a channel for publishing.

        Raises:
            ConnectionLost: The connection broke.
            TooManyChannels: There are no more numbers.
        """
        async with self._open_channel() as state:
            await wait_reply(state.call(commands.Confirm.Select(), commands.Confirm.SelectOk))
            yield Publisher(state, self._wait_for_room)

    async def lost(self) -> Never:
        """Waits for the end of the connection.

        Raises:
            ConnectionLost: Always.
        """
        while self._state.closed is None:
            await self._closed.wait()
        raise copy(self._state.closed)

    @asynccontextmanager
    async def _open_channel(self) -> AsyncGenerator[ChannelState]:
        state = self._state.new_channel()
        await wait_reply(state.open())
        try:
            yield state
        finally:
            reply = state.close()
            if reply is not None:
                with move_on_after(CLOSE_TIMEOUT, shield=True):
                    await wait_reply(reply)

    async def _wait_for_room(self, high_water: int) -> None:
        state = self._state
        while state.closed is None and (state.blocked is not None or state.output.size >= high_water):
            await self._room.wait()

    def _blocked_changed(self) -> None:
        self._on_blocked(self._state.blocked)
        self._room.notify()

    def _end(self) -> None:
        self._closed.set()
        self._room.notify()

    @override
    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        name = self._state.server
        # Shielded, because `connection.close` has to be sent and answered while the block is being cancelled; they end with
        # the block.
        reading, writing = CancelScope(shield=True), CancelScope(shield=True)
        with collapse_exception_group():
            async with create_task_group() as tg:
                tg.start_soon(self._read, reading, name=f"hub.amqp reader {name}")
                tg.start_soon(self._write, writing, name=f"hub.amqp writer {name}")
                try:
                    tuning = await self._authenticate()
                    if tuning.heartbeat:
                        tg.start_soon(self._heartbeat, tuning.heartbeat, name=f"hub.amqp heartbeat {name}")
                    yield self
                finally:
                    with move_on_after(CLOSE_TIMEOUT, shield=True):
                        await self._close_gracefully()
                    self._state.lost(ConnectionLost(name, "the connection is closed"))
                    for scope in (reading, writing, tg.cancel_scope):
                        scope.cancel("connection closed")

    async def _authenticate(self) -> Tuning:
        state = self._state
        state.start_handshake()
        with move_on_after(self._timeout):
            await wait_reply(state.opened)
        if state.tuning is None:
            raise ConnectionLost(state.server, f"no login within {self._timeout:g} s")
        return state.tuning

    async def _close_gracefully(self) -> None:
        if self._state.usable:
            self._state.close()
            await self._closed.wait()
        elif isinstance(self._state.closed, ConnectionClosed):
            await self._flushed.wait()  # the server waits for our close-ok

    async def _read(self, scope: CancelScope) -> None:
        state, stream = self._state, self._stream
        with scope:
            try:
                while state.closed is None:
                    data = await stream.receive(_RECEIVE_SIZE)
                    self._last_received = current_time()
                    state.receive(data)
            except _BROKEN as error:
                state.lost(ConnectionLost(state.server, _broken_reason(error)))

    async def _write(self, scope: CancelScope) -> None:
        state, stream = self._state, self._stream
        with scope:
            try:
                over = False
                while not over:
                    await self._output.wait_for(lambda: state.output.size)
                    data = state.output.take()
                    over = state.closed is not None and not state.output.size  # this is the last output
                    self._room.notify()
                    await stream.send(data)
                    del data  # not kept until there is more
                    self._last_sent = current_time()
            except _BROKEN as error:
                state.lost(ConnectionLost(state.server, _broken_reason(error)))
            finally:
                self._flushed.set()

    async def _heartbeat(self, interval: int) -> None:
        """Sends heartbeats, and checks those of the server: twice in each interval (section 4.2.7)."""
        state, step = self._state, interval / 2
        while state.closed is None:
            await sleep(step)
            now = current_time()
            idle = now - self._last_received
            if idle > 2 * interval:
                state.lost(ConnectionLost(state.server, f"nothing received for {idle:.1f} s"))
            elif now - self._last_sent >= step:
                state.send_heartbeat()


@asynccontextmanager
async def connect(
    target: str | AmqpAddress,
    options: AmqpOptions | None = None,
    *,
    on_blocked: Callable[[str | None], None] = lambda _reason: None,
) -> AsyncGenerator[AmqpConnection]:
    """Connects, logs in, and keeps the connection alive while the block runs.

    An error of the block comes out as it is, not in an `ExceptionGroup`. Leaving the block closes the connection in
    good order: what was sent before is delivered to the server first.

    Args:
        target: An AMQP URL; see `AmqpAddress.parse`.
        options: Defaults for what the URL leaves out.
        on_blocked: Called with the reason when the broker stops taking messages, and with `None` when it goes on.

    Raises:
        LoginRefused: Wrong credentials or virtual host.
        ConnectionRefused: Only one side speaks TLS, the server's certificate is not valid, or the server is no
            RabbitMQ.
        ConnectionLost: The server is out of reach, or did not answer within `connect_timeout`.
        ConfigurationError: The URL makes no sense.
    """
    address = AmqpAddress.parse(target) if isinstance(target, str) else target
    options = address.options(options or AmqpOptions())
    stream = await _open_stream(address, options)
    connected = False
    try:
        async with _closing(stream), AmqpConnection(stream, address, options, on_blocked=on_blocked) as connection:
            connected = True
            yield connection
    except ConnectionLost as lost:
        if connected or address.secure or isinstance(lost, ConnectionRefused):
            raise
        failure = lost
    else:
        return
    if await speaks_tls(address.host, address.port):  # such a server closes the connection without a reply
        why = "the server speaks TLS at this port: write amqps:// instead of amqp://"
        raise ConnectionRefused(address.server, why) from failure
    raise failure


@asynccontextmanager
async def _closing(stream: ByteStream) -> AsyncGenerator[None]:
    try:
        yield
    finally:
        with move_on_after(CLOSE_TIMEOUT, shield=True):
            await stream.aclose()


async def _open_stream(address: AmqpAddress, options: AmqpOptions) -> ByteStream:
    stream: ByteStream | None = None
    with move_on_after(options.connect_timeout):
        try:
            stream = await _connect_socket(address, options)
        except (OSError, BrokenResourceError, EndOfStream) as error:
            refusal = tls_refusal(error, trust="?cacertfile=FILE in the URL")
            if refusal is not None:
                raise ConnectionRefused(address.server, refusal) from error
            raise ConnectionLost(address.server, _broken_reason(error)) from error
    if stream is None:
        raise ConnectionLost(address.server, f"no connection within {options.connect_timeout:g} s")
    return stream


async def _connect_socket(address: AmqpAddress, options: AmqpOptions) -> ByteStream:
    if options.tls is None:
        return await connect_tcp(address.host, address.port)
    return await connect_tcp(
        address.host,
        address.port,
        ssl_context=options.tls,
        tls_hostname=address.server_name or address.host,
        tls_standard_compatible=False,  # RabbitMQ closes without close_notify
    )


def _broken_reason(error: Exception) -> str:
    if isinstance(error, EndOfStream):
        return "the server closed the socket"
    cause = error.__cause__ or error
    return f"{cause}" or type(cause).__name__
