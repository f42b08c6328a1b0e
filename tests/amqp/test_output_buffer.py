"""What waits for the writer comes out in order, and in portions if it is much."""

from __future__ import annotations

from hypothesis import given, strategies as st

from hub.amqp.protocol.output_buffer import TAKEN_AT_ONCE, OutputBuffer

parts = st.lists(
    st.integers(0, 5).map(lambda size: b"x" * size)
    | st.integers(100_000, 700_000).map(lambda size: memoryview(bytes(size))),
    max_size=8,
)


@given(st.lists(parts, max_size=4))
def test_all_that_was_added_is_taken_in_order_and_in_bounded_portions(calls: list[list[bytes | memoryview]]) -> None:
    woken: list[int] = []
    output = OutputBuffer(lambda: woken.append(output.size))
    for call in calls:
        output.add(*call)
    expected = b"".join(part for call in calls for part in call)
    assert output.size == len(expected)
    assert len(woken) == bool(expected)
    taken: list[bytes] = []
    while output.size:
        taken.append(output.take())
    assert b"".join(taken) == expected
    assert all(len(piece) < TAKEN_AT_ONCE + 700_001 for piece in taken)
    assert all(len(piece) >= TAKEN_AT_ONCE for piece in taken[:-1])


def test_the_writer_is_woken_again_when_all_has_been_taken() -> None:
    woken: list[int] = []
    output = OutputBuffer(lambda: woken.append(output.size))
    output.add(b"one")
    output.take()
    output.add(b"two", b"three")
    output.add(b"four")
    assert woken == [3, 8]
