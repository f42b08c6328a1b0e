"""Serializers of single values: from the value of a field to its JSON value.

A `float` field stores 0.1 as 0.10000000149011612; what its author wrote, and what protobuf prints, is 0.1. So single
precision numbers are written in the fewest decimal digits that identify them.

Source: https://protobuf.dev/programming-guides/json/
"""

from __future__ import annotations

import binascii
from array import array
from collections.abc import Callable, Sequence
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

_numbers: Final = msgspec.json.Decoder(list[float])


def shortest_float32(value: float) -> float:
    """The number with the fewest digits, at least six, that rounds to the finite single precision `value`."""
    if -_EXACT <= value <= _EXACT and value.is_integer():
        return value
    return shortest_float32s((value,))[0]


def shortest_float32s(values: Sequence[float]) -> list[float]:
    """`shortest_float32` of many finite values, formatted and parsed all at once."""
    shortest = list(values)
    # Pixels are often whole numbers.
    if all(map(float.is_integer, shortest)) and max(map(abs, shortest), default=0) <= _EXACT:
        return shortest
    waiting: Sequence[int] = range(len(shortest))
    exact = shortest
    for precision in _PRECISIONS:
        if not waiting:
            break
        text = ("[" + f"%.{precision}g," * len(exact))[:-1] + "]"
        candidates = _numbers.decode(text % tuple(exact))
        rounded = array("f", candidates).tolist()
        if rounded == exact and len(exact) == len(shortest):
            return candidates
        longer: list[int] = []
        for index, candidate, back, value in zip(waiting, candidates, rounded, exact, strict=True):
            if back == value:
                shortest[index] = candidate
            else:
                longer.append(index)
        waiting = longer
        exact = [values[index] for index in waiting]
    return shortest


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
