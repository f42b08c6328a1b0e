"""Messages as frames. The hot path of publishing: all that repeats is encoded once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from struct import Struct
from typing import Final, final

from pamqp import commands, constants, encode, frame

from hub.amqp.message import Message, Route
from hub.amqp.protocol.framing import FRAME_END, FRAME_OVERHEAD, FRAME_START

_HEADER_FRAME: Final = Struct(">BHIHHQH")
"""Frame start, then class, weight, size of the body, property flags; section 4.2.6.1 of the specification."""

_HEADER_FIXED: Final = _HEADER_FRAME.size - FRAME_START.size
_TIMESTAMP: Final = Struct(">Q")
_FLAGS: Final = commands.Basic.Properties.flags
_TRANSIENT: Final = 1
_PERSISTENT: Final = 2
_KEPT_ROUTES: Final = 4096
"""Encoded routes that are kept. There is about one per queue; the bound is for programs that make them up."""


@final
class _EncodedRoute:
    """The bytes that all messages of one route share. Properties stand in the order of their flags, highest first."""

    __slots__ = ("after", "before", "delivery_mode", "flags", "flags_with_headers", "method")

    def __init__(self, route: Route, channel: int) -> None:
        self.method = frame.marshal(
            commands.Basic.Publish(exchange=route.exchange, routing_key=route.routing_key, mandatory=route.mandatory),
            channel,
        )
        self.flags = _FLAGS["delivery_mode"] | _FLAGS["message_id"] | _FLAGS["timestamp"]
        self.before = self._short_string("content_type", route.content_type)
        self.delivery_mode = bytes([_PERSISTENT if route.persistent else _TRANSIENT])
        self.after = self._short_string("message_type", route.type) + self._short_string("app_id", route.app_id)
        self.flags_with_headers = self.flags | _FLAGS["headers"]

    def _short_string(self, name: str, value: str) -> bytes:
        if not value:
            return b""
        self.flags |= _FLAGS[name]
        return encode.short_string(value)


@final
class MessageEncoder:
    """Turns messages into the frames of one channel.

    Args:
        channel: The channel's number.
        frame_max: Bytes of the largest frame.
    """

    def __init__(self, channel: int, frame_max: int) -> None:
        self._channel = channel
        self._body_step = frame_max - FRAME_OVERHEAD
        self._routes: dict[Route, _EncodedRoute] = {}
        self._last_route: Route | None = None
        self._last_encoded: _EncodedRoute | None = None

    def encode(self, message: Message) -> Sequence[bytes | memoryview]:
        """The method, header and body frames of a message, in one piece if there is one body frame at most.

        Raises:
            ValueError: The message id, a name of the route or a key of the headers is too long.
        """
        route = self._encoded(message.route)
        message_id = message.message_id.encode()
        body = message.body
        if message.headers:
            flags = route.flags_with_headers
            table = encode.field_table(dict(message.headers))
        else:
            flags = route.flags
            table = b""
        mode = route.delivery_mode
        if message.expiration:
            flags |= _FLAGS["expiration"]
            mode += encode.short_string(str(message.expiration))
        properties = b"".join(
            (
                route.before,
                table,
                mode,
                bytes((len(message_id),)),
                message_id,
                _TIMESTAMP.pack(message.timestamp),
                route.after,
            )
        )
        header = _HEADER_FRAME.pack(
            constants.FRAME_HEADER,
            self._channel,
            _HEADER_FIXED + len(properties),
            commands.Basic.frame_id,
            0,
            len(body),
            flags,
        )
        if not body:
            return (b"".join((route.method, header, properties, FRAME_END)),)
        if len(body) <= self._body_step:
            start = FRAME_START.pack(constants.FRAME_BODY, self._channel, len(body))
            return (b"".join((route.method, header, properties, FRAME_END, start, body, FRAME_END)),)
        return (b"".join((route.method, header, properties, FRAME_END)), *self._split(memoryview(body)))

    def _split(self, body: memoryview) -> Iterator[bytes | memoryview]:
        for position in range(0, len(body), self._body_step):
            piece = body[position : position + self._body_step]
            yield FRAME_START.pack(constants.FRAME_BODY, self._channel, len(piece))
            yield piece
            yield FRAME_END

    def _encoded(self, route: Route) -> _EncodedRoute:
        if route is self._last_route and self._last_encoded is not None:  # a batch mostly goes one way
            return self._last_encoded
        encoded = self._routes.get(route)
        if encoded is None:
            if len(self._routes) >= _KEPT_ROUTES:
                self._routes.clear()
            encoded = self._routes[route] = _EncodedRoute(route, self._channel)
        self._last_route, self._last_encoded = route, encoded
        return encoded
