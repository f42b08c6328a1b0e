"""The published schema beyond what the random tests compare: names, references, and that it is a good schema."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import msgspec
import pytest
from google.protobuf import any_pb2
from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet
from hypothesis import given
from jsonschema_rs import Draft202012Validator, meta

from hub.contract import Components, MessageSchema, compile_contract, input_schema, output_schema
from hub.contract.jsonschema.example import example_of
from tests.contract.bounded import bounded
from tests.contract.random_descriptors import ONE, REQUIRED, descriptors
from tests.contract.test_contract import contract, shop
from tests.contract.test_transcoder import old_style

ORDER = compile_contract(contract(shop())).request


def references(schema: object) -> Iterator[str]:
    if isinstance(schema, dict):
        for name, value in schema.items():
            if name == "$ref" and isinstance(value, str):
                yield value
            else:
                yield from references(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from references(value)


@pytest.mark.parametrize("schema_of", [input_schema, output_schema])
def test_components_are_named_after_their_declarations_and_referred_to(
    schema_of: Callable[..., MessageSchema],
) -> None:
    components = Components("#/components/schemas/")
    schema = schema_of(ORDER, components=components)
    suffix = "-Input" if schema_of is input_schema else ""
    assert schema.root == {"$ref": f"#/components/schemas/shop.Order{suffix}"}
    names = {f"{name}{suffix}" for name in ("shop.Order", "shop.Item", "google.protobuf.Timestamp")}
    assert names | {"shop.Colour"} <= components.schemas.keys()
    used = {name.removeprefix("#/components/schemas/") for name in references([schema.root, components.schemas])}
    assert used == components.schemas.keys()
    # The names that OpenAPI 3.1 allows for components.
    assert all(re.fullmatch(r"[a-zA-Z0-9._-]+", name) for name in components.schemas)
    assert all(component["title"] == name for name, component in components.schemas.items())


@bounded
@given(descriptors())
def test_the_schemas_are_valid_and_need_no_look_around(descriptor: Descriptor) -> None:
    for schema in (input_schema(descriptor).standalone(), output_schema(descriptor).standalone()):
        meta.validate(schema)
        assert b"(?!" not in msgspec.json.encode(schema)
        assert b"(?=" not in msgspec.json.encode(schema)


def test_only_the_json_name_is_a_property() -> None:
    item = input_schema(ORDER).components.schemas["shop.Item-Input"]
    assert isinstance(item["properties"], dict)
    assert [*item["properties"]] == ["unitName", "colour"]


def test_the_schema_of_proto2_has_required_fields() -> None:
    loaded = compile_contract(contract(old_style(), "old.Old", "old.Extra"))
    schema = Draft202012Validator(input_schema(loaded.request).standalone())
    assert schema.is_valid({"id": 1, "[old.note]": "a"})
    assert not schema.is_valid({"id": None})
    assert not schema.is_valid({"id": 1, "part": [{}]})
    assert not schema.is_valid({"id": 1, "[old.notes]": "a"})
    assert not schema.is_valid({"id": 1, "[old.none]": "a"})


def test_an_any_accepts_the_messages_of_the_contract() -> None:
    files = shop()
    any_pb2.DESCRIPTOR.CopyToProto(files.file.add())
    files.file[0].dependency.append("google/protobuf/any.proto")
    details = files.file[0].message_type[0].field.add(name="details", number=9, label=ONE, type=11)
    details.type_name = ".google.protobuf.Any"
    loaded = compile_contract(contract(files))
    schema = Draft202012Validator(input_schema(loaded.request, loaded.types).standalone())
    good = {"details": {"@type": "x/shop.Receipt", "text": "a"}}
    assert schema.is_valid(good)
    assert loaded.request_transcoder.decode_json(msgspec.json.encode(good))
    assert not schema.is_valid({"details": {"@type": "x/shop.Receipt", "text": 1}})
    assert not schema.is_valid({"details": {"@type": "shop.Receipt"}})


@pytest.mark.parametrize("depth", [1, 9])
def test_the_example_shows_required_messages_at_any_depth(depth: int) -> None:
    file = FileDescriptorProto(name="deep.proto", package="deep")
    for index in range(depth + 1):
        message = file.message_type.add(name=f"Level{index}")
        field = message.field.add(name="next", number=1, label=REQUIRED, type=FieldDescriptorProto.TYPE_STRING)
        if index < depth:
            field.type, field.type_name = FieldDescriptorProto.TYPE_MESSAGE, f".deep.Level{index + 1}"
    loaded = compile_contract(contract(FileDescriptorSet(file=[file]), "deep.Level0", "deep.Level0"))
    assert loaded.request_transcoder.decode_json(msgspec.json.encode(example_of(loaded.request)))


def test_a_message_that_requires_itself_still_has_a_schema() -> None:
    file = FileDescriptorProto(name="self.proto", package="self")
    message = file.message_type.add(name="Self")
    message.field.add(name="me", number=1, label=REQUIRED, type=11, type_name=".self.Self")
    loaded = compile_contract(contract(FileDescriptorSet(file=[file]), "self.Self", "self.Self"))
    assert input_schema(loaded.request).components.schemas
