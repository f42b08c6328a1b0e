"""Fields as JSON sees them: their names, what null means to them, and which exclude each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, cast

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from hub.contract.descriptors.well_known import NULL_VALUE, VALUE


@dataclass(frozen=True, slots=True)
class JsonField:
    """One field or extension of a message.

    Attributes:
        descriptor: The field.
        json_name: Its name in what hub writes: `json_name` of a field, `[full.name]` of an extension.
        names: The names that hub reads; the JSON name comes first.
    """

    descriptor: FieldDescriptor
    json_name: str
    names: tuple[str, ...]

    @property
    def takes_null(self) -> bool:
        """Whether null is a value of the field. For all others null is the same as leaving the field out."""
        field = self.descriptor
        if field.is_repeated:
            return False
        if field.message_type is not None:
            return bool(field.message_type.full_name == VALUE)
        return field.enum_type is not None and field.enum_type.full_name == NULL_VALUE

    @property
    def get(self) -> Callable[[Message], Any]:
        """Reads the field of a message; a message, list or map can then be changed in place."""
        descriptor = self.descriptor
        if descriptor.is_extension:
            handle = cast(
                "Any", descriptor
            )  # the stubs want the extension's own handle, which its descriptor serves as
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
    """The oneof that `field` is declared in; `None` also for the ones that protoc invents for `optional`."""
    oneof = field.containing_oneof
    if oneof is None or (len(oneof.fields) == 1 and _invented(field.name, oneof.name)):
        return None
    return str(oneof.name)


def _invented(field: str, oneof: str) -> bool:
    """Whether protoc gives this name to the oneof of an `optional` field: an underscore before it, and X while taken."""
    plain = field if field.startswith("_") else f"_{field}"
    return oneof.endswith(plain) and not oneof.removesuffix(plain).strip("X")
