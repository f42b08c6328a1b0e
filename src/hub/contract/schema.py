"""JSON Schema (draft 2020-12, the dialect of OpenAPI 3.1) of messages.

A schema accepts the documents that `Transcoder` accepts, and no others. Four things are beyond what a schema can say,
because it sees values and not text: names given twice in one object, messages nested too deep, numbers that JSON cannot
carry, and text that is no JSON. `docs/protojson.md` says more.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final, final

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from hub.contract.closure import files_of, messages_of
from hub.contract.example import example_of
from hub.contract.fields import JsonField, json_fields, json_oneofs
from hub.contract.scalar_schemas import (
    SCALARS,
    Schema,
    enum_schema,
    key_pattern,
    nullable,
    scalar_name,
    well_known_schema,
)
from hub.contract.well_known import ANY, WELL_KNOWN, WRAPPERS

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


@dataclass(frozen=True, slots=True)
class MessageSchema:
    """The schema of one message.

    Attributes:
        root: A reference to the component of the message.
        components: Every component that the schema needs, by its name.
    """

    root: Schema
    components: Mapping[str, Schema]

    def standalone(self) -> Schema:
        """One schema document; for a schema that was made with the default `ref_prefix`."""
        return {"$schema": DIALECT, **self.root, "$defs": dict(self.components)}


def json_schema(
    message: Descriptor,
    types: Mapping[str, Descriptor] | None = None,
    *,
    ref_prefix: str = "#/$defs/",
    name_prefix: str = "",
) -> MessageSchema:
    """The schema of the JSON documents that `Transcoder(message, types)` reads.

    Args:
        message: The message.
        types: What an `Any` may hold; the same as for the transcoder.
        ref_prefix: What stands before the name of a component in a reference; `#/components/schemas/` for OpenAPI.
        name_prefix: What the name of each component starts with, so that those of several models can stand together.
            Letters, digits, `.`, `_` and `-` only.
    """
    known = messages_of(files_of([message])) if types is None else types
    schemas = _Schemas(known, ref_prefix, name_prefix)
    return MessageSchema(schemas.message(message), schemas.components)


@final
class _Schemas:
    def __init__(self, types: Mapping[str, Descriptor], ref_prefix: str, name_prefix: str) -> None:
        self.components: Final[dict[str, Schema]] = {}
        self._types = types
        self._ref_prefix = ref_prefix
        self._name_prefix = name_prefix

    def message(self, message: Descriptor) -> Schema:
        name = message.full_name
        if name in WRAPPERS:
            return self._component(name, lambda: self._scalar(message.fields_by_name["value"]))
        if name == ANY:
            return self._component(name, self._any)
        if name in WELL_KNOWN:
            return self._component(name, lambda: well_known_schema(message, self.message))
        return self._component(name, lambda: self._object(message))

    def _component(self, name: str, build: Callable[[], Schema]) -> Schema:
        """A reference to the component; built on first use, after its place is taken, because it may need itself."""
        full = self._name_prefix + name
        if full not in self.components:
            self.components[full] = {}
            self.components[full] = build()
        return {"$ref": self._ref_prefix + full}

    def _scalar(self, field: FieldDescriptor) -> Schema:
        enum: EnumDescriptor | None = field.enum_type
        if enum is not None:
            return self._component(enum.full_name, lambda: enum_schema(enum))
        name = scalar_name(field)
        # No declaration of a .proto file can have a name with a hyphen.
        return SCALARS[name] if "type" in SCALARS[name] else self._component(f"proto-{name}", lambda: SCALARS[name])

    def _value(self, field: FieldDescriptor) -> Schema:
        return self._scalar(field) if field.message_type is None else self.message(field.message_type)

    def _field(self, field: JsonField) -> Schema:
        descriptor = field.descriptor
        value_type = descriptor.message_type
        schema: Schema
        if value_type is not None and value_type.GetOptions().map_entry:
            schema = {"type": "object", "additionalProperties": self._value(value_type.fields_by_name["value"])}
            pattern = key_pattern(value_type.fields_by_name["key"])
            if pattern is not None:
                schema["propertyNames"] = {"pattern": pattern}
        elif descriptor.is_repeated:
            schema = {"type": "array", "items": self._value(descriptor)}
        else:
            schema = self._value(descriptor)
        return schema if descriptor.is_required and not field.takes_null else nullable(schema)

    def _object(self, message: Descriptor, more: Schema | None = None) -> Schema:
        """The schema of a message without a form of its own; `more` are required members beside its fields."""
        fields = json_fields(message)
        schema: Schema = {
            "type": "object",
            "title": message.name,
            "properties": {**(more or {}), **{field.json_name: self._field(field) for field in fields}},
            "additionalProperties": False,
        }
        # The names of the .proto file are read too; here they stay out of the way of people and code generators.
        aliases = {f"^{re.escape(name)}$": self._field(field) for field in fields for name in field.names[1:]}
        if aliases:
            schema["patternProperties"] = aliases
        rules = [*_alias_rules(message), *_oneof_rules(message), *_required_rules(message)]
        if rules:
            schema["allOf"] = rules
        if more:
            schema["required"] = [*more]
        else:
            schema["examples"] = [example_of(message)]
        return schema

    def _any(self) -> Schema:
        choices: list[Schema] = [{"type": "object", "maxProperties": 0}]
        for name, message in sorted(self._types.items()):
            choices.append(self._component(f"{name}-in-any", partial(self._held, name, message)))
        return {
            "title": "Any",
            "description": "A message with its type: the members of the message, and `@type`, an URL that ends in its "
            "full name. A well-known type stands in `value`.",
            "anyOf": choices,
        }

    def _held(self, name: str, message: Descriptor) -> Schema:
        type_url: Schema = {"type": "string", "pattern": f"/{re.escape(name)}$"}
        if name in WELL_KNOWN:
            return {
                "type": "object",
                "properties": {"@type": type_url, "value": self.message(message)},
                "required": ["@type", "value"],
                "additionalProperties": False,
            }
        return self._object(message, {"@type": type_url})


def _given(field: JsonField) -> list[Schema]:
    """One schema for each name of `field`, for objects that have it under that name."""
    if field.takes_null:
        return [{"required": [name]} for name in field.names]
    return [{"required": [name], "properties": {name: {"not": {"type": "null"}}}} for name in field.names]


def _alias_rules(message: Descriptor) -> list[Schema]:
    both: list[Schema] = [{"required": [*field.names]} for field in json_fields(message) if len(field.names) > 1]
    return [{"not": {"anyOf": both}}] if both else []


def _oneof_rules(message: Descriptor) -> list[Schema]:
    fields = {field.json_name: field for field in json_fields(message)}
    rules: list[Schema] = []
    for _, members in json_oneofs(message):
        given: list[Schema] = [{"anyOf": _given(field)} for field in fields.values() if field.json_name in members]
        rules.append({"oneOf": [{"not": {"anyOf": given}}, *given]})
    return rules


def _required_rules(message: Descriptor) -> list[Schema]:
    return [{"anyOf": _given(field)} for field in json_fields(message) if field.descriptor.is_required]
