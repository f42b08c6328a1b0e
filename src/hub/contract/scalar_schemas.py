"""JSON Schema of single values, and of the well-known types that contain no other messages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from hub.contract import patterns, well_known
from hub.contract.patterns import whole
from hub.contract.scalars import (
    DOUBLE_MAX,
    FLOAT_MAX,
    INTEGER_RANGES,
    NOT_FINITE,
    QUOTED_DOUBLE,
    QUOTED_FLOAT,
    QUOTED_INTEGERS,
)

Schema: TypeAlias = dict[str, object]

_INTEGERS: Final = {
    FieldDescriptor.CPPTYPE_INT32: "int32",
    FieldDescriptor.CPPTYPE_UINT32: "uint32",
    FieldDescriptor.CPPTYPE_INT64: "int64",
    FieldDescriptor.CPPTYPE_UINT64: "uint64",
}


def _integer(cpp_type: int, name: str) -> Schema:
    low, high = INTEGER_RANGES[cpp_type]
    number: Schema = {"type": "integer", "minimum": low, "maximum": high}
    text: Schema = {"type": "string", "pattern": whole(QUOTED_INTEGERS[cpp_type])}
    if name.endswith("64"):
        return {
            "title": name,
            "description": "An integer of 64 bits, as a decimal string; a number is taken too, but many JSON tools "
            "round numbers above 2^53.",
            "anyOf": [text, number],
            "examples": ["0"],
        }
    description = "An integer of 32 bits; a decimal string is taken too."
    return {"title": name, "description": description, "anyOf": [number, text], "examples": [0]}


def _floating(name: str, limit: float, quoted: str) -> Schema:
    return {
        "title": name,
        "description": 'A number, or "NaN", "Infinity" or "-Infinity"; a number as a string is taken too.',
        "anyOf": [
            {"type": "number", "minimum": -limit, "maximum": limit},
            {"enum": [*NOT_FINITE]},
            {"type": "string", "pattern": whole(quoted)},
        ],
        "examples": [0],
    }


SCALARS: Final[Mapping[str, Schema]] = {
    **{name: _integer(cpp_type, name) for cpp_type, name in _INTEGERS.items()},
    "double": _floating("double", DOUBLE_MAX, QUOTED_DOUBLE),
    "float": _floating("float", FLOAT_MAX, QUOTED_FLOAT),
    "bool": {"type": "boolean"},
    "string": {"type": "string"},
    "bytes": {"type": "string", "pattern": whole(patterns.BASE64), "contentEncoding": "base64", "examples": ["aHVi"]},
}
"""Schemas of the scalar types by their names; those that have no `type` of their own are worth a component."""


def scalar_name(field: FieldDescriptor) -> str:
    """The key of `SCALARS` for a field that is neither a message nor an enum."""
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_DOUBLE:
            return "double"
        case FieldDescriptor.CPPTYPE_FLOAT:
            return "float"
        case FieldDescriptor.CPPTYPE_BOOL:
            return "bool"
        case FieldDescriptor.CPPTYPE_STRING:
            return "bytes" if field.type == FieldDescriptor.TYPE_BYTES else "string"
        case cpp_type:
            return _INTEGERS[cpp_type]


def enum_schema(enum: EnumDescriptor) -> Schema:
    """Names, and numbers: any of 32 bits where the enum is open, else those that have a name."""
    low, high = INTEGER_RANGES[FieldDescriptor.CPPTYPE_INT32]
    names = [value.name for value in enum.values]
    numbers: Schema = (
        {"enum": sorted({value.number for value in enum.values})}
        if enum.is_closed
        else {"type": "integer", "minimum": low, "maximum": high}
    )
    return {"title": enum.name, "anyOf": [{"enum": names}, numbers], "examples": [names[0]]}


def key_pattern(field: FieldDescriptor) -> str | None:
    """The pattern of the keys of a map; `None` for any string."""
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return None
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return whole("true|false")
    return whole(patterns.integer_key(*INTEGER_RANGES[field.cpp_type]))


def nullable(schema: Schema) -> Schema:
    """`schema`, or null."""
    kind = schema.get("type")
    return {**schema, "type": [kind, "null"]} if isinstance(kind, str) else {"anyOf": [schema, {"type": "null"}]}


def well_known_schema(message: Descriptor, ref: Callable[[Descriptor], Schema]) -> Schema:
    """The schema of a well-known type other than `Any` and the wrappers.

    Args:
        message: Its descriptor.
        ref: Gives a reference to the schema of a message.
    """
    values = message.file.message_types_by_name
    match message.full_name:
        case well_known.TIMESTAMP:
            return {
                "type": "string",
                "format": "date-time",
                "pattern": whole(patterns.TIMESTAMP),
                "description": "A time (RFC 3339) from the year 1 to the year 9999, to the nanosecond.",
                "examples": ["2026-01-31T12:00:00Z"],
            }
        case well_known.DURATION:
            return {
                "type": "string",
                "pattern": whole(patterns.DURATION),
                "description": "Seconds with up to nine digits after the point, and an `s`.",
                "examples": ["1.5s"],
            }
        case well_known.FIELD_MASK:
            return {
                "type": "string",
                "pattern": whole(patterns.FIELD_MASK),
                "description": "Paths of fields in lowerCamelCase, separated by commas.",
                "examples": ["user.displayName,photo"],
            }
        case well_known.STRUCT:
            return {"type": "object", "additionalProperties": ref(values["Value"])}
        case well_known.LIST_VALUE:
            return {"type": "array", "items": ref(values["Value"])}
        case _:
            return {
                "type": ["null", "boolean", "number", "string", "array", "object"],
                "minimum": -DOUBLE_MAX,
                "maximum": DOUBLE_MAX,
                "items": ref(message),
                "additionalProperties": ref(message),
                "description": "Any JSON value.",
            }
