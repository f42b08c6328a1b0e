"""Lists of single values. Embeddings and pictures are long lists of numbers, so whole lists are checked at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from google.protobuf.descriptor import FieldDescriptor

from hub.contract.jsontext import JsonValue
from hub.contract.refusal import MAX_PROBLEMS, Place, Refusal
from hub.contract.scalars import FLOAT_MAX, INTEGER_RANGES, Reader, kind_of, scalar_reader

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
            raise Refusal(f"expected an array, not {kind_of(items)}")
        if plain is not None and items and plain(items):
            return items
        return _one_by_one(items, read_item)

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
    read: list[Any] = []
    found: list[tuple[Place, str]] = []
    for index, item in enumerate(items):
        try:
            read.append(read_item(item))
        except Refusal as refusal:
            found += refusal.under(index)
            if len(found) >= MAX_PROBLEMS:
                break
    if found:
        raise Refusal.of(found)
    return read
