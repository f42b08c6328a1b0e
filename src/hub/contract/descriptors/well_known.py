"""The messages of protobuf that have a JSON form of their own.

Source: https://protobuf.dev/programming-guides/json/
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from google.protobuf import (
    any_pb2,
    duration_pb2,
    field_mask_pb2,
    struct_pb2,
    timestamp_pb2,
    wrappers_pb2,
)
from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto

ANY: Final = "google.protobuf.Any"
DURATION: Final = "google.protobuf.Duration"
FIELD_MASK: Final = "google.protobuf.FieldMask"
LIST_VALUE: Final = "google.protobuf.ListValue"
STRUCT: Final = "google.protobuf.Struct"
TIMESTAMP: Final = "google.protobuf.Timestamp"
VALUE: Final = "google.protobuf.Value"
NULL_VALUE: Final = "google.protobuf.NullValue"

TIMESTAMP_SECONDS: Final = range(-62_135_596_800, 253_402_300_800)
"""Unix seconds of a `Timestamp`: the years 1 to 9999 in UTC."""

WRAPPERS: Final = frozenset(message.full_name for message in wrappers_pb2.DESCRIPTOR.message_types_by_name.values())
"""Messages with one field, `value`, whose JSON form is that of the field."""

_ORIGINALS: Final[Mapping[str, Descriptor]] = {
    message.full_name: message
    for file in (any_pb2, duration_pb2, field_mask_pb2, struct_pb2, timestamp_pb2, wrappers_pb2)
    for message in file.DESCRIPTOR.message_types_by_name.values()
}

WELL_KNOWN: Final = frozenset(_ORIGINALS)
"""All messages with a JSON form of their own. `google.protobuf.Empty` has the usual form, so it is not one of them."""


def differing_well_known_type(file: FileDescriptorProto) -> str | None:
    """Full name of a message in `file` with the name of a well-known type but other fields; usually `None`."""
    if file.package != "google.protobuf":
        return None
    for message in file.message_type:
        original = _ORIGINALS.get(f"{file.package}.{message.name}")
        if original is None:
            continue
        expected = DescriptorProto()
        original.CopyToProto(expected)
        if _shape(message) != _shape(expected):
            return original.full_name
    return None


def _shape(message: DescriptorProto) -> frozenset[tuple[str, int, int, int]]:
    return frozenset((field.name, field.number, field.type, field.label) for field in message.field)
