"""Comments beside a contract: bounded, in the schema, in printed files, and never in the fingerprint."""

from __future__ import annotations

from typing import Any, cast

from google.protobuf.descriptor_pb2 import FileDescriptorProto
from jsonschema_rs import meta

from hub.contract import Components, Contract, compile_contract, input_schema, output_schema
from hub.contract.comments import MAX_COMMENT, MAX_COMMENTS, bounded, comments_of, size_of
from hub.contract.jsonschema.comments import describe
from hub.contract.source import proto_source
from tests.contract.test_contract import contract, shop

COMMENTS = {
    "shop.Order": "An order.",
    "shop.Item.unit_name": "The name of\nthe unit.",
    "shop.Colour": "A colour.",
    "shop.Colour.COLOUR_RED": "As a\nrose.",
    "shop/api.proto": "The API.",
}


def test_comments_are_read_from_source_info() -> None:
    api = next(file for file in shop().file if file.name == "shop/api.proto")
    file = FileDescriptorProto()
    file.CopyFrom(api)
    for path, text in (([4, 0], " An order.\n"), ([4, 0, 2, 0], " Its items.\n buf:lint:ignore X\n"), ([2], " API.\n")):
        file.source_code_info.location.add(path=path, span=[1, 2, 3], leading_comments=text)
    assert comments_of(file) == {
        "shop/api.proto": "API.",
        f"shop.{api.message_type[0].name}": "An order.",
        f"shop.{api.message_type[0].name}.{api.message_type[0].field[0].name}": "Its items.",
    }


def test_comments_are_bounded() -> None:
    kept = dict(bounded({f"a.Name{number}": "x" * 5000 for number in range(100)}))
    assert 0 < size_of(kept) <= MAX_COMMENTS
    assert {len(text) for text in kept.values()} == {MAX_COMMENT}


def test_comments_are_descriptions_in_the_schema() -> None:
    compiled = compile_contract(contract(shop()))
    components = Components()
    for schema_of in (input_schema, output_schema):
        schema_of(compiled.request, compiled.types, components)
    describe(components, compiled.types, COMMENTS)
    schemas = cast("dict[str, Any]", components.schemas)
    for suffix in ("", "-Input"):
        assert schemas[f"shop.Order{suffix}"]["description"] == "An order."
        assert schemas[f"shop.Item{suffix}"]["properties"]["unitName"]["description"] == "The name of\nthe unit."
    assert schemas["shop.Colour"]["description"] == "A colour.\n\n* `COLOUR_RED`: As a rose."
    for schema in schemas.values():
        meta.validate(schema)


def test_a_field_with_a_comment_does_not_describe_others_of_its_type() -> None:
    before = input_schema(compile_contract(contract(shop())).request).components
    compiled = compile_contract(contract(shop()))
    components = input_schema(compiled.request, compiled.types).components
    describe(components, compiled.types, {"shop.Item.unit_name": "The name."})
    after = input_schema(compile_contract(contract(shop())).request).components
    assert after.schemas == before.schemas


def test_comments_are_in_printed_files_only() -> None:
    shown: Contract = contract(shop())
    texts = proto_source(shown, COMMENTS)
    assert texts["shop/api.proto"].startswith("// The API.\nsyntax")
    assert "// An order.\nmessage Order {" in texts["shop/api.proto"]
    assert "  // The name of\n  // the unit.\n  string unit_name" in texts["shop/common.proto"]
    assert "  // As a\n  // rose.\n  COLOUR_RED" in texts["shop/common.proto"]
    assert "//" not in "".join(proto_source(shown).values())
