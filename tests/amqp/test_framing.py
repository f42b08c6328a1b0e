from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, strategies as st

from hub.amqp import ProtocolViolation
from hub.amqp.protocol.framing import FrameReader, decode_method
from tests.amqp.pieces import cut, cuts

FRAME_MAX = 4096

frames = st.lists(
    st.tuples(st.sampled_from([1, 2, 3, 8]), st.integers(0, 0xFFFF), st.binary(max_size=200)), max_size=20
)


def wire(kind: int, channel: int, payload: bytes) -> bytes:
    return bytes([kind]) + channel.to_bytes(2, "big") + len(payload).to_bytes(4, "big") + payload + b"\xce"


@given(frames, cuts)
def test_frames_come_out_whole_however_the_bytes_are_cut(
    frames: list[tuple[int, int, bytes]], places: list[int]
) -> None:
    data = b"".join(wire(*each) for each in frames)
    reader = FrameReader("broker", FRAME_MAX)
    assert [each for piece in cut(data, places) for each in reader.feed(piece)] == frames


@given(frames)
def test_frames_come_out_whole_when_bytes_come_one_by_one(frames: list[tuple[int, int, bytes]]) -> None:
    reader = FrameReader("broker", FRAME_MAX)
    data = b"".join(wire(*each) for each in frames)
    assert [each for byte in data for each in reader.feed(bytes([byte]))] == frames


def test_the_largest_frame_that_was_agreed_on_is_taken_and_one_byte_more_is_not() -> None:
    largest = b"x" * (FRAME_MAX - 8)
    assert list(FrameReader("broker", FRAME_MAX).feed(wire(3, 1, largest))) == [(3, 1, largest)]
    with pytest.raises(ProtocolViolation, match="frame_max"):
        list(FrameReader("broker", FRAME_MAX).feed(wire(3, 1, largest + b"x")))


def test_a_size_over_the_limit_is_refused_before_its_bytes_are_waited_for() -> None:
    with pytest.raises(ProtocolViolation, match="frame_max"):
        list(FrameReader("broker", FRAME_MAX).feed(b"\x03\x00\x01\xff\xff\xff\xff\x00"))


def test_a_frame_without_its_end_octet_is_refused() -> None:
    with pytest.raises(ProtocolViolation, match="ends with"):
        list(FrameReader("broker", FRAME_MAX).feed(wire(3, 1, b"abc")[:-1] + b"\x00"))


@pytest.mark.parametrize(
    "greeting", [b"AMQP\x00\x01\x00\x00", b"HTTP/1.1 400 Bad Request\r\n", b"\x15\x03\x01\x00\x02\x02\x46\x00"]
)
def test_a_server_of_another_protocol_is_recognised(greeting: bytes) -> None:
    with pytest.raises(ProtocolViolation, match="not an AMQP 0-9-1 frame"):
        list(FrameReader("broker", FRAME_MAX).feed(greeting))


def test_frames_before_a_broken_one_are_still_given() -> None:
    reader = FrameReader("broker", FRAME_MAX).feed(wire(3, 1, b"good") + b"garbage!")
    assert next(reader) == (3, 1, b"good")
    with pytest.raises(ProtocolViolation):
        next(reader)


@given(st.binary(max_size=64))
def test_a_method_is_decoded_or_a_violation_and_nothing_else(payload: bytes) -> None:
    with suppress(ProtocolViolation):
        decode_method("broker", payload)
