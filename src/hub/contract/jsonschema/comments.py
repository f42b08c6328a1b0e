"""Comments of the `.proto` files as descriptions in a schema."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import cast

from google.protobuf.descriptor import Descriptor, EnumDescriptor

from hub.contract.descriptors.fields import json_fields
from hub.contract.jsonschema.components import Components
from hub.contract.jsonschema.scalars import Schema


def describe(components: Components, types: Mapping[str, Descriptor], comments: Mapping[str, str]) -> None:
    """Adds the comments on messages, fields, enums and values to the components that are about them.

    Args:
        components: The schemas; changed in place.
        types: The messages by full name.
        comments: Comments by full name; see `hub.contract.comments`.
    """
    if not comments:
        return
    enums = {enum.full_name: enum for message in types.values() for enum in _enums(message)}
    for name, schema in components.schemas.items():
        declared = name.partition("-")[0]
        message = types.get(declared)
        enum = enums.get(declared)
        if message is not None:
            _add(schema, comments.get(declared, ""))
            _describe_fields(schema, message, comments)
        elif enum is not None:
            _add(schema, "\n\n".join(_of_enum(enum, comments)))


def _describe_fields(schema: Schema, message: Descriptor, comments: Mapping[str, str]) -> None:
    if "properties" not in schema:  # a well-known type
        return
    properties = cast("dict[str, Schema]", schema["properties"])  # as `input_schema` and `output_schema` make them
    for field in json_fields(message):
        text = comments.get(field.descriptor.full_name, "")
        if text and field.json_name in properties:
            described = dict(properties[field.json_name])  # several fields may share a schema
            _add(described, text)
            properties[field.json_name] = described


def _add(schema: Schema, text: str) -> None:
    if text:
        before = schema.get("description", "")
        schema["description"] = f"{text}\n\n{before}" if before else text


def _of_enum(enum: EnumDescriptor, comments: Mapping[str, str]) -> Iterator[str]:
    if text := comments.get(enum.full_name):
        yield text
    values = [(value.name, comments.get(f"{enum.full_name}.{value.name}", "")) for value in enum.values]
    listed = "\n".join(f"* `{name}`: {' '.join(text.split())}" for name, text in values if text)
    if listed:
        yield listed


def _enums(message: Descriptor) -> Iterator[EnumDescriptor]:
    for field in json_fields(message):
        if field.descriptor.enum_type is not None:
            yield field.descriptor.enum_type
        value_type = field.descriptor.message_type
        if value_type is not None and value_type.GetOptions().map_entry:
            value = value_type.fields_by_name["value"]
            if value.enum_type is not None:
                yield value.enum_type
