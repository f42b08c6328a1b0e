"""What can be set about an AMQP connection."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import Final

from pamqp import constants

from hub.errors import ConfigurationError

LARGEST_HEARTBEAT: Final = 0xFFFF


@dataclass(frozen=True, slots=True, kw_only=True)
class AmqpOptions:
    """How a connection is opened and kept. The query of the URL overrides these values.

    Attributes:
        heartbeat: Seconds between two heartbeats; a peer that sends nothing for twice that counts as lost. The smaller
            of this and the server's wish is used; 0 switches heartbeats off.
        frame_max: Bytes of the largest frame, from 4096 on. The smaller of this and the server's is used.
        body_limit: Bytes of the largest message body. A larger one is not published, and if it arrives it is not
            kept: it goes to the dead-letter queue. RabbitMQ 4's own limit is 16 MiB.
        connect_timeout: Seconds for the way to the server (name lookup, TCP, TLS), and again for the login.
        tls: The TLS context of an `amqps` URL. Without one the URL's query, or else the system's authorities, decide.
        connection_name: What an operator sees in the broker's list of connections.
    """

    heartbeat: int = 10
    frame_max: int = constants.FRAME_MAX_SIZE
    body_limit: int = 16 * 1024 * 1024
    connect_timeout: float = 10.0
    tls: ssl.SSLContext | None = None
    connection_name: str = "hub"

    def __post_init__(self) -> None:
        if not 0 <= self.heartbeat <= LARGEST_HEARTBEAT:
            raise ConfigurationError(
                f"a heartbeat is between 0 and {LARGEST_HEARTBEAT} seconds, {self.heartbeat} is not"
            )
        if self.frame_max < constants.FRAME_MIN_SIZE:
            raise ConfigurationError(f"frame_max is {self.frame_max}; AMQP wants {constants.FRAME_MIN_SIZE} or more")
        if self.body_limit < 1 or self.connect_timeout <= 0:
            raise ConfigurationError("the body limit and the connect timeout have to be positive")
