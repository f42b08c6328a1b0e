"""Single precision numbers are written as protobuf writes them, whatever their bits are."""

from __future__ import annotations

import struct

from google.protobuf.internal.type_checkers import ToShortestFloat
from hypothesis import given, strategies as st

from hub.contract.protojson.scalar_serializer import shortest_float32, shortest_float32s
from tests.contract.bounded import bounded

bits = st.integers(0, 2**32 - 1).filter(lambda number: number & 0x7F800000 != 0x7F800000)
singles = bits.map(lambda number: float(struct.unpack("<f", struct.pack("<I", number))[0]))


@bounded
@given(st.lists(singles, max_size=20))
def test_a_float_has_the_fewest_digits_that_identify_it(values: list[float]) -> None:
    expected = [ToShortestFloat(value) for value in values]
    assert shortest_float32s(values) == expected
    assert [shortest_float32(value) for value in values] == expected


def test_lists_of_floats_have_the_shortest_digits() -> None:
    values = [
        struct.unpack("<f", struct.pack("<f", text))[0] for text in (0.5, 3.0, 0.1, 0.1234567, 1 / 3, 8388609.5e3)
    ]
    assert shortest_float32s(values) == [ToShortestFloat(value) for value in values]
    assert shortest_float32s([]) == []
