"""JSON Schema (draft 2020-12, the dialect of OpenAPI 3.1) of the JSON documents that are written for a message.

A schema accepts the output of `Transcoder.encode_json(..., including_defaults=True)`, and little else: types are plain,
members that are always written are required, and only `Value` and `NullValue` can be null.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, final

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from hub.contract.descriptors.closure import files_of, messages_of
from hub.contract.descriptors.fields import json_fields
from hub.contract.descriptors.well_known import ANY, NULL_VALUE, WELL_KNOWN, WRAPPERS
from hub.contract.jsonschema.components import Components, MessageSchema, hidden_from_generators
from hub.contract.jsonschema.scalars import (
    NON_FINITE,
    OUTPUT,
    Schema,
    key_pattern,
    names_of_enum,
    number_of_enum,
    scalar_name,
    well_known_schema,
)

_BIG: Final = frozenset({"int64", "uint64"})
_FLOATING: Final = frozenset({"double", "float"})


def output_schema(
    message: Descriptor, types: Mapping[str, Descriptor] | None = None, components: Components | None = None
) -> MessageSchema:
    """The schema of the JSON documents that `Transcoder(message, types)` writes with defaults.

    Args:
        message: The message.
        types: The messages that an `Any` may contain, as for the transcoder.
        components: The collection to add to; by default a new one.
    """
    known = messages_of(files_of([message])) if types is None else types
    schemas = _OutputSchemas(known, Components() if components is None else components)
    return MessageSchema(schemas.message(message), schemas.components)


@final
class _OutputSchemas:
    def __init__(self, types: Mapping[str, Descriptor], components: Components) -> None:
        self.components: Final = components
        self._types = types

    def message(self, message: Descriptor) -> Schema:
        name = message.full_name
        if name in WRAPPERS:
            return self._scalar(message.fields_by_name["value"])
        if name == ANY:
            return self.components.reference(name, self._any)
        if name in WELL_KNOWN:
            return self.components.reference(name, lambda: well_known_schema(message, self.message, output=True))
        return self.components.reference(name, lambda: self._object(message))

    def _scalar(self, field: FieldDescriptor) -> Schema:
        if field.enum_type is not None:
            return self._enum(field.enum_type)
        name = scalar_name(field)
        # Unique, because no name in a .proto file can have a hyphen.
        if name in _BIG:
            return self.components.reference(f"proto-{name}", lambda: OUTPUT[name])
        if name in _FLOATING:
            return {"anyOf": [OUTPUT[name], self.components.reference("non-finite-number", lambda: NON_FINITE)]}
        return OUTPUT[name]

    def _enum(self, enum: EnumDescriptor) -> Schema:
        if enum.full_name == NULL_VALUE:
            return {"type": "null"}
        names: dict[int, str] = {}
        for value in enum.values:
            names.setdefault(value.number, value.name)
        named = self.components.reference(enum.full_name, lambda: names_of_enum(enum, [*names.values()]))
        if enum.is_closed:
            return named
        # A program with a newer .proto file may have set a number that has no name in this contract.
        number = number_of_enum(enum) | {"description": "A value without a name in this contract."}
        return {"anyOf": [named, number | {"not": {"enum": sorted(names)}}]}

    def _field(self, field: FieldDescriptor) -> Schema:
        value_type = field.message_type
        if value_type is not None and value_type.GetOptions().map_entry:
            schema: Schema = {"type": "object", "additionalProperties": self._value(value_type.fields_by_name["value"])}
            pattern = key_pattern(value_type.fields_by_name["key"])
            return schema if pattern is None else schema | {"propertyNames": {"pattern": pattern}}
        return {"type": "array", "items": self._value(field)} if field.is_repeated else self._value(field)

    def _value(self, field: FieldDescriptor) -> Schema:
        return self._scalar(field) if field.message_type is None else self.message(field.message_type)

    def _object(self, message: Descriptor, more: Schema | None = None) -> Schema:
        """The schema of a message without a JSON form of its own; `more` are required members beside its fields."""
        more = more or {}
        fields = json_fields(message)
        always = [
            field.json_name
            for field in fields
            if field.descriptor.is_required or not (field.descriptor.has_presence or field.descriptor.is_extension)
        ]
        schema: Schema = {
            "type": "object",
            "properties": {**more, **{field.json_name: self._field(field.descriptor) for field in fields}},
            "additionalProperties": False,
        }
        if more or always:
            schema["required"] = [*more, *always]
        return schema | hidden_from_generators(*_oneof_rules(message))

    def _any(self) -> Schema:
        contents = [self._content(name, message) for name, message in sorted(self._types.items())]
        return {
            "description": "A message with its type: the members of the message, and `@type`, an URL that ends in its "
            "full name. A well-known type is the member `value`. Empty if it contains nothing.",
            "type": "object",
            "additionalProperties": True,
            **hidden_from_generators({"anyOf": [{"maxProperties": 0}, *contents]}),
        }

    def _content(self, name: str, message: Descriptor) -> Schema:
        type_url: Schema = {"type": "string", "pattern": f"/{re.escape(name)}$"}
        if name in WELL_KNOWN:
            return {
                "type": "object",
                "properties": {"@type": type_url, "value": self.message(message)},
                "required": ["@type", "value"],
                "additionalProperties": False,
            }
        return self._object(message, {"@type": type_url})


def _oneof_rules(message: Descriptor) -> list[Schema]:
    """At most one member of each oneof is written."""
    names = {
        field.descriptor.name: field.json_name for field in json_fields(message) if not field.descriptor.is_extension
    }
    rules: list[Schema] = []
    for oneof in message.oneofs:
        given: list[Schema] = [{"required": [names[member.name]]} for member in oneof.fields]
        if len(given) > 1:
            rules.append({"oneOf": [{"not": {"anyOf": given}}, *given]})
    return rules
