"""Contracts as values: their fingerprints, and invalid ones."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import pytest
from google.protobuf import any_pb2, struct_pb2, timestamp_pb2
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet, MethodOptions
from google.protobuf.descriptor_pool import Default
from hypothesis import given, strategies as st

from examples.digits.v1 import digits_pb2
from hub.contract import Contract, InvalidContract, compile_contract, input_schema
from hub.contract.contract import MAX_BYTES
from hub.contract.descriptors.canonical import default_json_name
from hub.contract.descriptors.limits import MAX_DECLARATION_NESTING, MAX_FILES
from hub.v1 import contract_pb2
from tests.contract.bounded import bounded
from tests.contract.random_descriptors import MANY, ONE

DIGITS = Contract.from_descriptors(digits_pb2.DigitsRequest.DESCRIPTOR, digits_pb2.DigitsResponse.DESCRIPTOR)
STRING = FieldDescriptorProto.TYPE_STRING
MESSAGE = FieldDescriptorProto.TYPE_MESSAGE


def shop() -> FileDescriptorSet:
    """Two files: a request that uses an item of the other file and a timestamp, a response, and a bystander."""
    common = FileDescriptorProto(name="shop/common.proto", package="shop", syntax="proto3")
    item = common.message_type.add(name="Item")
    item.field.add(name="unit_name", number=1, label=ONE, type=STRING)
    colour = common.enum_type.add(name="Colour")
    colour.value.add(name="COLOUR_UNSPECIFIED", number=0)
    colour.value.add(name="COLOUR_RED", number=1)
    item.field.add(name="colour", number=2, label=ONE, type=FieldDescriptorProto.TYPE_ENUM, type_name=".shop.Colour")
    api = FileDescriptorProto(name="shop/api.proto", package="shop", syntax="proto3")
    api.dependency.extend(["shop/common.proto", "google/protobuf/timestamp.proto"])
    order = api.message_type.add(name="Order")
    order.oneof_decl.add(name="payer")
    order.field.add(name="items", number=1, label=MANY, type=MESSAGE, type_name=".shop.Item")
    order.field.add(name="at", number=2, label=ONE, type=MESSAGE, type_name=".google.protobuf.Timestamp")
    order.field.add(name="card", number=3, label=ONE, type=STRING, oneof_index=0)
    order.field.add(name="cash", number=4, label=ONE, type=FieldDescriptorProto.TYPE_INT64, oneof_index=0)
    api.message_type.add(name="Receipt").field.add(name="text", number=1, label=ONE, type=STRING)
    files = FileDescriptorSet(file=[api, common])
    timestamp_pb2.DESCRIPTOR.CopyToProto(files.file.add())
    return files


def contract(files: FileDescriptorSet, request: str = "shop.Order", response: str = "shop.Receipt") -> Contract:
    message = contract_pb2.Contract(request=request, response=response, files=files)
    return Contract.decode(message.SerializeToString())


def changed(change: Callable[[FileDescriptorProto, FileDescriptorProto], object]) -> Contract:
    files = shop()
    change(files.file[0], files.file[1])
    return contract(files)


def test_the_fingerprint_never_changes() -> None:
    # Registries and instances of different releases compare it. If this fails, the wire contract has changed.
    assert DIGITS.fingerprint == "b67729f06ac0bbfc5ea59375224bf039925c5163e953946c9544786c8b85ae56"


def test_the_fingerprint_does_not_depend_on_the_implementation_of_protobuf() -> None:
    code = (
        "from examples.digits.v1.digits_pb2 import DigitsRequest, DigitsResponse; from hub.contract import Contract;"
        "contract = Contract.from_descriptors(DigitsRequest.DESCRIPTOR, DigitsResponse.DESCRIPTOR);"
        "print(contract.fingerprint, end='')"
    )
    environment = {**os.environ, "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "python"}
    printed = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True, timeout=60)
    assert printed.stdout.decode() == DIGITS.fingerprint


def test_a_contract_survives_encoding() -> None:
    assert Contract.decode(DIGITS.encode()) == DIGITS


def test_a_streaming_contract_has_a_fingerprint_of_its_own_that_never_changes() -> None:
    streaming = Contract.from_descriptors(
        digits_pb2.DigitsRequest.DESCRIPTOR, digits_pb2.DigitsResponse.DESCRIPTOR, streaming=True
    )
    assert streaming.fingerprint == "597f0362e176eacdd86859a95b732f960bf78e83b770f1aa777327c1769b9311"
    assert streaming.files == DIGITS.files
    assert Contract.decode(streaming.encode()) == streaming


def test_generated_code_and_a_private_pool_give_the_same_contract() -> None:
    loaded = compile_contract(DIGITS)
    assert loaded.pool is not Default()
    assert loaded.request is not digits_pb2.DigitsRequest.DESCRIPTOR
    assert Contract.from_descriptors(loaded.request, loaded.response) == DIGITS


def test_the_order_of_files_does_not_matter() -> None:
    files = shop()
    assert contract(FileDescriptorSet(file=reversed(files.file))) == contract(files)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda api, _: api.source_code_info.location.add(leading_comments="why"), id="comment"),
        pytest.param(lambda api, _: setattr(api.options, "go_package", "example/shop"), id="option of a generator"),
        pytest.param(lambda api, _: api.message_type[0].field.reverse(), id="order of fields"),
        pytest.param(lambda api, _: api.message_type.reverse(), id="order of messages"),
        pytest.param(lambda api, _: api.message_type.add(name="Bystander"), id="a message without references"),
        pytest.param(lambda api, _: api.enum_type.add(name="Alone").value.add(name="ALONE", number=0), id="an enum"),
        pytest.param(
            lambda _, common: setattr(common.message_type[0].field[0], "json_name", "unitName"), id="json name"
        ),
        pytest.param(
            lambda api, _: setattr(api.message_type[0].field[0].options, "deprecated", True), id="deprecation"
        ),
        pytest.param(
            lambda api, _: api.service.add(name="Shop").method.add(
                name="Buy",
                input_type=".shop.Order",
                output_type=".shop.Receipt",
                options=MethodOptions(deprecated=True),
            ),
            id="service",
        ),
    ],
)
def test_declarations_without_effect_on_wire_or_json_are_left_out(
    change: Callable[[FileDescriptorProto, FileDescriptorProto], object],
) -> None:
    assert changed(change) == contract(shop())


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda api, _: api.message_type[0].reserved_range.add(start=9, end=10), id="number"),
        pytest.param(lambda api, _: api.message_type[0].reserved_name.append("sum"), id="name"),
        pytest.param(lambda _, common: common.enum_type[0].reserved_range.add(start=9, end=9), id="value's number"),
        pytest.param(lambda _, common: common.enum_type[0].reserved_name.append("COLOUR_X"), id="value's name"),
    ],
)
def test_reservations_are_kept_but_do_not_change_the_fingerprint(
    change: Callable[[FileDescriptorProto, FileDescriptorProto], object],
) -> None:
    reserving = changed(change)
    assert reserving.fingerprint == contract(shop()).fingerprint
    assert reserving.files != contract(shop()).files
    assert Contract.decode(reserving.encode()) == reserving


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda api, _: setattr(api.message_type[0].field[0], "number", 9), id="number"),
        pytest.param(lambda api, _: setattr(api.message_type[0].field[2], "name", "credit"), id="name"),
        pytest.param(lambda api, _: setattr(api.message_type[1].field[0], "label", MANY), id="label"),
        pytest.param(lambda api, _: api.message_type[0].field[2].ClearField("oneof_index"), id="oneof"),
        pytest.param(lambda _, common: setattr(common.message_type[0].field[0], "json_name", "n"), id="json name"),
        pytest.param(lambda _, common: common.enum_type[0].value.add(name="COLOUR_X", number=2), id="enum value"),
        pytest.param(lambda api, _: setattr(api.message_type[1].field[0], "type", 12), id="type"),
    ],
)
def test_changes_of_the_wire_or_json_form_change_the_fingerprint(
    change: Callable[[FileDescriptorProto, FileDescriptorProto], object],
) -> None:
    assert changed(change).fingerprint != contract(shop()).fingerprint


def test_request_and_response_are_not_interchangeable() -> None:
    assert contract(shop(), "shop.Receipt", "shop.Order").fingerprint != contract(shop()).fingerprint


def test_unused_files_are_left_out() -> None:
    files = shop()
    struct_pb2.DESCRIPTOR.CopyToProto(files.file.add())
    files.file[0].dependency.append("google/protobuf/struct.proto")
    assert contract(files) == contract(shop())


def test_a_contract_with_an_any_keeps_every_message_of_the_files() -> None:
    files = shop()
    any_pb2.DESCRIPTOR.CopyToProto(files.file.add())
    files.file[0].dependency.append("google/protobuf/any.proto")
    files.file[0].message_type.add(name="Bystander")
    details = files.file[0].message_type[0].field.add(name="details", number=9, label=ONE, type=MESSAGE)
    details.type_name = ".google.protobuf.Any"
    assert {"shop.Bystander", "google.protobuf.Any"} <= compile_contract(contract(files)).types.keys()


def test_request_and_response_may_come_from_two_pools() -> None:
    loaded = compile_contract(contract(shop()))
    mixed = Contract.from_descriptors(digits_pb2.DigitsRequest.DESCRIPTOR, loaded.response)
    assert {message.full_name for message in (compile_contract(mixed).request, compile_contract(mixed).response)} == {
        "examples.digits.v1.DigitsRequest",
        "shop.Receipt",
    }


def test_two_contracts_may_declare_the_same_name_differently() -> None:
    other = changed(lambda api, _: setattr(api.message_type[0].field[2], "name", "credit"))
    known, new = compile_contract(contract(shop())), compile_contract(other)
    assert "card" in known.request.fields_by_name
    assert "credit" in new.request.fields_by_name


def test_a_contract_is_loaded_once() -> None:
    assert compile_contract(DIGITS) is compile_contract(Contract.decode(DIGITS.encode()))


def without(name: str) -> FileDescriptorSet:
    return FileDescriptorSet(file=[file for file in shop().file if file.name != name])


def nested(depth: int) -> FileDescriptorSet:
    files = shop()
    message = files.file[0].message_type[1]
    for _ in range(depth):
        message = message.nested_type.add(name="Inner")
    return files


def many_files() -> FileDescriptorSet:
    files = shop()
    for index in range(MAX_FILES):
        files.file.add(name=f"{index}.proto")
    return files


def circular() -> FileDescriptorSet:
    files = shop()
    files.file[1].dependency.append("shop/api.proto")
    return files


def other_timestamp() -> FileDescriptorSet:
    files = shop()
    files.file[2].message_type[0].field[0].type = STRING
    return files


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        pytest.param(without("shop/common.proto"), "missing: add it", id="a file is missing"),
        pytest.param(FileDescriptorSet(file=[*shop().file, shop().file[0]]), "given twice", id="a file is given twice"),
        pytest.param(circular(), "import each other", id="circular imports"),
        pytest.param(many_files(), f"at most {MAX_FILES}", id="too many files"),
        pytest.param(nested(MAX_DECLARATION_NESTING), "deep within each other", id="nested too deep"),
        pytest.param(other_timestamp(), "google.protobuf.Timestamp", id="a well-known type that is not protobuf's"),
        pytest.param(FileDescriptorSet(), "do not declare", id="no such message"),
    ],
)
def test_bad_descriptors_are_refused_with_a_reason(files: FileDescriptorSet, reason: str) -> None:
    with pytest.raises(InvalidContract, match=reason):
        contract(files)


@pytest.mark.parametrize("data", [b"\xff", b"\x0a", b"", b"0" * (MAX_BYTES + 1)])
def test_bytes_that_are_not_a_contract_are_refused(data: bytes) -> None:
    with pytest.raises(InvalidContract):
        Contract.decode(data)


@pytest.mark.parametrize("end", range(0, len(DIGITS.encode()), 7))
def test_a_contract_that_was_cut_off_is_refused(end: int) -> None:
    with pytest.raises(InvalidContract):
        Contract.decode(DIGITS.encode()[:end])


@bounded
@given(st.data())
def test_damaged_bytes_are_a_contract_or_refused(data: st.DataObject) -> None:
    damaged = bytearray(contract(shop()).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        decoded = Contract.decode(bytes(damaged))
    except InvalidContract:
        return
    assert Contract.decode(decoded.encode()) == decoded
    assert input_schema(compile_contract(decoded).request).components.schemas


@pytest.mark.parametrize(
    ("name", "json_name"),
    [
        ("foo", "foo"),
        ("foo_bar", "fooBar"),
        ("foo__bar_", "fooBar"),
        ("_foo", "Foo"),
        ("foo_1a", "foo1a"),
        ("HTTP_x", "HTTPX"),
    ],
)
def test_default_json_names_are_those_of_protoc(name: str, json_name: str) -> None:
    files = shop()
    files.file[0].message_type[1].field[0].name = name
    assert compile_contract(contract(files)).response.fields[0].json_name == default_json_name(name) == json_name


def test_other_tools_get_the_members_of_a_oneof_next_to_each_other() -> None:
    # Go's protobuf loads nothing else, and a contract has fields in the order of their numbers.
    def part(api: FileDescriptorProto, _: FileDescriptorProto) -> None:
        api.message_type[0].field[3].number = 20
        api.message_type[0].field.add(name="note", number=10, label=ONE, type=STRING)

    parted = changed(part)
    messages = [message for file in parted.descriptors.file for message in file.message_type]
    [order] = [message for message in messages if message.name == "Order"]
    assert [field.name for field in order.field] == ["items", "at", "card", "cash", "note"]
    assert contract(parted.descriptors) == parted
