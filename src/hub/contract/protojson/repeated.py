"""Lists and maps.

Embeddings and pictures are long lists of numbers, so lists of single values are checked as a whole where that is
possible.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from hub.contract.protojson.errors import MAX_PROBLEMS, JsonPath, ParseError
from hub.contract.protojson.json_text import JsonValue
from hub.contract.protojson.scalars import FLOAT_MAX, INTEGER_RANGES, Reader, key_reader, kind_of, scalar_reader
from hub.contract.protojson.value_parser import ParseStats, ValueReader

_FLOAT: Final = {float}
_INT: Final = {int}
_STRING: Final = {str}
_BOOL: Final = {bool}


def list_reader(field: FieldDescriptor) -> Callable[[JsonValue], list[Any]]:
    """The reader of a repeated `field` that holds no messages."""
    read_item = scalar_reader(field)
    plain = _plain_check(field)

    def read(items: JsonValue) -> list[Any]:
        if type(items) is not list:
            raise ParseError(f"expected an array, not {kind_of(items)}")
        if plain is not None and items and plain(items):
            return items
        try:
            return [read_item(item) for item in items]
        except ParseError:
            return _one_by_one(items, read_item)

    return read


def message_list_reader(read_message: ValueReader) -> ValueReader:
    """The reader of a repeated field of messages."""

    def read(items: JsonValue, level: int, tally: ParseStats) -> list[Any]:
        if type(items) is not list:
            raise ParseError(f"expected an array, not {kind_of(items)}")
        # One pass, also when something is bad: a second one for each list would double with each level of lists.
        messages: list[Any] = []
        found: list[tuple[JsonPath, str]] = []
        for index, item in enumerate(items):
            try:
                messages.append(read_message(item, level + 1, tally))
            except ParseError as refusal:
                found += refusal.under(index)
                if len(found) >= MAX_PROBLEMS:
                    break
        if found:
            raise ParseError.of(found)
        return messages

    return read


def map_reader(entry: Descriptor, read_message: ValueReader | None) -> ValueReader:
    """The reader of a map.

    Args:
        entry: The message that stands for an entry of the map on the wire.
        read_message: The reader of the values, if these are messages.
    """
    read_key = key_reader(entry.fields_by_name["key"])
    read_scalar = None if read_message is not None else scalar_reader(entry.fields_by_name["value"])

    def read(document: JsonValue, level: int, tally: ParseStats) -> dict[Any, Any]:
        if type(document) is not dict:
            raise ParseError(f"expected an object with the entries of the map, not {kind_of(document)}")
        tally.names += len(document)
        entries: dict[Any, Any] = {}
        found: list[tuple[JsonPath, str]] = []
        for name, value in document.items():
            try:
                key = name if read_key is None else read_key(name)
                if read_scalar is not None:
                    entries[key] = read_scalar(value)
                elif read_message is not None:
                    # The entry is a message too, so its value is two levels further in.
                    entries[key] = read_message(value, level + 2, tally)
            except ParseError as refusal:
                found += refusal.under(name)
                if len(found) >= MAX_PROBLEMS:
                    break
        if found:
            raise ParseError.of(found)
        return entries

    return read


def _plain_check(field: FieldDescriptor) -> Callable[[list[Any]], bool] | None:
    """Tells of a list that is not empty whether it can go into the message as it is."""
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


def _one_by_one(items: list[JsonValue], read_item: Reader) -> list[Any]:
    """Reads items of which some are bad, to report all of these."""
    read: list[Any] = []
    found: list[tuple[JsonPath, str]] = []
    for index, item in enumerate(items):
        try:
            read.append(read_item(item))
        except ParseError as refusal:
            found += refusal.under(index)
            if len(found) >= MAX_PROBLEMS:
                break
    if found:
        raise ParseError.of(found)
    return read
