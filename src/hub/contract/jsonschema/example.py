"""Example documents, for "Try it out" on a model's page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, final

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from hub.contract.descriptors.fields import json_fields, json_oneofs
from hub.contract.descriptors.well_known import (
    ANY,
    DURATION,
    FIELD_MASK,
    LIST_VALUE,
    STRUCT,
    TIMESTAMP,
    VALUE,
    WRAPPERS,
)
from hub.contract.jsonschema.ruled_example import fewest_items, ruled_example
from hub.contract.jsonschema.scalars import scalar_name
from hub.contract.protojson.conversion import JsonValue

MAX_DEPTH = 4
"""Nesting of messages in an example, which never nests a message in itself."""

MAX_VALUES = 200
"""Values of an example after which only required messages are added."""

_SCALARS: dict[str, JsonValue] = {"bool": True, "string": "text", "bytes": "aHVi", "int64": "1", "uint64": "1"}
_WELL_KNOWN: dict[str, JsonValue] = {
    ANY: {},
    DURATION: "1.5s",
    FIELD_MASK: "user.displayName,photo",
    LIST_VALUE: ["text", 1],
    STRUCT: {"key": "text"},
    TIMESTAMP: "2026-01-31T12:00:00Z",
    VALUE: "text",
}


def example_of(message: Descriptor) -> dict[str, JsonValue] | None:
    """A document that the transcoder accepts: all fields, the first member of each oneof, lists of one item.

    Fields of messages are added until the example has `MAX_VALUES` values. `None` if required fields alone have more than
    ten times as many.
    """
    return Examples().of(message)


@final
class Examples:
    """Examples of the messages of one contract, with a cache of their fields."""

    def __init__(self) -> None:
        self._shown: Final[dict[str, Sequence[tuple[str, FieldDescriptor, Descriptor | None]]]] = {}

    def of(self, message: Descriptor) -> dict[str, JsonValue] | None:
        """See `example_of`."""
        try:
            return _Example(self).message(message, ())
        except _TooBig:
            return None

    def shown(self, message: Descriptor) -> Sequence[tuple[str, FieldDescriptor, Descriptor | None]]:
        """The fields that an example may show: their names, and the messages that are their values."""
        found = self._shown.get(message.full_name)
        if found is None:
            skipped = {
                name
                for _, members in json_oneofs(message)
                for name, field in members.items()
                if field != next(iter(members.values()))
            }
            found = self._shown[message.full_name] = [
                (field.json_name, field.descriptor, field.descriptor.message_type)
                for field in json_fields(message)
                if field.json_name not in skipped and not field.descriptor.is_extension
            ]
        return found


class _TooBig(Exception):
    """The required fields alone exceed the size of an example."""


@final
class _Example:
    """One example, with a count of its values: twelve messages that refer to each other could have billions."""

    def __init__(self, examples: Examples) -> None:
        self._examples = examples
        self._values = 0

    def message(self, message: Descriptor, outer: tuple[str, ...]) -> dict[str, JsonValue]:
        if self._values > 10 * MAX_VALUES:
            raise _TooBig
        document: dict[str, JsonValue] = {}
        within = (*outer, message.full_name)
        for name, descriptor, value_type in self._examples.shown(message):
            if value_type is not None and self._values > MAX_VALUES and not descriptor.is_required:
                continue
            if value_type is not None and value_type.GetOptions().map_entry:
                key, value = (value_type.fields_by_name[part] for part in ("key", "value"))
                if _fits(value, within):
                    document[name] = {_key(key): self._value(value, within)}
            elif _fits(descriptor, within) or _must_fit(descriptor, within):
                one = self._value(descriptor, within)
                document[name] = [one] * fewest_items(descriptor) if descriptor.is_repeated else one
        return document

    def _value(self, field: FieldDescriptor, within: tuple[str, ...]) -> JsonValue:
        self._values += 1
        message = field.message_type
        if field.has_options and (ruled := ruled_example(field)) is not None:
            return ruled
        if message is None:
            if field.enum_type is not None:
                # The first value is usually the one that means "unspecified".
                values = field.enum_type.values
                return str(values[min(1, len(values) - 1)].name)
            return _SCALARS.get(scalar_name(field), 1)
        if message.full_name in WRAPPERS:
            return self._value(message.fields_by_name["value"], within)
        if message.full_name in _WELL_KNOWN:
            return _WELL_KNOWN[message.full_name]
        return self.message(message, within)


def _fits(field: FieldDescriptor, within: tuple[str, ...]) -> bool:
    message = field.message_type
    return message is None or (message.full_name not in within and len(within) < MAX_DEPTH)


def _must_fit(field: FieldDescriptor, within: tuple[str, ...]) -> bool:
    """A required message is added at any depth, but never within itself: no document could be complete."""
    return field.is_required and field.message_type is not None and field.message_type.full_name not in within


def _key(field: FieldDescriptor) -> str:
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return "true"
    return "key" if field.cpp_type == FieldDescriptor.CPPTYPE_STRING else "1"
