"""JSON Schema of single values, and of the well-known types that contain no other messages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias, cast

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from hub.contract import patterns
from hub.contract.descriptors import well_known
from hub.contract.patterns import whole
from hub.contract.protojson.scalar_parser import (
    DOUBLE_MAX,
    FLOAT_MAX,
    INTEGER_RANGES,
    NON_FINITE_NUMBERS,
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


def _bounded(cpp_type: int) -> Schema:
    low, high = INTEGER_RANGES[cpp_type]
    return {"type": "integer", "minimum": low, "maximum": high}


def _input_integer(cpp_type: int, name: str) -> Schema:
    text: Schema = {"type": "string", "pattern": whole(QUOTED_INTEGERS[cpp_type])}
    if name.endswith("64"):
        return {
            "description": "An integer of 64 bits, as a decimal string. A number is accepted too, but many JSON tools "
            "round numbers above 2^53.",
            "anyOf": [text, _bounded(cpp_type)],
            "examples": ["0"],
        }
    description = "An integer of 32 bits. A decimal string is accepted too."
    return {"description": description, "anyOf": [_bounded(cpp_type), text], "examples": [0]}


def _input_floating(limit: float, quoted: str) -> Schema:
    return {
        "description": 'A number, or "NaN", "Infinity" or "-Infinity". A number as a string is accepted too.',
        "anyOf": [
            {"type": "number", "minimum": -limit, "maximum": limit},
            {"type": "string", "pattern": whole(f"{'|'.join(NON_FINITE_NUMBERS)}|{quoted}")},
        ],
        "examples": [0],
    }


_PLAIN: Final[Mapping[str, Schema]] = {"bool": {"type": "boolean"}, "string": {"type": "string"}}

INPUT: Final[Mapping[str, Schema]] = {
    **_PLAIN,
    **{name: _input_integer(cpp_type, name) for cpp_type, name in _INTEGERS.items()},
    "double": _input_floating(DOUBLE_MAX, QUOTED_DOUBLE),
    "float": _input_floating(FLOAT_MAX, QUOTED_FLOAT),
    "bytes": {"type": "string", "pattern": whole(patterns.BASE64), "contentEncoding": "base64", "examples": ["aHVi"]},
}
"""The input of scalar types, by their names; those without a `type` become a component."""

OUTPUT: Final[Mapping[str, Schema]] = {
    **_PLAIN,
    **{name: _bounded(cpp_type) for cpp_type, name in _INTEGERS.items() if name.endswith("32")},
    **{
        name: {
            "description": "An integer of 64 bits, as a decimal string: a JSON number would lose digits above 2^53.",
            "type": "string",
            "pattern": whole(patterns.integer_key(*INTEGER_RANGES[cpp_type])),
            "examples": ["0"],
        }
        for cpp_type, name in _INTEGERS.items()
        if name.endswith("64")
    },
    "double": {"type": "number", "minimum": -DOUBLE_MAX, "maximum": DOUBLE_MAX},
    "float": {"type": "number", "minimum": -FLOAT_MAX, "maximum": FLOAT_MAX},
    "bytes": {"type": "string", "pattern": whole(patterns.WRITTEN_BASE64), "contentEncoding": "base64"},
}
"""The output of scalar types, by their names; for `double` and `float` the finite values."""

NON_FINITE: Final[Schema] = {
    "description": "A number that has no JSON form.",
    "type": "string",
    "enum": [*NON_FINITE_NUMBERS],
}


def scalar_name(field: FieldDescriptor) -> str:
    """The key of `INPUT` and `OUTPUT` for a field of a scalar type."""
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


def number_of_enum(enum: EnumDescriptor) -> Schema:
    """The numbers that are accepted beside the names: all of 32 bits for an open enum, else those with a name."""
    if enum.is_closed:
        return {"type": "integer", "enum": sorted({value.number for value in enum.values})}
    return _bounded(FieldDescriptor.CPPTYPE_INT32)


def names_of_enum(enum: EnumDescriptor, names: Sequence[str]) -> Schema:
    return {"type": "string", "enum": [*names], "examples": [enum.values[0].name]}


def key_pattern(field: FieldDescriptor) -> str | None:
    """The pattern of the keys of a map; `None` for any string."""
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return None
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return whole("true|false")
    return whole(patterns.integer_key(*INTEGER_RANGES[field.cpp_type]))


def nullable(schema: Schema) -> Schema:
    """`schema`, or null."""
    null: Schema = {"type": "null"}
    kind, choices = schema.get("type"), schema.get("anyOf")
    if isinstance(kind, str):
        return {**schema, "type": [kind, "null"]}
    if isinstance(choices, list):
        return {**schema, "anyOf": [*cast("list[Schema]", choices), null]}  # `anyOf` holds schemas
    return {"anyOf": [schema, null]}


def well_known_schema(message: Descriptor, ref: Callable[[Descriptor], Schema], *, output: bool) -> Schema:
    """The schema of a well-known type other than `Any` and the wrappers.

    Args:
        message: Its descriptor.
        ref: Returns a reference to the schema of a message.
        output: Whether it is the schema of output, which is stricter than that of input.
    """
    values = message.file.message_types_by_name
    match message.full_name:
        case well_known.TIMESTAMP:
            return {
                "type": "string",
                "format": "date-time",
                "pattern": whole(patterns.WRITTEN_TIMESTAMP if output else patterns.TIMESTAMP),
                "description": "A time (RFC 3339) from the year 1 to the year 9999, to the nanosecond.",
                "examples": ["2026-01-31T12:00:00Z"],
            }
        case well_known.DURATION:
            return {
                "type": "string",
                "pattern": whole(patterns.WRITTEN_DURATION if output else patterns.DURATION),
                "description": "Seconds with up to nine digits after the point, and an `s`.",
                "examples": ["1.500s" if output else "1.5s"],
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
            nested = ref(message)
            return {
                "description": "Any JSON value.",
                "not": {
                    "anyOf": [
                        {"type": "number", "exclusiveMinimum": DOUBLE_MAX},
                        {"type": "number", "exclusiveMaximum": -DOUBLE_MAX},
                        {"type": "array", "contains": {"not": nested}},
                        {"type": "object", "not": {"additionalProperties": nested}},
                    ]
                },
            }
