"""What can be set about a broker, whichever adapter talks to it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class QueueType(StrEnum):
    """RabbitMQ's kind of queue. Quorum queues are replicated, and are the only ones that have a delivery limit."""

    QUORUM = "quorum"
    CLASSIC = "classic"


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerOptions:
    """How queues are declared and connections are kept.

    The first three are part of a queue's identity: a queue that exists with other values is a `ConfigurationError`.

    Attributes:
        queue_type: See `QueueType`. The memory broker behaves like a quorum queue.
        delivery_limit: Failed deliveries after which the broker itself moves a message to the dead-letter queue. A
            backstop behind hub's own attempt counter, so set it well above that one.
        max_length: Messages that may wait in a queue; the next publish is a `QueueFull`. `None`: no limit, except in
            the memory broker, which has one of its own.
        heartbeat: Seconds between two heartbeats; a peer that sends nothing for twice that counts as lost.
        connection_name: What an operator sees in the broker's list of connections.
    """

    queue_type: QueueType = QueueType.QUORUM
    delivery_limit: int = 100
    max_length: int | None = None
    heartbeat: int = 10
    connection_name: str = "hub"
