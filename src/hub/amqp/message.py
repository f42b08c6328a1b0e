"""Messages, on their way out and as they came in."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """What is alike in all messages that take the same way; made once, used for many messages.

    Attributes:
        exchange: The empty string is the default exchange, which routes to the queue that `routing_key` names.
        mandatory: A message that reaches no queue comes back as `Unroutable`; otherwise it is dropped, confirmed.
        persistent: The message survives a restart of the broker, if its queue is durable.
    """

    routing_key: str
    exchange: str = ""
    mandatory: bool = True
    persistent: bool = True
    content_type: str = ""
    type: str = ""
    app_id: str = ""


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """A message to publish.

    Attributes:
        message_id: At most 255 bytes.
        timestamp: Unix seconds.
        expiration: Milliseconds that it may wait in a queue, below 2**32; 0: as long as it takes. Then it is gone, or goes
            where the queue's `x-dead-letter-exchange` leads.
    """

    route: Route
    body: bytes
    message_id: str
    timestamp: int
    headers: Mapping[str, str | int] = {}
    expiration: int = 0


class ReceivedMessage(msgspec.Struct, frozen=True):
    """A message that a consumer was handed; `tag` is its delivery tag on its channel."""

    tag: int
    body: bytes
    message_id: str
    redelivered: bool
    headers: Mapping[str, object]
