"""The client's side of one AMQP 0-9-1 connection, as a value: bytes in, bytes out, no I/O, no clock, no awaiting."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import copy
from typing import Final, final

from pamqp import base, commands, constants, heartbeat

from hub.amqp.address import AmqpAddress
from hub.amqp.errors import ConnectionClosed, LoginRefused, NotAmqp, ProtocolViolation, TooManyChannels
from hub.amqp.options import AmqpOptions
from hub.amqp.protocol.channel import ChannelState
from hub.amqp.protocol.framing import FrameReader, decode_method
from hub.amqp.protocol.handshake import Handshake, Tuning
from hub.amqp.protocol.output_buffer import OutputBuffer
from hub.amqp.protocol.pending_reply import PendingReply
from hub.errors import ConnectionLost

_OK: Final = 200
_REFUSED: Final = (403, 530)
"""ACCESS_REFUSED (credentials) and NOT_ALLOWED (virtual host)."""

_LIMIT: Final = "limit"
"""In RabbitMQ's text when a user or a virtual host has all the connections that it may have (530): that passes."""


@final
class ConnectionState:
    """Reads the bytes of the server (`receive`) and holds those for it (`output`).

    The driver moves bytes between the two and a socket, and calls `lost` when the socket breaks. However the end
    comes, every reply, batch and subscription fails, once.

    Attributes:
        output: Take bytes from here and send them.
        opened: Settled when the connection may be used.
        closed: Why the connection can no longer be used.
        tuning: What was agreed on; set when the connection is open.
        blocked: Why the server takes no messages at present (a memory or disk alarm), or `None`.

    Args:
        address: The server, user and virtual host.
        options: Already joined with the query of the address.
        on_output: The output is no longer empty.
        on_blocked: `blocked` has changed.
        on_closed: `closed` was set.
    """

    def __init__(
        self,
        address: AmqpAddress,
        options: AmqpOptions,
        *,
        on_output: Callable[[], None] = lambda: None,
        on_blocked: Callable[[], None] = lambda: None,
        on_closed: Callable[[], None] = lambda: None,
    ) -> None:
        self.output = OutputBuffer(on_output)
        self.opened = PendingReply[None]()
        self.closed: ConnectionLost | None = None
        self.blocked: str | None = None
        self._server = address.server
        self._body_limit = options.body_limit
        self._on_blocked = on_blocked
        self._on_closed = on_closed
        self._reader = FrameReader(address.server, max(options.frame_max, constants.FRAME_MAX_SIZE))
        self._handshake = Handshake(address, options, self.output)
        self.tuning: Tuning | None = None
        self._channels: dict[int, ChannelState] = {}
        self._closing = False
        self._understood = False  # whether anything that came was AMQP 0-9-1

    @property
    def server(self) -> str:
        return self._server

    @property
    def server_properties(self) -> Mapping[str, object]:
        """The server's description of itself, such as `product` and `version`; empty before its first answer."""
        return self._handshake.server_properties

    @property
    def usable(self) -> bool:
        """Whether the connection is open, and not being closed."""
        return self.tuning is not None and self.closed is None and not self._closing

    @property
    def channels(self) -> int:
        """Channel numbers in use."""
        return len(self._channels)

    def start_handshake(self) -> None:
        """Sends the protocol header; the rest of the handshake follows by itself, up to `opened`."""
        self._handshake.start()

    def new_channel(self) -> ChannelState:
        """A channel that has a number, and nothing else yet; see `ChannelState.open`.

        Raises:
            ConnectionLost: The connection is closed.
            TooManyChannels: There are no more numbers.
        """
        if self.closed is not None:
            raise copy(self.closed)  # a traceback belongs to one raise
        if self.tuning is None or self._closing:
            raise ConnectionLost(self._server, "the connection is not open")
        numbers = range(1, self.tuning.channel_max + 1)
        number = next((number for number in numbers if number not in self._channels), None)
        if number is None:
            raise TooManyChannels(self._server, self.tuning.channel_max)
        channel = self._channels[number] = ChannelState(
            number,
            server=self._server,
            output=self.output,
            frame_max=self.tuning.frame_max,
            body_limit=self._body_limit,
            release=self._release,
        )
        return channel

    def send_heartbeat(self) -> None:
        """Sends a heartbeat frame."""
        self.output.add(heartbeat.Heartbeat.marshal())

    def close(self) -> None:
        """Sends `connection.close`; `closed` is set when the server has answered."""
        if self.closed is None and not self._closing:
            self._closing = True
            self.output.add_method(0, commands.Connection.Close(reply_code=_OK, reply_text="", class_id=0, method_id=0))

    def receive(self, data: bytes) -> None:
        """Handles what came from the server. Never raises: what makes no sense ends the connection."""
        try:
            for kind, number, payload in self._reader.feed(data):
                if self.closed is not None:
                    return
                self._frame(kind, number, payload)
        except ProtocolViolation as error:
            if self._understood:
                self.lost(error)
            else:
                self.lost(NotAmqp(self._server, f"it is no RabbitMQ, or not its AMQP port ({error.reason})"))
        except ConnectionLost as error:
            self.lost(error)

    def lost(self, error: ConnectionLost) -> None:
        """Ends everything. The first reason stays."""
        if self.closed is not None:
            return
        self.closed = error
        self.opened.fail(error)
        channels = list(self._channels.values())
        self._channels.clear()
        for channel in channels:
            channel.lost(error)
        self._on_closed()

    def _release(self, number: int) -> None:
        self._channels.pop(number, None)

    def _frame(self, kind: int, number: int, payload: bytes) -> None:
        if kind == constants.FRAME_HEARTBEAT:
            return
        if number == 0:
            if kind != constants.FRAME_METHOD:
                raise ProtocolViolation(self._server, "a message on channel 0")
            self._connection_method(payload)
            return
        channel = self._channels.get(number)
        if channel is None:
            return  # the last frames of a channel that is closed already
        if kind == constants.FRAME_METHOD:
            channel.method_frame(payload)
        elif kind == constants.FRAME_HEADER:
            channel.header_frame(payload)
        else:
            channel.body_frame(payload)

    def _connection_method(self, payload: bytes) -> None:
        method = decode_method(self._server, payload)
        self._understood = True
        match method:
            case commands.Connection.Close():
                self.output.add_method(0, commands.Connection.CloseOk())
                code, text = method.reply_code or 0, method.reply_text
                refused = self.tuning is None and code in _REFUSED and _LIMIT not in text
                self.lost((LoginRefused if refused else ConnectionClosed)(self._server, code, text))
            case commands.Connection.CloseOk() if self._closing:
                self.lost(ConnectionLost(self._server, "the connection is closed"))
            case commands.Connection.Blocked():
                self.blocked = method.reason
                self._on_blocked()
            case commands.Connection.Unblocked():
                self.blocked = None
                self._on_blocked()
            case _ if self.tuning is None:
                self._continue_handshake(method)
            case _:
                raise ProtocolViolation(self._server, f"{method.name}, which was not asked for")

    def _continue_handshake(self, method: base.Frame) -> None:
        if self._handshake.answer(method) and self._handshake.tuning is not None:
            self.tuning = tuning = self._handshake.tuning
            self._reader.frame_max = tuning.frame_max
            self.opened.succeed(None)
