"""Parsers of lists and maps.

Embeddings and pictures are long lists of numbers, so lists of single values are checked as a whole where possible.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from hub.contract.errors import MAX_PROBLEMS, JsonPath
from hub.contract.protojson.conversion import ConversionError, JsonValue, ParseStats, ValueParser
from hub.contract.protojson.scalar_parser import (
    FLOAT_MAX,
    INTEGER_RANGES,
    ScalarParser,
    key_parser,
    kind_of,
    scalar_parser,
)

_FLOAT: Final = {float}
_INT: Final = {int}
_STRING: Final = {str}
_BOOL: Final = {bool}


def list_parser(field: FieldDescriptor) -> Callable[[JsonValue], list[Any]]:
    """The parser of a repeated `field` of scalars or enums."""
    parse_item = scalar_parser(field)
    plain = _plain_check(field)

    def parse(items: JsonValue) -> list[Any]:
        if type(items) is not list:
            raise ConversionError(f"expected an array, not {kind_of(items)}")
        if plain is not None and items and plain(items):
            return items
        try:
            return [parse_item(item) for item in items]
        except ConversionError:
            return _one_by_one(items, parse_item)

    return parse


def message_list_parser(parse_message: ValueParser) -> ValueParser:
    """The parser of a repeated field of messages."""

    def parse(items: JsonValue, level: int, stats: ParseStats) -> list[Any]:
        if type(items) is not list:
            raise ConversionError(f"expected an array, not {kind_of(items)}")
        # One pass, also with errors: a second pass per list would double the time with each level of nesting.
        messages: list[Any] = []
        errors: list[tuple[JsonPath, str]] = []
        for index, item in enumerate(items):
            try:
                messages.append(parse_message(item, level + 1, stats))
            except ConversionError as error:
                errors += error.prefixed(index)
                if len(errors) >= MAX_PROBLEMS:
                    break
        if errors:
            raise ConversionError.of(errors)
        return messages

    return parse


def map_parser(entry: Descriptor, parse_message: ValueParser | None) -> ValueParser:
    """The parser of a map.

    Args:
        entry: The message that represents an entry of the map on the wire.
        parse_message: The parser of the values if these are messages.
    """
    parse_key = key_parser(entry.fields_by_name["key"])
    parse_scalar = None if parse_message is not None else scalar_parser(entry.fields_by_name["value"])

    def parse(document: JsonValue, level: int, stats: ParseStats) -> dict[Any, Any]:
        if type(document) is not dict:
            raise ConversionError(f"expected an object with the entries of the map, not {kind_of(document)}")
        stats.names += len(document)
        entries: dict[Any, Any] = {}
        errors: list[tuple[JsonPath, str]] = []
        for name, value in document.items():
            try:
                key = name if parse_key is None else parse_key(name)
                if parse_scalar is not None:
                    entries[key] = parse_scalar(value)
                elif parse_message is not None:
                    # The entry is a message too, so its value is two levels further in.
                    entries[key] = parse_message(value, level + 2, stats)
            except ConversionError as error:
                errors += error.prefixed(name)
                if len(errors) >= MAX_PROBLEMS:
                    break
        if errors:
            raise ConversionError.of(errors)
        return entries

    return parse


def _plain_check(field: FieldDescriptor) -> Callable[[list[Any]], bool] | None:
    """Returns a check whether a non-empty list can go into the message as it is; `None` if that is never possible."""
    cpp_type = field.cpp_type
    if cpp_type in INTEGER_RANGES:
        low, high = INTEGER_RANGES[cpp_type]
        return lambda items: set(map(type, items)) == _INT and min(items) >= low and max(items) <= high
    match cpp_type:
        case FieldDescriptor.CPPTYPE_DOUBLE:
            return lambda items: set(map(type, items)) == _FLOAT
        case FieldDescriptor.CPPTYPE_FLOAT:
            # The sum is in range only if each item is.
            return lambda items: set(map(type, items)) == _FLOAT and sum(map(abs, items)) <= FLOAT_MAX
        case FieldDescriptor.CPPTYPE_BOOL:
            return lambda items: set(map(type, items)) == _BOOL
        case FieldDescriptor.CPPTYPE_STRING if field.type == FieldDescriptor.TYPE_STRING:
            return lambda items: set(map(type, items)) == _STRING
        case _:
            return None


def _one_by_one(items: list[JsonValue], parse_item: ScalarParser) -> list[Any]:
    """Parses each item alone, to report every invalid one."""
    parsed: list[Any] = []
    errors: list[tuple[JsonPath, str]] = []
    for index, item in enumerate(items):
        try:
            parsed.append(parse_item(item))
        except ConversionError as error:
            errors += error.prefixed(index)
            if len(errors) >= MAX_PROBLEMS:
                break
    if errors:
        raise ConversionError.of(errors)
    return parsed
