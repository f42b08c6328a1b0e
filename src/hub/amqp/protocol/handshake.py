"""From the protocol header to `connection.open-ok`. Section 2.2.4 of the AMQP 0-9-1 specification."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, final

from pamqp import base, commands, common, header

from hub.amqp.address import AmqpAddress, Mechanism
from hub.amqp.errors import ProtocolViolation
from hub.amqp.options import AmqpOptions
from hub.amqp.protocol.output_buffer import OutputBuffer
from hub.errors import ConnectionLost, ConnectionRefused

CHANNEL_MAX: Final = 2047
"""Channels that we ask for; RabbitMQ's own default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """What both sides agreed on. `heartbeat` is in seconds, 0 for none; `frame_max` in bytes."""

    channel_max: int
    frame_max: int
    heartbeat: int


@final
class Handshake:
    """The client's side of opening a connection: the server asks, this answers.

    Attributes:
        tuning: Set once the server has made its offer.
        server_properties: The server's description of itself (`connection.start`), such as `product` and `version`.
    """

    def __init__(self, address: AmqpAddress, options: AmqpOptions, output: OutputBuffer) -> None:
        self.tuning: Tuning | None = None
        self.server_properties: Mapping[str, object] = {}
        self._address = address
        self._options = options
        self._output = output
        self._expected: type[base.Frame] = commands.Connection.Start

    def start(self) -> None:
        self._output.add(header.ProtocolHeader().marshal())

    def answer(self, method: base.Frame) -> bool:
        """Handles a method of the server; returns whether the connection is open.

        Raises:
            ConnectionLost: The server cannot do what we need.
            ProtocolViolation: The method does not belong here.
        """
        server = self._address.server
        if isinstance(method, commands.Connection.Secure):
            raise ConnectionLost(
                server, f"the server answers {self._address.mechanism} with a challenge, which is not known"
            )
        if not isinstance(method, self._expected):
            raise ProtocolViolation(server, f"{method.name} while {self._expected.name} was expected")
        match method:
            case commands.Connection.Start():
                self._started(method)
                self._expected = commands.Connection.Tune
            case commands.Connection.Tune():
                self._tuned(method)
                self._expected = commands.Connection.OpenOk
            case _:
                return True
        return False

    def _started(self, method: commands.Connection.Start) -> None:
        self.server_properties = dict(method.server_properties or {})
        mechanism = self._address.mechanism
        offered = str(method.mechanisms).split()
        if mechanism not in offered:
            raise ConnectionRefused(
                self._address.server,
                f"it offers the logins {', '.join(offered)}, but not {mechanism}: set auth_mechanism in the URL",
            )
        plain = f"\0{self._address.user}\0{self._address.password}"
        self._output.add_method(
            0,
            commands.Connection.StartOk(
                client_properties=self._client_properties(),
                mechanism=mechanism.value,
                response=plain if mechanism is Mechanism.PLAIN else "",
                locale="en_US",
            ),
        )

    def _tuned(self, method: commands.Connection.Tune) -> None:
        wished = self._options.heartbeat
        self.tuning = Tuning(
            channel_max=min(method.channel_max or CHANNEL_MAX, CHANNEL_MAX),
            frame_max=min(method.frame_max or self._options.frame_max, self._options.frame_max),
            heartbeat=min(method.heartbeat or wished, wished),
        )
        self._output.add_method(
            0,
            commands.Connection.TuneOk(
                channel_max=self.tuning.channel_max,
                frame_max=self.tuning.frame_max,
                heartbeat=self.tuning.heartbeat,
            ),
        )
        self._output.add_method(0, commands.Connection.Open(virtual_host=self._address.vhost))

    def _client_properties(self) -> common.FieldTable:
        return {
            "product": "hub",
            "platform": "Python, anyio",
            "connection_name": self._options.connection_name,
            "capabilities": {
                "authentication_failure_close": True,
                "basic.nack": True,
                "connection.blocked": True,
                "consumer_cancel_notify": True,
                "publisher_confirms": True,
            },
        }
