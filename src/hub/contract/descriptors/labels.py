"""Parts of a field as a `.proto` file spells them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.descriptor_pb2 import FieldDescriptorProto

_KEYWORDS: Final[Mapping[int, str]] = {
    number: name.removeprefix("TYPE_").lower() for name, number in FieldDescriptorProto.Type.items()
}


def field_type(field: FieldDescriptor) -> str:
    """The type of a field, such as `int32`, `examples.v1.Item` or `map<string, double>`."""
    message = field.message_type
    if message is not None and message.GetOptions().map_entry:
        key, value = (message.fields_by_name[name] for name in ("key", "value"))
        return f"map<{field_type(key)}, {field_type(value)}>"
    declared = message or field.enum_type
    if declared is None:
        return _KEYWORDS[field.type]
    return f"group {declared.full_name}" if field.type == FieldDescriptor.TYPE_GROUP else declared.full_name


def label_of(field: FieldDescriptor) -> str:
    """How often the field may occur, and whether unset differs from the default."""
    if field.is_repeated:
        return "repeated"
    if field.is_required:
        return "required"
    return "optional" if field.has_presence else "without presence"


def default_of(field: FieldDescriptor) -> str:
    """The default that the field declares."""
    return repr(field.default_value) if field.has_default_value else "of its type"
