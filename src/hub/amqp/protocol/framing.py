"""Cutting a stream of bytes into AMQP frames. Section 4.2.3 of the AMQP 0-9-1 specification."""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import Final, final

from pamqp import base, commands, constants

from hub.amqp.errors import ProtocolViolation

FRAME_OVERHEAD: Final = 8
"""Bytes of a frame around its payload: type, channel and size before it, one end octet after it."""

FRAME_START: Final = Struct(">BHI")
"""Type, channel, size of the payload."""

FRAME_END: Final = constants.FRAME_END_CHAR

_KINDS: Final = frozenset(
    {constants.FRAME_METHOD, constants.FRAME_HEADER, constants.FRAME_BODY, constants.FRAME_HEARTBEAT}
)
_METHOD_INDEX: Final = Struct(">I")


@final
class FrameReader:
    """Takes bytes as they come, in pieces of any size, and gives whole frames.

    Args:
        server: For error messages.
        frame_max: Bytes of the largest frame that is accepted. May be lowered when it has been negotiated.
    """

    def __init__(self, server: str, frame_max: int) -> None:
        self.frame_max = frame_max
        self._server = server
        self._pieces: list[bytes] = []  # together less than one frame
        self._held = 0
        self._wanted = FRAME_OVERHEAD  # no frame is complete before that many bytes are there

    def feed(self, data: bytes) -> Iterator[tuple[int, int, bytes]]:
        """Yields type, channel and payload of each frame that `data` completes. Exhaust it before the next call.

        Raises:
            ProtocolViolation: This is no AMQP 0-9-1. The reader is of no use afterwards.
        """
        self._held += len(data)
        self._pieces.append(data)
        if self._held < self._wanted:
            return
        data = b"".join(self._pieces) if len(self._pieces) > 1 else data
        position, length = 0, len(data)
        wanted = FRAME_OVERHEAD
        while length - position >= FRAME_OVERHEAD:
            kind, channel, size = FRAME_START.unpack_from(data, position)
            if kind not in _KINDS:
                raise ProtocolViolation(self._server, f"not an AMQP 0-9-1 frame: {data[position : position + 8]!r}")
            if size + FRAME_OVERHEAD > self.frame_max:
                raise ProtocolViolation(self._server, f"a frame of {size} bytes is over frame_max {self.frame_max}")
            end = position + FRAME_START.size + size
            if end >= length:
                wanted = size + FRAME_OVERHEAD
                break
            if data[end] != constants.FRAME_END:
                raise ProtocolViolation(self._server, f"a frame ends with {data[end]:#x}")
            payload = data[position + FRAME_START.size : end]
            position = end + 1
            yield kind, channel, payload
        rest = data[position:]
        self._pieces = [rest] if rest else []
        self._held = len(rest)
        self._wanted = wanted


def decode_method(server: str, payload: bytes) -> base.Frame:
    """Reads the payload of a method frame.

    Raises:
        ProtocolViolation: It is none.
    """
    try:
        (index,) = _METHOD_INDEX.unpack_from(payload)
        method: base.Frame = commands.INDEX_MAPPING[index]()
        method.unmarshal(payload[_METHOD_INDEX.size :])
    except Exception as error:  # what pamqp raises for garbage is not a closed list, and all of it means the same
        raise ProtocolViolation(server, f"not a method of AMQP 0-9-1: {payload[:16]!r}") from error
    return method
