"""Serializers of single values: from the value of a field to its JSON value.

A `float` field stores 0.1 as 0.10000000149011612; what its author wrote, and what protobuf prints, is 0.1. So single
precision numbers are written in the fewest decimal digits that identify them.

Source: https://protobuf.dev/programming-guides/json/
"""

from __future__ import annotations

import binascii
import re
from array import array
from collections.abc import Callable, Sequence
from math import ceil, log10
from typing import Any, Final, TypeAlias

import msgspec
from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor

from hub.contract.descriptors.well_known import NULL_VALUE
from hub.contract.protojson.conversion import JsonValue

Serializer: TypeAlias = Callable[[Any], JsonValue]
"""Returns the JSON value of the value of a field, or of a message. Raises `ConversionError` when there is none."""

_PRECISIONS: Final = (6, 7, 8, 9)
"""Six digits are always exact, nine always enough (IEEE 754 binary32)."""

_EXACT: Final = 2.0**24
"""Up to here every integer is exact in single precision."""

_TO_INTEGER: Final = 1.5 * 2.0**52
"""Adding and subtracting it rounds a double below 2**51 to an integer, halves to even."""

_SAMPLE: Final = 8
"""Numbers that are looked at before all numbers of a list are."""

_few_digits: Final = re.compile(rb"[^,]{1,8}+(?:,[^,]{1,8}+)*+").fullmatch
_encode: Final = msgspec.json.Encoder().encode

_Scale: TypeAlias = tuple[float, float, float]


def _scales(exponent: int) -> _Scale:
    """How the numbers with this biased exponent are rounded: a power of ten, half of their distance, ten times the power.

    The first power is the greatest whose multiples are further apart than these numbers. So at most one of its multiples
    rounds to a number, and if one does, it has the fewest digits. If none does, the next multiple of the second power
    does. The third is 0 where powers of ten are not exact, or a number is not normal; the first is too, unless it is 0.0.
    """
    distance = 2.0 ** (exponent - 150)
    digits = ceil(-log10(distance))
    if 1 <= digits <= 22:  # powers of ten up to 10**22 are exact, and so is what a division by them returns
        return 10.0 ** (digits - 1), distance / 2, 10.0**digits
    return (0.0 if exponent else 1.0), 2.0**-151, 0.0


_SCALES: Final = [_scales(exponent) for exponent in range(256)] + [
    _scales(exponent) if exponent else (0.0, 0.0, 0.0)  # -0.0 keeps its sign
    for exponent in range(256)
]
"""By the sign and the exponent of a number: its upper nine bits."""


def shortest_float32(value: float) -> float:
    """The number with the fewest digits, at least six, that rounds to the finite single precision `value`."""
    if -_EXACT <= value <= _EXACT and value.is_integer():
        return value
    return shortest_float32s((value,))[0]


def shortest_float32s(values: Sequence[float]) -> list[float]:
    """`shortest_float32` of many finite values, by a few operations on doubles for each."""
    # Pixels are often whole numbers, and quantized numbers have few digits.
    if all(map(float.is_integer, values)) and max(map(abs, values), default=0) <= _EXACT:
        return list(values)
    if _has_few_digits(values[:_SAMPLE]) and _has_few_digits(values):
        return list(values)
    single = array("f", values)
    scales = [_SCALES[bits >> 23] for bits in array("I", single.tobytes())]
    try:
        shortest = [
            few
            if -half < (few := (value * power + _TO_INTEGER - _TO_INTEGER) / power) - value < half
            else (value * more + _TO_INTEGER - _TO_INTEGER) / more
            for value, (power, half, more) in zip(values, scales, strict=True)
        ]
    except ZeroDivisionError:
        return [_formatted(value) for value in values]
    # Below a power of two numbers are closer to each other than above.
    return shortest if array("f", shortest).tobytes() == single.tobytes() else [_formatted(value) for value in values]


def _has_few_digits(values: Sequence[float]) -> bool:
    """Whether each of these doubles has seven digits at most: no other number with so few rounds to the same value.

    They have eight characters then, with the point; the first and the last have a bracket besides.
    """
    return _few_digits(_encode(values)) is not None


def _formatted(value: float) -> float:
    """`shortest_float32` for every finite value."""
    for precision in _PRECISIONS:
        candidate = float(f"{value:.{precision}g}")
        if array("f", (candidate,))[0] == value:
            return candidate
    return value


def scalar_serializer(field: FieldDescriptor) -> Serializer | None:
    """The serializer of one value of `field`, which is not a message; `None` if the value is its own JSON value."""
    if field.enum_type is not None:
        return _enum_serializer(field.enum_type)
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_INT64 | FieldDescriptor.CPPTYPE_UINT64:
            return str
        case FieldDescriptor.CPPTYPE_DOUBLE:
            return _serialize_double
        case FieldDescriptor.CPPTYPE_FLOAT:
            return _serialize_float
        case _:
            return _serialize_bytes if field.type == FieldDescriptor.TYPE_BYTES else None


def key_text(key: int | str) -> str:
    """The JSON name for the key of a map."""
    if isinstance(key, bool):
        return "true" if key else "false"
    return str(key)


def _serialize_double(value: float) -> JsonValue:
    # Only a finite number equals itself after this subtraction.
    return value if value - value == 0 else _serialize_not_finite(value)


def _serialize_float(value: float) -> JsonValue:
    return shortest_float32(value) if value - value == 0 else _serialize_not_finite(value)


def _serialize_not_finite(value: float) -> str:
    if value > 0:
        return "Infinity"
    return "-Infinity" if value < 0 else "NaN"


def _serialize_bytes(value: bytes) -> str:
    return binascii.b2a_base64(value, newline=False).decode("ascii")


def _enum_serializer(enum: EnumDescriptor) -> Serializer:
    if enum.full_name == NULL_VALUE:
        return lambda _number: None
    names: dict[int, str] = {}
    for value in enum.values:
        names.setdefault(value.number, value.name)

    def serialize(number: int) -> JsonValue:
        return names.get(number, number)

    return serialize
