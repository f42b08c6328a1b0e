"""JSON Schema (draft 2020-12, the dialect of OpenAPI 3.1) of the JSON documents that are accepted for a message.

A schema accepts the documents that `Transcoder` accepts, and no others. Four errors cannot be expressed in a schema,
which describes values and not text: duplicate names in one object, messages nested too deep, numbers out of the range of
JSON, and text that is not JSON. `docs/protojson.md` has the details.

Rules that would make code generators produce poor types are stated so that only validators apply them
(`hidden_from_generators`).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Final, final

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from hub.contract.descriptors.closure import files_of, messages_of
from hub.contract.descriptors.fields import JsonField, json_fields, json_oneofs
from hub.contract.descriptors.well_known import ANY, LIST_VALUE, STRUCT, VALUE, WELL_KNOWN, WRAPPERS
from hub.contract.jsonschema.components import Components, MessageSchema, any_of, hidden_from_generators
from hub.contract.jsonschema.example import Examples
from hub.contract.jsonschema.rules import described, entry_keywords, field_keywords, item_keywords, with_keywords
from hub.contract.jsonschema.scalars import (
    INPUT,
    Schema,
    key_pattern,
    names_of_enum,
    nullable,
    number_of_enum,
    scalar_name,
    well_known_schema,
)
from hub.contract.rules.compiled import fields_to_set, messages_with_rules, required_oneofs
from hub.contract.rules.fields import ignores_messages

_SUFFIX: Final = "-Input"
"""Suffix of the names of components that differ from the output."""

_UNCHECKED: Final = "-Input-Unchecked"
"""Suffix where rules are not checked: in an `Any`, and under a field that ignores them."""

_SAME_AS_OUTPUT: Final = frozenset({LIST_VALUE, STRUCT, VALUE})


def input_schema(
    message: Descriptor, types: Mapping[str, Descriptor] | None = None, components: Components | None = None
) -> MessageSchema:
    """The schema of the JSON documents that `Transcoder(message, types)` reads.

    Args:
        message: The message.
        types: The messages that an `Any` may contain, as for the transcoder.
        components: The collection to add to; by default a new one.
    """
    known = messages_of(files_of([message])) if types is None else types
    schemas = _InputSchemas(known, Components() if components is None else components, messages_with_rules(message))
    return MessageSchema(schemas.message(message), schemas.components)


@final
class _InputSchemas:
    def __init__(self, types: Mapping[str, Descriptor], components: Components, with_rules: Collection[str]) -> None:
        self.components: Final = components
        self._types = types
        self._examples = Examples()
        self._with_rules = with_rules

    def message(self, message: Descriptor, *, checked: bool = True) -> Schema:
        """The schema of a message; without its rules if it is in a place where they are not checked."""
        name = message.full_name
        if name in WRAPPERS:
            return self._scalar(message.fields_by_name["value"])
        if name == ANY:
            return self.components.reference(name + _SUFFIX, self._any)
        if name in WELL_KNOWN:
            return self.components.reference(
                name if name in _SAME_AS_OUTPUT else name + _SUFFIX,
                lambda: well_known_schema(message, self.message, output=False),
            )
        suffix = _UNCHECKED if name in self._with_rules and not checked else _SUFFIX
        return self.components.reference(name + suffix, lambda: self._object(message, checked=checked))

    def _scalar(self, field: FieldDescriptor) -> Schema:
        if field.enum_type is not None:
            return {"anyOf": [self._names(field.enum_type), number_of_enum(field.enum_type)]}
        name = scalar_name(field)
        if "type" in INPUT[name]:
            return INPUT[name]
        # Unique, because no name in a .proto file can have a hyphen.
        return self.components.reference(f"proto-{name}{_SUFFIX}", lambda: INPUT[name])

    def _names(self, enum: EnumDescriptor) -> Schema:
        names = [value.name for value in enum.values]
        has_aliases = len(names) > len({value.number for value in enum.values})
        wanted = enum.full_name + _SUFFIX if has_aliases else enum.full_name
        return self.components.reference(wanted, lambda: names_of_enum(enum, names))

    def _value(self, field: FieldDescriptor, keywords: Schema, *, checked: bool) -> Schema:
        schema = (
            self._scalar(field) if field.message_type is None else self.message(field.message_type, checked=checked)
        )
        return with_keywords(schema, keywords)

    def _field(self, field: JsonField, *, checked: bool) -> Schema:
        descriptor = field.descriptor
        value_type = descriptor.message_type
        checked = checked and not descriptor.is_extension
        ruled = checked and descriptor.has_options
        inner_checked = checked and not (ruled and ignores_messages(descriptor))
        own = field_keywords(descriptor) if ruled else {}
        schema: Schema
        if value_type is not None and value_type.GetOptions().map_entry:
            keys, values = entry_keywords(descriptor) if ruled else ({}, {})
            value = self._value(value_type.fields_by_name["value"], values, checked=inner_checked)
            schema = {"type": "object", "additionalProperties": value}
            pattern = key_pattern(value_type.fields_by_name["key"])
            if pattern is not None:
                schema["propertyNames"] = {"pattern": pattern}
            elif keys:
                schema["propertyNames"] = keys
        elif descriptor.is_repeated:
            items = item_keywords(descriptor) if ruled else {}
            schema = {"type": "array", "items": self._value(descriptor, items, checked=inner_checked)}
        else:
            schema = self._value(descriptor, {}, checked=inner_checked)
        if not descriptor.is_required or field.takes_null:
            schema = nullable(schema)
        if ruled and (words := described(descriptor)):
            schema = {**schema, "description": words}
        return with_keywords(schema, own)

    def _object(self, message: Descriptor, more: Schema | None = None, *, checked: bool = True) -> Schema:
        """The schema of a message without a JSON form of its own; `more` are required members beside its fields."""
        fields = json_fields(message)
        checked = checked and message.full_name in self._with_rules
        properties = {**(more or {}), **{field.json_name: self._field(field, checked=checked) for field in fields}}
        # The names of the .proto file are accepted too; here they are hidden from readers and code generators.
        aliases = {name: self._field(field, checked=checked) for field in fields for name in field.names[1:]}
        schema: Schema = {"type": "object", "properties": properties}
        rules: list[Schema] = []
        if aliases:
            rules.append({"properties": aliases, "propertyNames": {"enum": [*properties, *aliases]}})
        else:
            schema["additionalProperties"] = False
        schema |= hidden_from_generators(
            *rules,
            *_alias_rules(message),
            *_oneof_rules(message),
            *_required_rules(message, fields_to_set(message) if checked else frozenset()),
            *(_required_oneofs(message) if checked else ()),
        )
        if more:
            schema["required"] = [*more]
        else:
            example = self._examples.of(message)
            if example is not None:
                schema["examples"] = [example]
        return schema

    def _any(self) -> Schema:
        contents = [self._content(name, message) for name, message in sorted(self._types.items())]
        return {
            "description": "A message with its type: the members of the message, and `@type`, an URL that ends in its "
            "full name. A well-known type is the member `value`.",
            "type": "object",
            "additionalProperties": True,
            **hidden_from_generators({"anyOf": [{"maxProperties": 0}, *contents]}),
        }

    def _content(self, name: str, message: Descriptor) -> Schema:
        type_url: Schema = {"type": "string", "pattern": f"/{re.escape(name)}$"}
        if name in WELL_KNOWN:
            return {
                "type": "object",
                "properties": {"@type": type_url, "value": self.message(message, checked=False)},
                "required": ["@type", "value"],
                "additionalProperties": False,
            }
        return self._object(message, {"@type": type_url}, checked=False)


def _given(field: JsonField) -> list[Schema]:
    """One schema for each name of `field`, which accepts objects that have it under that name."""
    if field.takes_null:
        return [{"required": [name]} for name in field.names]
    return [{"required": [name], "properties": {name: {"not": {"type": "null"}}}} for name in field.names]


def _alias_rules(message: Descriptor) -> list[Schema]:
    both: list[Schema] = [{"required": [*field.names]} for field in json_fields(message) if len(field.names) > 1]
    return [{"not": any_of(both)}] if both else []


def _oneof_rules(message: Descriptor) -> list[Schema]:
    fields = {field.json_name: field for field in json_fields(message)}
    rules: list[Schema] = []
    for _, members in json_oneofs(message):
        shown = (fields[name] for name in members if name in fields)
        given = [any_of(_given(field)) for field in shown]
        rules.append({"oneOf": [{"not": any_of(given)}, *given]})
    return rules


def _required_rules(message: Descriptor, to_set: Collection[str]) -> list[Schema]:
    return [
        any_of(_given(field))
        for field in json_fields(message)
        if field.descriptor.is_required or (field.descriptor.name in to_set and not field.descriptor.is_extension)
    ]


def _required_oneofs(message: Descriptor) -> list[Schema]:
    fields = {field.descriptor.name: field for field in json_fields(message) if not field.descriptor.is_extension}
    return [any_of([each for name in names for each in _given(fields[name])]) for names in required_oneofs(message)]
