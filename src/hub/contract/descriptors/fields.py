"""Fields in JSON (names, null, oneofs) and in error texts (type, label, default)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Final, cast

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pb2 import FieldDescriptorProto
from google.protobuf.message import Message

from hub.contract.descriptors.well_known import NULL_VALUE, VALUE

_KEYWORDS: Final[Mapping[int, str]] = {
    number: name.removeprefix("TYPE_").lower() for name, number in FieldDescriptorProto.Type.items()
}


@dataclass(frozen=True, slots=True)
class JsonField:
    """One field or extension of a message.

    Attributes:
        descriptor: The field.
        json_name: The name that hub writes: `json_name` of a field, `[full.name]` of an extension.
        names: The names that hub reads; the JSON name comes first.
    """

    descriptor: FieldDescriptor
    json_name: str
    names: tuple[str, ...]

    @property
    def takes_null(self) -> bool:
        """Whether null is a value of the field. In other fields null means that the field is left out."""
        field = self.descriptor
        if field.is_repeated:
            return False
        if field.message_type is not None:
            return bool(field.message_type.full_name == VALUE)
        return field.enum_type is not None and field.enum_type.full_name == NULL_VALUE

    @property
    def get(self) -> Callable[[Message], Any]:
        """Returns the field of a message; a message, list or map can be changed in place."""
        descriptor = self.descriptor
        if descriptor.is_extension:
            handle = cast("Any", descriptor)  # the stubs expect the extension's handle; the descriptor is accepted too
            return lambda message: message.Extensions[handle]
        return attrgetter(descriptor.name)


def json_fields(message: Descriptor) -> Sequence[JsonField]:
    """The fields of `message` in the order of their declaration, then its extensions in the same pool."""
    taken = {field.json_name for field in message.fields}
    fields = [
        JsonField(
            field,
            field.json_name,
            (field.json_name,) if field.name in taken else (field.json_name, field.name),
        )
        for field in message.fields
    ]
    if message.is_extendable:
        extensions: Sequence[FieldDescriptor] = message.file.pool.FindAllExtensions(message)
        for extension in sorted(extensions, key=attrgetter("number")):
            name = f"[{extension.full_name}]"
            fields.append(JsonField(extension, name, (name,)))
    return fields


def json_oneofs(message: Descriptor) -> Sequence[tuple[str, Mapping[str, str]]]:
    """Each oneof with more than one member: its name, and the JSON names of its members with the field of each."""
    fields = {field.descriptor.name: field for field in json_fields(message) if not field.descriptor.is_extension}
    return [
        (oneof.name, {name: member.name for member in oneof.fields for name in fields[member.name].names})
        for oneof in message.oneofs
        if len(oneof.fields) > 1
    ]


def declared_oneof(field: FieldDescriptor) -> str | None:
    """The oneof that `field` is declared in; `None` for the synthetic oneof of an `optional` field too."""
    oneof = field.containing_oneof
    if oneof is None or (len(oneof.fields) == 1 and _is_synthetic(field.name, oneof.name)):
        return None
    return str(oneof.name)


def _is_synthetic(field: str, oneof: str) -> bool:
    """Whether protoc gives this name to the oneof of an `optional` field: an underscore before it, and X if taken."""
    plain = field if field.startswith("_") else f"_{field}"
    return oneof.endswith(plain) and not oneof.removesuffix(plain).strip("X")


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


def field_label(field: FieldDescriptor) -> str:
    """The cardinality of a field, and whether unset differs from the default."""
    if field.is_repeated:
        return "repeated"
    if field.is_required:
        return "required"
    return "optional" if field.has_presence else "without presence"


def field_default(field: FieldDescriptor) -> str:
    """The declared default of a field."""
    return repr(field.default_value) if field.has_default_value else "of its type"
