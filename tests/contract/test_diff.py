"""What two contracts differ in, as the registry tells it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet

from hub.contract import DifferenceKind, diff
from tests.contract.random_descriptors import MANY, ONE
from tests.contract.test_contract import DIGITS, changed, contract, shop

Change = Callable[[FileDescriptorProto, FileDescriptorProto], object]


def test_equal_contracts_do_not_differ() -> None:
    assert not diff(DIGITS, DIGITS)


def json_name(_: FileDescriptorProto, common: FileDescriptorProto) -> None:
    common.message_type[0].field[0].json_name = "label"


def to_map(api: FileDescriptorProto, _: FileDescriptorProto) -> None:
    entry = api.message_type[1].nested_type.add(name="TextEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, label=ONE, type=FieldDescriptorProto.TYPE_STRING)
    entry.field.add(name="value", number=2, label=ONE, type=FieldDescriptorProto.TYPE_DOUBLE)
    text = api.message_type[1].field[0]
    text.label, text.type, text.type_name = MANY, FieldDescriptorProto.TYPE_MESSAGE, ".shop.Receipt.TextEntry"


def optional(api: FileDescriptorProto, _: FileDescriptorProto) -> None:
    receipt = api.message_type[1]
    receipt.oneof_decl.add(name="_text")
    receipt.field[0].oneof_index, receipt.field[0].proto3_optional = 0, True


@pytest.mark.parametrize(
    ("change", "path", "kind", "words"),
    [
        pytest.param(
            lambda api, _: api.message_type[1].field.add(name="sum", number=7, label=ONE, type=1),
            "shop.Receipt.sum", DifferenceKind.FIELD_ADDED, "field 'sum' (double, number 7) is new in shop.Receipt", id="added",
        ),
        pytest.param(
            lambda api, _: api.message_type[0].field.pop(1),
            "shop.Order.at", DifferenceKind.FIELD_REMOVED, "is gone from shop.Order", id="removed",
        ),
        pytest.param(
            lambda api, _: setattr(api.message_type[0].field[0], "number", 9),
            "shop.Order.items", DifferenceKind.FIELD_NUMBER, "has number 9, not 1", id="number",
        ),
        pytest.param(
            lambda api, _: setattr(api.message_type[0].field[2], "name", "credit"),
            "shop.Order.card", DifferenceKind.FIELD_RENAMED, "is called 'credit', not 'card'", id="renamed",
        ),
        pytest.param(
            lambda api, _: setattr(api.message_type[1].field[0], "type", FieldDescriptorProto.TYPE_BYTES),
            "shop.Receipt.text", DifferenceKind.FIELD_TYPE, "is a bytes, not string", id="type",
        ),
        pytest.param(
            to_map, "shop.Receipt.text", DifferenceKind.FIELD_TYPE, "is a map<string, double>, not string", id="map",
        ),
        pytest.param(
            lambda api, _: setattr(api.message_type[1].field[0], "label", MANY),
            "shop.Receipt.text", DifferenceKind.FIELD_LABEL, "is repeated, not without presence", id="repeated",
        ),
        pytest.param(
            optional, "shop.Receipt.text", DifferenceKind.FIELD_LABEL, "is optional, not without presence", id="presence",
        ),
        pytest.param(
            json_name, "shop.Item.unit_name", DifferenceKind.FIELD_JSON_NAME, "is 'label' in JSON, not 'unitName'", id="json name",
        ),
        pytest.param(
            lambda api, _: api.message_type[0].field[2].ClearField("oneof_index"),
            "shop.Order.card", DifferenceKind.FIELD_ONEOF, "is a member of no oneof, not payer", id="oneof",
        ),
        pytest.param(
            lambda _, common: common.enum_type[0].value.add(name="COLOUR_BLUE", number=2),
            "shop.Colour.COLOUR_BLUE", DifferenceKind.ENUM_VALUE_ADDED, "= 2 is new", id="enum value",
        ),
        pytest.param(
            lambda _, common: setattr(common.enum_type[0].value[1], "number", 5),
            "shop.Colour.COLOUR_RED", DifferenceKind.ENUM_VALUE_NUMBER, "has number 5, not 1", id="enum number",
        ),
    ],
)  # fmt: skip
def test_a_difference_has_a_path_and_both_sides(change: Change, path: str, kind: DifferenceKind, words: str) -> None:
    found = {
        (difference.path, difference.kind): difference.message for difference in diff(contract(shop()), changed(change))
    }
    assert words in found[path, kind]


def test_another_request_message_is_reported_and_compared() -> None:
    files = FileDescriptorSet()
    files.CopyFrom(shop())
    files.file[0].message_type[0].name = "Purchase"
    files.file[0].message_type[0].field[1].name = "when"
    found = [
        (difference.path, difference.kind) for difference in diff(contract(shop()), contract(files, "shop.Purchase"))
    ]
    assert found == [("request", DifferenceKind.MESSAGE_RENAMED), ("shop.Order.at", DifferenceKind.FIELD_RENAMED)]


def test_contracts_without_common_messages_differ() -> None:
    paths = {difference.path for difference in diff(DIGITS, contract(shop()))}
    assert {"request", "response", "shop.Item", "shop.Colour"} <= paths


def test_the_list_is_never_empty_when_fingerprints_differ() -> None:
    files = shop()
    files.file[1].name = "other/common.proto"
    files.file[0].dependency[0] = "other/common.proto"
    (difference,) = diff(contract(shop()), contract(files))
    assert difference.kind == DifferenceKind.DECLARATION
