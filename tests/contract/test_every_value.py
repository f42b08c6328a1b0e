"""Every kind of field against every odd value, in each place where the field can stand."""

from __future__ import annotations

import msgspec
import pytest
from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet
from jsonschema_rs import Draft202012Validator

from hub.contract import Transcoder, input_schema, output_schema
from hub.contract.descriptors.closure import files_of, messages_of
from hub.contract.descriptors.pool import build_pool
from hub.contract.protojson.conversion import JsonValue
from tests.contract.oracle import assert_judged_alike, assert_reads_back
from tests.contract.random_descriptors import KEY_TYPES, MANY, ONE, SCALAR_TYPES, WELL_KNOWN_FILES, WELL_KNOWN_MESSAGES
from tests.contract.random_values import ODD

KEYS = (
    "0", "-0", "00", "1", "-1", "+1", "1.0", "1e0", " 1", "1 ", "٣", "1_0", "", "true", "false", "True", "2147483647",
    "2147483648", "-2147483648", "-2147483649", "4294967295", "4294967296", "9223372036854775807",
    "9223372036854775808", "-9223372036854775808", "-9223372036854775809", "18446744073709551615",
    "18446744073709551616", "99999999999999999999999", "a/b~c", "1\n",
)  # fmt: skip
OPEN, CLOSED = ".open.Color", ".closed.Color"
KINDS = [
    *(pytest.param(kind, "", id=FieldDescriptorProto.Type.Name(kind)) for kind in SCALAR_TYPES),
    *(
        pytest.param(FieldDescriptorProto.TYPE_ENUM, name, id=name)
        for name in (OPEN, CLOSED, ".google.protobuf.NullValue")
    ),
    *(pytest.param(FieldDescriptorProto.TYPE_MESSAGE, f".{name}", id=name) for name in WELL_KNOWN_MESSAGES),
    pytest.param(FieldDescriptorProto.TYPE_MESSAGE, ".open.Holder", id="itself"),
]


def holder(
    kind: FieldDescriptorProto.Type.ValueType, type_name: str, key: int = FieldDescriptorProto.TYPE_STRING
) -> Descriptor:
    """A message with a field of the kind in every place."""
    closed = FileDescriptorProto(name="closed.proto", package="closed")
    file = FileDescriptorProto(name="open.proto", package="open", syntax="proto3")
    file.dependency.extend(["closed.proto", *(each.DESCRIPTOR.name for each in WELL_KNOWN_FILES)])
    for owner in (closed, file):
        enum = owner.enum_type.add(name="Color")
        for name, number in (("COLOR_UNSPECIFIED", 0), ("COLOR_RED", 1), ("COLOR_BELOW", -5)):
            enum.value.add(name=name, number=number)
    message = file.message_type.add(name="Holder")
    message.oneof_decl.add(name="choice")
    entry = message.nested_type.add(name="EntriesEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, label=ONE, type=FieldDescriptorProto.Type.ValueType(key))
    value = entry.field.add(name="value", number=2, label=ONE, type=kind)
    single = message.field.add(name="single_one", number=1, label=ONE, type=kind)
    many = message.field.add(name="many", number=2, label=MANY, type=kind)
    chosen = message.field.add(name="chosen", number=3, label=ONE, type=kind, oneof_index=0)
    message.field.add(name="other", number=4, label=ONE, type=FieldDescriptorProto.TYPE_STRING, oneof_index=0)
    if type_name:
        for field in (value, single, many, chosen):
            field.type_name = type_name
    if type_name == CLOSED:
        # proto3 cannot refer to a closed enum.
        file.ClearField("syntax")
    message.field.add(
        name="entries",
        number=5,
        label=MANY,
        type=FieldDescriptorProto.TYPE_MESSAGE,
        type_name=".open.Holder.EntriesEntry",
    )
    files = FileDescriptorSet(file=[closed, file])
    for well_known in WELL_KNOWN_FILES:
        well_known.DESCRIPTOR.CopyToProto(files.file.add())
    return build_pool(files).FindMessageTypeByName("open.Holder")


@pytest.mark.parametrize(("kind", "type_name"), KINDS)
def test_every_kind_of_field_is_judged_like_json_format_and_the_schema(
    kind: FieldDescriptorProto.Type.ValueType, type_name: str
) -> None:
    descriptor = holder(kind, type_name)
    transcoder = Transcoder(descriptor)
    schema = Draft202012Validator(input_schema(descriptor).standalone())
    for value in ODD:
        documents: list[JsonValue] = [
            value,
            {"singleOne": value},
            {"single_one": value, "singleOne": None},
            {"many": value},
            {"many": [value]},
            {"chosen": value, "other": "x"},
            {"entries": value},
            {"entries": {"k": value}},
        ]
        for document in documents:
            assert_judged_alike(transcoder, schema, msgspec.json.encode(document))


@pytest.mark.parametrize(("kind", "type_name"), KINDS)
def test_the_output_schema_accepts_at_every_path_only_possible_output(
    kind: FieldDescriptorProto.Type.ValueType, type_name: str
) -> None:
    descriptor = holder(kind, type_name)
    transcoder = Transcoder(descriptor)
    schema = Draft202012Validator(output_schema(descriptor).standalone())
    empty: dict[str, JsonValue] = msgspec.json.decode(transcoder.encode_json(b"", including_defaults=True))
    assert schema.is_valid(empty)
    # NullValue is written as null in lists and maps, and ProtoJSON does not read that.
    unreadable = {"many", "entries"} if type_name == ".google.protobuf.NullValue" else set[str]()
    taken = 0
    for value in ODD:
        members: list[dict[str, JsonValue]] = [
            {"singleOne": value},
            {"single_one": value},
            {"many": value},
            {"many": [value]},
            {"chosen": value},
            {"chosen": value, "other": "x"},
            {"entries": value},
            {"entries": {"k": value}},
        ]
        for member in members:
            document: JsonValue = {**empty, **member}
            if schema.is_valid(document) and unreadable.isdisjoint(member):
                taken += 1
                assert_reads_back(transcoder, document)
    assert taken


@pytest.mark.parametrize("key", [pytest.param(key, id=FieldDescriptorProto.Type.Name(key)) for key in KEY_TYPES])
def test_every_key_of_a_map_is_judged_like_json_format_and_the_schema(key: int) -> None:
    descriptor = holder(FieldDescriptorProto.TYPE_INT32, "", key)
    transcoder = Transcoder(descriptor)
    schema = Draft202012Validator(input_schema(descriptor).standalone())
    for text in KEYS:
        assert_judged_alike(transcoder, schema, msgspec.json.encode({"entries": {text: 1}}))


@pytest.mark.parametrize("name", WELL_KNOWN_MESSAGES)
def test_a_well_known_type_can_be_a_whole_document(name: str) -> None:
    whole = holder(FieldDescriptorProto.TYPE_MESSAGE, f".{name}")
    types = messages_of(files_of([whole]))
    descriptor = types[name]
    transcoder = Transcoder(descriptor, types)
    schema = Draft202012Validator(input_schema(descriptor, types).standalone())
    for value in ODD:
        assert_judged_alike(transcoder, schema, msgspec.json.encode(value))
