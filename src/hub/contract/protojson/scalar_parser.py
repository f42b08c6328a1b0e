"""Parsers of single JSON values: numbers, strings, bytes and enums.

A parser takes a JSON value and returns what the field of a message takes, or raises `ConversionError`.

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
from hub.contract.protojson.conversion import ConversionError, JsonValue

ScalarParser: TypeAlias = Callable[[JsonValue], Any]

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
NON_FINITE_NUMBERS: Final[Mapping[str, float]] = {
    "NaN": float("nan"),
    "Infinity": float("inf"),
    "-Infinity": float("-inf"),
}


def kind_of(value: JsonValue) -> str:
    """A description of a JSON value for error texts."""
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


def integer_parser(cpp_type: int) -> ScalarParser:
    low, high = INTEGER_RANGES[cpp_type]
    quoted = re.compile(QUOTED_INTEGERS[cpp_type]).fullmatch

    def parse(value: JsonValue) -> int:
        if type(value) is int:
            number = value
        elif type(value) is float and value.is_integer():
            number = int(value)
        elif type(value) is str and quoted(value):
            number = int(Decimal(value))
        else:
            raise ConversionError(f"expected an integer from {low} to {high}, not {kind_of(value)}")
        if low <= number <= high:
            return number
        raise ConversionError(f"expected an integer from {low} to {high}, not {kind_of(number)}")

    return parse


def floating_parser(limit: float, pattern: str) -> ScalarParser:
    quoted = re.compile(pattern).fullmatch

    def parse(value: JsonValue) -> float:
        if type(value) is float or type(value) is int:
            if -limit <= value <= limit:
                return float(value)
            raise ConversionError(f'expected a number from {-limit} to {limit}, "NaN", "Infinity" or "-Infinity"')
        if type(value) is str:
            if value in NON_FINITE_NUMBERS:
                return NON_FINITE_NUMBERS[value]
            if quoted(value):
                return float(value)
        raise ConversionError(f'expected a number, "NaN", "Infinity" or "-Infinity", not {kind_of(value)}')

    return parse


def parse_bool(value: JsonValue) -> bool:
    if type(value) is bool:
        return value
    raise ConversionError(f"expected true or false, not {kind_of(value)}")


def parse_string(value: JsonValue) -> str:
    if type(value) is str:
        return value
    raise ConversionError(f"expected a string, not {kind_of(value)}")


def parse_bytes(value: JsonValue) -> bytes:
    if type(value) is str and value.isascii():
        standard = value.replace("-", "+").replace("_", "/") if "-" in value or "_" in value else value
        if len(standard) % 4 and not standard.endswith("="):
            standard += "=" * (-len(standard) % 4)
        try:
            return binascii.a2b_base64(standard, strict_mode=True)
        except binascii.Error:
            pass
    raise ConversionError(f"expected bytes as a base64 string, not {kind_of(value)}")


def enum_parser(enum: EnumDescriptor) -> ScalarParser:
    numbers = {name: value.number for name, value in enum.values_by_name.items()}
    known = frozenset(numbers.values()) if enum.is_closed else None
    low, high = INTEGER_RANGES[FieldDescriptor.CPPTYPE_INT32]
    names = ", ".join(list(numbers)[:20])

    def parse(value: JsonValue) -> int:
        if type(value) is str:
            number = numbers.get(value)
            if number is not None:
                return number
        elif type(value) is int or (type(value) is float and value.is_integer()):
            number = int(value)
            if number in known if known is not None else low <= number <= high:
                return number
        raise ConversionError(f"expected a name or number of {enum.full_name} ({names}), not {kind_of(value)}")

    return parse


def scalar_parser(field: FieldDescriptor) -> ScalarParser:
    """The parser of one value of `field`, which is not a message."""
    cpp_type = field.cpp_type
    if cpp_type in INTEGER_RANGES:
        return integer_parser(cpp_type)
    if field.enum_type is not None:
        return enum_parser(field.enum_type)
    match cpp_type:
        case FieldDescriptor.CPPTYPE_DOUBLE:
            return floating_parser(DOUBLE_MAX, QUOTED_DOUBLE)
        case FieldDescriptor.CPPTYPE_FLOAT:
            return floating_parser(FLOAT_MAX, QUOTED_FLOAT)
        case FieldDescriptor.CPPTYPE_BOOL:
            return parse_bool
        case _:
            return parse_bytes if field.type == FieldDescriptor.TYPE_BYTES else parse_string


def plain_type(field: FieldDescriptor) -> type | None:
    """The type of the JSON values that the constructor of a message accepts for a singular `field` as they are.

    It raises `ValueError` for those out of range.
    """
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


def key_parser(field: FieldDescriptor) -> Callable[[str], Any] | None:
    """The parser of the keys of a map; `None` for keys that are strings."""
    cpp_type = field.cpp_type
    if cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return None
    if cpp_type == FieldDescriptor.CPPTYPE_BOOL:

        def parse_flag(key: str) -> bool:
            if key in ("true", "false"):
                return key == "true"
            raise ConversionError(f'expected the key "true" or "false", not {kind_of(key)}')

        return parse_flag
    low, high = INTEGER_RANGES[cpp_type]
    canonical = re.compile(patterns.integer_key(low, high)).fullmatch

    def parse_number(key: str) -> int:
        if canonical(key):
            return int(key)
        raise ConversionError(
            f"expected a key that is an integer from {low} to {high} in plain form, not {kind_of(key)}"
        )

    return parse_number
