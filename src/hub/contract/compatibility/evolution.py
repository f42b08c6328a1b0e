"""Changes of a field that are compatible on the wire and in JSON."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from enum import StrEnum
from math import copysign, inf, isnan
from typing import Final

from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor

_INTERCHANGEABLE: Final[Mapping[int, str]] = {
    FieldDescriptor.TYPE_INT32: "32-bit varint",
    FieldDescriptor.TYPE_UINT32: "32-bit varint",
    FieldDescriptor.TYPE_INT64: "64-bit varint",
    FieldDescriptor.TYPE_UINT64: "64-bit varint",
    FieldDescriptor.TYPE_FIXED32: "4 bytes",
    FieldDescriptor.TYPE_SFIXED32: "4 bytes",
    FieldDescriptor.TYPE_FIXED64: "8 bytes",
    FieldDescriptor.TYPE_SFIXED64: "8 bytes",
}
"""Types that differ only in their sign; all other types are incompatible with each other."""

_FLOATING: Final = (FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT)


class Cardinality(StrEnum):
    """The cardinality of a field. Whether unset differs from the default is not part of it, because neither form changes."""

    SINGLE = "a single value"
    REQUIRED = "required"
    REPEATED = "repeated"
    MAP = "a map"


def cardinality_of(field: FieldDescriptor) -> Cardinality:
    if field.is_repeated:
        return Cardinality.MAP if _is_map(field) else Cardinality.REPEATED
    return Cardinality.REQUIRED if field.is_required else Cardinality.SINGLE


def json_type_conflict(old: FieldDescriptor, new: FieldDescriptor) -> bool:
    """Whether values of one type are misread or refused as the other type, on the wire or in JSON.

    An enum may be replaced by one with the same short name that has all of its values.
    """
    if _INTERCHANGEABLE.get(old.type, old.type) != _INTERCHANGEABLE.get(new.type, new.type):
        return True
    if old.enum_type is not None and new.enum_type is not None:
        return old.enum_type.full_name != new.enum_type.full_name and not _replaces(new.enum_type, old.enum_type)
    if old.message_type is not None and new.message_type is not None:
        return bool(old.message_type.full_name != new.message_type.full_name)
    return False


def defaults_conflict(old: FieldDescriptor, new: FieldDescriptor) -> bool:
    """Whether an omitted value is read as a different one."""
    if any(field.is_repeated or field.message_type is not None for field in (old, new)):
        return False
    before, after = _default(old), _default(new)
    if not before and not after:
        return False
    if isinstance(before, bytes) or isinstance(after, bytes):
        return before != after
    if old.type in _FLOATING and new.type in _FLOATING:
        if isnan(before) or isnan(after):
            return isnan(before) != isnan(after)
        if old.type != new.type:  # what a float can hold of a double
            before, after = _as_float32(before), _as_float32(after)
    return before != after


def _default(field: FieldDescriptor) -> bytes | float:
    value: str | bytes | float = field.default_value
    return value.encode() if isinstance(value, str) else value


def _as_float32(value: float) -> float:
    try:
        return float(struct.unpack("f", struct.pack("f", value))[0])
    except OverflowError:
        return copysign(inf, value)


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)


def _replaces(new: EnumDescriptor, old: EnumDescriptor) -> bool:
    values = {value.name: value.number for value in new.values}
    return new.name == old.name and all(values.get(value.name) == value.number for value in old.values)
