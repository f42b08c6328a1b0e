"""Single precision numbers are written as protobuf writes them, whatever their bits are."""

from __future__ import annotations

import struct

from google.protobuf.internal.type_checkers import ToShortestFloat
from hypothesis import given, strategies as st

from hub.contract.protojson.scalar_serializer import shortest_float32, shortest_float32s
from tests.contract.bounded import bounded

bits = st.integers(0, 2**32 - 1).filter(lambda number: number & 0x7F800000 != 0x7F800000)
usual = st.integers(0x30000000, 0x4B800000) | st.integers(0xB0000000, 0xCB800000)
"""Bits of numbers from about 5e-10 to 2**24, with either sign."""

singles = bits.map(lambda number: float(struct.unpack("<f", struct.pack("<I", number))[0]))


@bounded
@given(st.lists(singles, max_size=20))
def test_a_float_has_the_fewest_digits_that_identify_it(values: list[float]) -> None:
    expected = [ToShortestFloat(value) for value in values]
    assert shortest_float32s(values) == expected
    assert [shortest_float32(value) for value in values] == expected


@bounded
@given(st.lists(usual, min_size=1, max_size=80), st.sampled_from([0xFFFFFFFF, 0xFFFFF000, 0xFFF80000]))
def test_floats_of_usual_size_have_the_fewest_digits(numbers: list[int], mask: int) -> None:
    values: list[float] = [struct.unpack("<f", struct.pack("<I", number & mask))[0] for number in numbers]
    assert shortest_float32s(values) == [ToShortestFloat(value) for value in values]


def test_a_number_with_many_exact_digits_is_written_with_fewer() -> None:
    assert shortest_float32s([0.5, 16.0078125, 0.5]) == [0.5, 16.007812, 0.5]


def test_a_negative_zero_keeps_its_sign() -> None:
    assert str(shortest_float32s([-0.0, 0.1])) == "[-0.0, 0.1]"
    assert str(shortest_float32(-0.0)) == "-0.0"


def test_lists_of_floats_have_the_shortest_digits() -> None:
    values = [
        struct.unpack("<f", struct.pack("<f", text))[0] for text in (0.5, 3.0, 0.1, 0.1234567, 1 / 3, 8388609.5e3)
    ]
    assert shortest_float32s(values) == [ToShortestFloat(value) for value in values]
    assert shortest_float32s([]) == []
