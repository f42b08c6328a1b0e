"""JSON form of single values: numbers, strings, bytes and enums.

A reader takes a parsed JSON value and gives what the field of a message takes, or raises `ParseError`. A writer takes the
value of a field and gives the JSON value; `None` in its place means that they are the same.

Source: https://protobuf.dev/programming-guides/json/
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final, TypeAlias

from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor

from hub.contract import patterns
from hub.contract.descriptors.well_known import NULL_VALUE
from hub.contract.protojson.errors import ParseError
from hub.contract.protojson.floats import shortest_float32
from hub.contract.protojson.json_text import JsonValue

Reader: TypeAlias = Callable[[JsonValue], Any]
Writer: TypeAlias = Callable[[Any], JsonValue]

DOUBLE_MAX: Final = 1.7976931348623157e308
FLOAT_MAX: Final = 3.4028234663852886e38
INTEGER_RANGES: Final[Mapping[int, tuple[int, int]]] = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}
QUOTED_INTEGERS: Final = {cpp: patterns.quoted_integer(*bounds) for cpp, bounds in INTEGER_RANGES.items()}
QUOTED_DOUBLE: Final = patterns.quoted_number("17976931348623157", 308)
QUOTED_FLOAT: Final = patterns.quoted_number("34028234663852886", 38)
NOT_FINITE: Final[Mapping[str, float]] = {
    "NaN": float("nan"),
    "Infinity": float("inf"),
    "-Infinity": float("-inf"),
}


def kind_of(value: JsonValue) -> str:
    """What a JSON value is, for messages."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return f"the number {value}" if abs(value) < 1e25 else "a number"
        case str():
            return f"the string {value!r}" if len(value) <= 40 else "a string"
        case list():
            return "an array"
        case _:
            return "an object"


def read_integer(cpp_type: int) -> Reader:
    low, high = INTEGER_RANGES[cpp_type]
    quoted = re.compile(QUOTED_INTEGERS[cpp_type]).fullmatch

    def read(value: JsonValue) -> int:
        if type(value) is int:
            number = value
        elif type(value) is float and value.is_integer():
            number = int(value)
        elif type(value) is str and quoted(value):
            number = int(Decimal(value))
        else:
            raise ParseError(f"expected an integer from {low} to {high}, not {kind_of(value)}")
        if low <= number <= high:
            return number
        raise ParseError(f"expected an integer from {low} to {high}, not {kind_of(number)}")

    return read


def read_floating(limit: float, pattern: str) -> Reader:
    quoted = re.compile(pattern).fullmatch

    def read(value: JsonValue) -> float:
        if type(value) is float or type(value) is int:
            if -limit <= value <= limit:
                return float(value)
            raise ParseError(f'expected a number from {-limit} to {limit}, "NaN", "Infinity" or "-Infinity"')
        if type(value) is str:
            if value in NOT_FINITE:
                return NOT_FINITE[value]
            if quoted(value):
                return float(value)
        raise ParseError(f'expected a number, "NaN", "Infinity" or "-Infinity", not {kind_of(value)}')

    return read


def read_bool(value: JsonValue) -> bool:
    if type(value) is bool:
        return value
    raise ParseError(f"expected true or false, not {kind_of(value)}")


def read_string(value: JsonValue) -> str:
    if type(value) is str:
        return value
    raise ParseError(f"expected a string, not {kind_of(value)}")


def read_bytes(value: JsonValue) -> bytes:
    if type(value) is str and value.isascii():
        standard = value.replace("-", "+").replace("_", "/") if "-" in value or "_" in value else value
        if len(standard) % 4 and not standard.endswith("="):
            standard += "=" * (-len(standard) % 4)
        try:
            return binascii.a2b_base64(standard, strict_mode=True)
        except binascii.Error:
            pass
    raise ParseError(f"expected bytes as a base64 string, not {kind_of(value)}")


def read_enum(enum: EnumDescriptor) -> Reader:
    numbers = {name: value.number for name, value in enum.values_by_name.items()}
    known = frozenset(numbers.values()) if enum.is_closed else None
    low, high = INTEGER_RANGES[FieldDescriptor.CPPTYPE_INT32]
    names = ", ".join(list(numbers)[:20])

    def read(value: JsonValue) -> int:
        if type(value) is str:
            number = numbers.get(value)
            if number is not None:
                return number
        elif type(value) is int or (type(value) is float and value.is_integer()):
            number = int(value)
            if number in known if known is not None else low <= number <= high:
                return number
        raise ParseError(f"expected a name or number of {enum.full_name} ({names}), not {kind_of(value)}")

    return read


def scalar_reader(field: FieldDescriptor) -> Reader:
    """The reader of one value of `field`, which is no message."""
    cpp_type = field.cpp_type
    if cpp_type in INTEGER_RANGES:
        return read_integer(cpp_type)
    if field.enum_type is not None:
        return read_enum(field.enum_type)
    match cpp_type:
        case FieldDescriptor.CPPTYPE_DOUBLE:
            return read_floating(DOUBLE_MAX, QUOTED_DOUBLE)
        case FieldDescriptor.CPPTYPE_FLOAT:
            return read_floating(FLOAT_MAX, QUOTED_FLOAT)
        case FieldDescriptor.CPPTYPE_BOOL:
            return read_bool
        case _:
            return read_bytes if field.type == FieldDescriptor.TYPE_BYTES else read_string


def plain_type(field: FieldDescriptor) -> type | None:
    """The type of JSON values that a singular `field` takes as they are, or else refuses with `ValueError`."""
    if field.cpp_type in INTEGER_RANGES:
        return int
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_DOUBLE:
            return float
        case FieldDescriptor.CPPTYPE_BOOL:
            return bool
        case FieldDescriptor.CPPTYPE_STRING if field.type == FieldDescriptor.TYPE_STRING:
            return str
        case _:
            return None


def key_reader(field: FieldDescriptor) -> Callable[[str], Any] | None:
    """The reader of the keys of a map; `None` for keys that are strings."""
    cpp_type = field.cpp_type
    if cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return None
    if cpp_type == FieldDescriptor.CPPTYPE_BOOL:

        def read_flag(key: str) -> bool:
            if key in ("true", "false"):
                return key == "true"
            raise ParseError(f'expected the key "true" or "false", not {kind_of(key)}')

        return read_flag
    low, high = INTEGER_RANGES[cpp_type]
    canonical = re.compile(patterns.integer_key(low, high)).fullmatch

    def read_number(key: str) -> int:
        if canonical(key):
            return int(key)
        raise ParseError(f"expected a key that is an integer from {low} to {high} in plain form, not {kind_of(key)}")

    return read_number


def scalar_writer(field: FieldDescriptor) -> Writer | None:
    """The writer of one value of `field`, which is no message."""
    if field.enum_type is not None:
        return _write_enum(field.enum_type)
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_INT64 | FieldDescriptor.CPPTYPE_UINT64:
            return str
        case FieldDescriptor.CPPTYPE_DOUBLE:
            return _write_double
        case FieldDescriptor.CPPTYPE_FLOAT:
            return _write_float
        case _:
            return _write_bytes if field.type == FieldDescriptor.TYPE_BYTES else None


def write_key(key: int | str) -> str:
    if isinstance(key, bool):
        return "true" if key else "false"
    return str(key)


def _write_double(value: float) -> JsonValue:
    # Only a finite number equals itself after this subtraction.
    return value if value - value == 0 else _write_not_finite(value)


def _write_float(value: float) -> JsonValue:
    return shortest_float32(value) if value - value == 0 else _write_not_finite(value)


def _write_not_finite(value: float) -> str:
    if value > 0:
        return "Infinity"
    return "-Infinity" if value < 0 else "NaN"


def _write_bytes(value: bytes) -> str:
    return binascii.b2a_base64(value, newline=False).decode("ascii")


def _write_enum(enum: EnumDescriptor) -> Writer:
    if enum.full_name == NULL_VALUE:
        return lambda _number: None
    names: dict[int, str] = {}
    for value in enum.values:
        names.setdefault(value.number, value.name)

    def write(number: int) -> JsonValue:
        return names.get(number, number)

    return write
