"""Reading the frames of messages. The hot path of consuming: only what is used of a delivery is decoded."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from struct import Struct
from typing import Final, NamedTuple

from pamqp import commands, decode

from hub.amqp.errors import ProtocolViolation

DELIVER: Final = commands.Basic.Deliver.index.to_bytes(4, "big")
"""How the payload of a `basic.deliver` starts."""

_TAG_AND_FLAG: Final = Struct(">QB")
_FIXED: Final = Struct(">HHQH")
_FLAG_WORD: Final = Struct(">H")
_LENGTH: Final = Struct(">I")
_MORE_FLAGS: Final = 1
_FLAGS: Final = commands.Basic.Properties.flags
_STRINGS_BEFORE_HEADERS: Final = (_FLAGS["content_type"], _FLAGS["content_encoding"])
_OCTETS: Final = (_FLAGS["delivery_mode"], _FLAGS["priority"])
_STRINGS_BEFORE_ID: Final = (_FLAGS["correlation_id"], _FLAGS["reply_to"], _FLAGS["expiration"])


class DeliverMethod(NamedTuple):
    consumer_tag: bytes
    delivery_tag: int
    redelivered: bool


class ContentHead(NamedTuple):
    """What is read of a content header: the other properties are skipped."""

    body_size: int
    message_id: str
    headers: Mapping[str, object]


def decode_deliver(server: str, payload: bytes) -> DeliverMethod:
    """Reads the payload of a `basic.deliver`, but for its exchange and routing key.

    Raises:
        ProtocolViolation: It is cut short.
    """
    try:
        start = len(DELIVER) + 1
        end = start + payload[len(DELIVER)]
        tag, redelivered = _TAG_AND_FLAG.unpack_from(payload, end)
    except (IndexError, struct.error) as error:
        raise ProtocolViolation(server, "a basic.deliver that is cut short") from error
    return DeliverMethod(payload[start:end], tag, bool(redelivered & 1))


def decode_head(server: str, payload: bytes) -> ContentHead:
    """Reads the payload of a content header frame.

    Foreign publishers may have put anything into the properties, and a message must not break the connection that it comes
    over again and again. So a message id that is not UTF-8 is read with replacement characters, and a header table
    that holds what pamqp cannot represent is read as empty. Only lengths that contradict each other are an error.

    Raises:
        ProtocolViolation: It is cut short.
    """
    try:
        head, end = _read_head(payload)
    except (IndexError, struct.error) as error:
        raise ProtocolViolation(server, "a content header that is cut short") from error
    if end > len(payload):
        raise ProtocolViolation(server, "a content header that is cut short")
    return head


def _read_head(payload: bytes) -> tuple[ContentHead, int]:
    """The head, and where the last property ends that was read: that may be behind the end of `payload`."""
    _, _, body_size, flags = _FIXED.unpack_from(payload)
    at = _FIXED.size
    more = flags
    while more & _MORE_FLAGS:
        (more,) = _FLAG_WORD.unpack_from(payload, at)
        at += _FLAG_WORD.size
    headers: Mapping[str, object] = {}
    message_id = b""
    at = _behind_strings(payload, at, flags, _STRINGS_BEFORE_HEADERS)
    if flags & _FLAGS["headers"]:
        (length,) = _LENGTH.unpack_from(payload, at)
        end = at + _LENGTH.size + length
        headers = _decode_table(payload[at:end])
        at = end
    for flag in _OCTETS:
        if flags & flag:
            at += 1
    at = _behind_strings(payload, at, flags, _STRINGS_BEFORE_ID)
    if flags & _FLAGS["message_id"]:
        start = at + 1
        at = start + payload[at]
        message_id = payload[start:at]
    return ContentHead(body_size, message_id.decode(errors="replace"), headers), at


def _behind_strings(payload: bytes, at: int, flags: int, strings: tuple[int, ...]) -> int:
    for flag in strings:
        if flags & flag:
            at += 1 + payload[at]
    return at


def _decode_table(table: bytes) -> Mapping[str, object]:
    try:
        _, headers = decode.field_table(table)
    except Exception:  # noqa: BLE001 - see decode_head; what pamqp raises for garbage is not a closed list
        return {}
    return headers
