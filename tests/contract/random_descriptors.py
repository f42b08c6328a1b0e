"""Random message types: every kind of field, in the three syntaxes of protobuf."""

from __future__ import annotations

from google.protobuf import (
    any_pb2,
    duration_pb2,
    empty_pb2,
    field_mask_pb2,
    struct_pb2,
    timestamp_pb2,
    wrappers_pb2,
)
from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    Edition,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)
from hypothesis import strategies as st

from hub.contract.descriptors.pool import build_pool

WELL_KNOWN_FILES = (any_pb2, duration_pb2, empty_pb2, field_mask_pb2, struct_pb2, timestamp_pb2, wrappers_pb2)
WELL_KNOWN_MESSAGES = sorted(
    message.full_name
    for file in WELL_KNOWN_FILES
    for message in file.DESCRIPTOR.message_types_by_name.values()
    if message.full_name != "google.protobuf.Struct.FieldsEntry"
)
NAMES = (
    "class", "from", "type", "properties", "items", "required", "pattern", "enum", "value", "self", "None", "ref",
    "foo_bar", "foo_baz_2", "_private", "HTTPPort", "x", "y", "z", "not", "title",
)  # fmt: skip
JSON_NAMES = ("$ref", "a/b~c", "a b", "äöü", "$defs", "additionalProperties", "")
KEY_TYPES = tuple(
    FieldDescriptorProto.Type.Value(f"TYPE_{name}")
    for name in (
        "INT32", "INT64", "UINT32", "UINT64", "SINT32", "SINT64",
        "FIXED32", "FIXED64", "SFIXED32", "SFIXED64", "BOOL", "STRING",
    )
)  # fmt: skip
SCALAR_TYPES = (
    *KEY_TYPES,
    FieldDescriptorProto.TYPE_DOUBLE,
    FieldDescriptorProto.TYPE_FLOAT,
    FieldDescriptorProto.TYPE_BYTES,
)
ONE = FieldDescriptorProto.LABEL_OPTIONAL
MANY = FieldDescriptorProto.LABEL_REPEATED
REQUIRED = FieldDescriptorProto.LABEL_REQUIRED


@st.composite
def descriptors(draw: st.DrawFn) -> Descriptor:
    """A message type in a pool of its own that holds the well-known types too."""
    file = FileDescriptorProto(name="random.proto", package="random.v1")
    syntax = draw(st.sampled_from(("proto2", "proto3", "editions")))
    if syntax != "proto2":
        file.syntax = syntax
    if syntax == "editions":
        file.edition = Edition.EDITION_2023
    for well_known in WELL_KNOWN_FILES:
        file.dependency.append(well_known.DESCRIPTOR.name)
    enum = file.enum_type.add(name="Color")
    enum.value.add(name="COLOR_UNSPECIFIED", number=0)
    enum.value.add(name="COLOR_RED", number=1)
    enum.value.add(name="COLOR_CRIMSON", number=1)
    enum.value.add(name="COLOR_BELOW", number=-5)
    enum.options.allow_alias = True
    count = draw(st.integers(1, 3))
    for index in range(count):
        _fields(draw, file.message_type.add(name=f"Message{index}"), syntax, count)
    files = FileDescriptorSet(file=[file])
    for well_known in WELL_KNOWN_FILES:
        well_known.DESCRIPTOR.CopyToProto(files.file.add())
    return build_pool(files).FindMessageTypeByName("random.v1.Message0")


def _fields(draw: st.DrawFn, message: DescriptorProto, syntax: str, messages: int) -> None:
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=6, unique=True))
    json_names = draw(st.permutations(JSON_NAMES))
    for number, name in enumerate(names, start=1):
        field = message.field.add(name=name, number=number, label=ONE)
        _type(draw, field, messages)
        if draw(st.integers(0, 4)) == 0 and json_names[number % len(JSON_NAMES)]:
            field.json_name = json_names[number % len(JSON_NAMES)]
        shape = draw(st.sampled_from(("single", "single", "optional", "repeated", "map", "oneof", "oneof", "required")))
        if shape == "repeated":
            field.label = MANY
        elif shape == "map":
            _map(draw, message, field)
        elif shape == "oneof":
            if not message.oneof_decl:
                message.oneof_decl.add(name="choice")
            field.oneof_index = 0
        elif shape == "required" and syntax == "proto2" and field.type != FieldDescriptorProto.TYPE_MESSAGE:
            field.label = REQUIRED
    if syntax == "proto3":
        _make_optional(draw, message)


def _type(draw: st.DrawFn, field: FieldDescriptorProto, messages: int) -> None:
    kind = draw(st.sampled_from(("scalar", "scalar", "enum", "null", "message", "well-known", "well-known")))
    if kind == "scalar":
        field.type = draw(st.sampled_from(SCALAR_TYPES))
    elif kind == "enum":
        field.type, field.type_name = FieldDescriptorProto.TYPE_ENUM, ".random.v1.Color"
    elif kind == "null":
        field.type, field.type_name = FieldDescriptorProto.TYPE_ENUM, ".google.protobuf.NullValue"
    else:
        field.type = FieldDescriptorProto.TYPE_MESSAGE
        own = f"random.v1.Message{draw(st.integers(0, messages - 1))}"
        field.type_name = "." + (own if kind == "message" else draw(st.sampled_from(WELL_KNOWN_MESSAGES)))


def _map(draw: st.DrawFn, message: DescriptorProto, field: FieldDescriptorProto) -> None:
    entry = message.nested_type.add(name=entry_name(field.name))
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, label=ONE, type=draw(st.sampled_from(KEY_TYPES)))
    value = entry.field.add(name="value", number=2, label=ONE, type=field.type)
    if field.type_name:
        value.type_name = field.type_name
    field.label = MANY
    field.type, field.type_name = FieldDescriptorProto.TYPE_MESSAGE, f".random.v1.{message.name}.{entry.name}"


def entry_name(name: str) -> str:
    """As protoc names the entries of a map."""
    return "".join(part[:1].upper() + part[1:] for part in name.split("_")) + "Entry"


def _make_optional(draw: st.DrawFn, message: DescriptorProto) -> None:
    for field in message.field:
        if field.label == ONE and not field.HasField("oneof_index") and draw(st.booleans()):
            field.oneof_index = len(message.oneof_decl)
            field.proto3_optional = True
            message.oneof_decl.add(name=oneof_of_optional(field.name))


def oneof_of_optional(name: str) -> str:
    """As protoc names the oneof that it invents for an `optional` field."""
    return f"X{name}" if name.startswith("_") else f"_{name}"
