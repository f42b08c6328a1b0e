"""Messages out of frames: a method, a header, and as many body frames as it takes."""

from __future__ import annotations

from typing import NamedTuple, final

from pamqp import commands

from hub.amqp.errors import ProtocolViolation
from hub.amqp.protocol.decoder import ContentHead, DeliverMethod, decode_head

Carrier = DeliverMethod | commands.Basic.Return
"""The methods that carry a message to us."""


class Content(NamedTuple):
    """A whole message; the body of an `oversize` one was not kept."""

    carrier: Carrier
    head: ContentHead
    body: bytes
    oversize: bool


@final
class ContentAssembler:
    """Puts the messages of one channel together; on a channel they come one after the other.

    Args:
        server: For error messages.
        body_limit: Bytes of the largest body that is kept.
    """

    def __init__(self, server: str, body_limit: int) -> None:
        self._server = server
        self._body_limit = body_limit
        self._carrier: Carrier | None = None
        self._head: ContentHead | None = None
        self._missing = 0
        self._pieces: list[bytes] = []

    @property
    def under_way(self) -> bool:
        """Whether a message has begun and not ended."""
        return self._carrier is not None

    def begin(self, carrier: Carrier) -> None:
        self._carrier = carrier

    def header(self, payload: bytes) -> Content | None:
        """Takes a header frame's payload; returns the message if it has no body.

        Raises:
            ProtocolViolation: There is no method before it.
        """
        if self._carrier is None or self._head is not None:
            raise ProtocolViolation(self._server, "a content header without its method")
        self._head = head = decode_head(self._server, payload)
        self._missing = head.body_size
        return None if self._missing else self._complete(self._carrier, head)

    def body(self, payload: bytes) -> Content | None:
        """Takes a body frame's payload; returns the message if that was the last one.

        Raises:
            ProtocolViolation: There is no header before it, or it is longer than the header said.
        """
        if self._carrier is None or self._head is None:
            raise ProtocolViolation(self._server, "a body without its header")
        self._missing -= len(payload)
        if self._missing < 0:
            raise ProtocolViolation(self._server, "a body that is longer than its header allows")
        if self._head.body_size <= self._body_limit:
            self._pieces.append(payload)
        return None if self._missing else self._complete(self._carrier, self._head)

    def _complete(self, carrier: Carrier, head: ContentHead) -> Content:
        pieces, self._pieces = self._pieces, []
        self._carrier = self._head = None
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        return Content(carrier, head, body, head.body_size > self._body_limit)
