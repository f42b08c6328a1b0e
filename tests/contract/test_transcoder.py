"""The transcoder case by case: errors, odd names, groups, extensions, limits."""

from __future__ import annotations

import pickle

import msgspec
import pytest
from google.protobuf import any_pb2, struct_pb2, timestamp_pb2, wrappers_pb2
from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet
from google.protobuf.json_format import ParseDict
from google.protobuf.message_factory import GetMessageClass
from jsonschema_rs import Draft202012Validator

from examples.digits.v1 import digits_pb2
from hub.contract import (
    InvalidDocument,
    MalformedJson,
    NotJsonRepresentable,
    Problem,
    Transcoder,
    compile_contract,
    input_schema,
)
from hub.contract.errors import MAX_PROBLEMS
from hub.errors import Undecodable
from hub.types import MAX_NESTING
from tests.contract.random_descriptors import MANY, ONE, REQUIRED
from tests.contract.test_contract import contract, shop
from tests.contract.test_every_value import holder

DIGITS = Transcoder(digits_pb2.DigitsRequest.DESCRIPTOR)
TIMESTAMP = timestamp_pb2.Timestamp.DESCRIPTOR
VALUE = Transcoder(struct_pb2.Value.DESCRIPTOR)
ORDER = compile_contract(contract(shop())).request_transcoder


def problems(transcoder: Transcoder, text: bytes) -> dict[str, str]:
    with pytest.raises(InvalidDocument) as caught:
        transcoder.decode_json(text)
    return {problem.pointer: problem.message for problem in caught.value.problems}


def test_every_bad_field_is_reported_with_a_json_pointer_and_the_repair() -> None:
    found = problems(ORDER, b'{"items": [{"unitName": 1}, {"colour": "BLUE", "a/b~c": 1}], "at": "noon", "cash": "x"}')
    assert found == {
        "/items/0/unitName": "expected a string, not the number 1",
        "/items/1/colour": "expected a name or number of shop.Colour (COLOUR_UNSPECIFIED, COLOUR_RED), not the string 'BLUE'",
        "/items/1/a~1b~0c": "shop.Item has no such field; it has 'unitName', 'colour'",
        "/at": "expected a time such as \"2026-01-31T12:00:00Z\" (RFC 3339), not the string 'noon'",
        "/cash": "expected an integer from -9223372036854775808 to 9223372036854775807, not the string 'x'",
    }


def test_the_errors_of_a_document_are_bounded() -> None:
    text = b'{"pixels": [' + b",".join([b'"x"'] * 10_000) + b"]}"
    assert len(problems(DIGITS, text)) == MAX_PROBLEMS


@pytest.mark.parametrize(
    "text",
    [
        b'{"many":[' * 60 + b"{}," * 1000 + b"1" + b"]}" * 60,
        b'{"singleOne":' * 60 + b"1" + b"}" * 60,
        b"{" + b",".join(b'"x%d":1' % number for number in range(100_000)) + b"}",
        b'{"many":[' + b",".join([b'{"x":1}'] * 100_000) + b"]}",
        b'{"entries":{' + b",".join(b'"%d":1' % number for number in range(100_000)) + b"}}",
    ],
)
def test_no_bad_document_takes_more_than_a_few_passes(text: bytes) -> None:
    # A reader that starts again at each level, or copies its findings, would run into the time limit of the tests.
    assert 1 <= len(problems(Transcoder(HOLDER), text)) <= MAX_PROBLEMS


def test_two_fields_of_a_oneof_are_refused() -> None:
    assert problems(ORDER, b'{"card": "a", "cash": "1"}') == {
        "/cash": "'card' is given too, and only one field of the oneof 'payer' can be set"
    }
    assert ORDER.decode_json(b'{"card": null, "cash": "1"}')


def test_a_field_under_both_of_its_names_is_refused() -> None:
    assert problems(ORDER, b'{"items": [{"unitName": "a", "unit_name": "a"}]}') == {
        "/items/0/unit_name": "the same field as 'unitName': give only one of the two"
    }


@pytest.mark.parametrize(
    ("text", "places"),
    [
        (b'{"card": "a", "card": "a"}', ["/card"]),
        (b'{"card" : "a", "card":"a:b"}', ["/card"]),
        (b'{"card":"\\":","c\\u0061rd" :"a"}', ["/card"]),
        (b'{"items": [{}, {"unitName": "a", "unitName": "b"}], "cash": 1, "cash": 2}', ["/cash", "/items/1/unitName"]),
        (b'{"at": "2026-01-31T12:00:00Z", "at": "2026-01-31T12:00:00Z"}', ["/at"]),
        (b'{"at": "2026-01-31T12\\u003a00:00Z", "card": "a", "card": "a"}', ["/card"]),
        (b'{"at": "2026-01-31T12\\u003a00\\u003A00\\u002b00\\u003a00", "card": "a", "card": "a"}', ["/card"]),
    ],
)
def test_a_duplicate_name_is_refused(text: bytes, places: list[str]) -> None:
    assert problems(ORDER, text) == dict.fromkeys(places, "given more than once")


@pytest.mark.parametrize(
    "text",
    [
        b'{"card": ":::"}',
        b'{ "card" : "a\\":b" }',
        b'{\n"card"\n:\n"x"}',
        b'{"card":"{\\"a\\":1,\\"a\\":1}"}',
        b'{"card": "\\\\"}',
    ],
)
def test_colons_and_quotes_in_strings_are_not_names(text: bytes) -> None:
    assert ORDER.decode_json(text)


def test_duplicates_within_a_struct_and_a_map_and_an_any_are_refused() -> None:
    assert problems(VALUE, b'{"a": {"b": 1, "b": 2}}') == {"/a/b": "given more than once"}
    any_of_value = Transcoder(any_pb2.Any.DESCRIPTOR, {"google.protobuf.Value": struct_pb2.Value.DESCRIPTOR})
    text = b'{"@type": "x/google.protobuf.Value", "value": {"a": 1, "a": 2}}'
    assert problems(any_of_value, text) == {"/value/a": "given more than once"}


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        (b'{"pixels":\n [1, 01]}', 2, 7),
        (b'{"pixels": [1,', 1, 15),
        (b"", 1, 1),
        (b'{"a": "\xff"}', 1, 8),
        (b"[" * 100_000, 1, 1),
        (b'{"pixels": [NaN]}', 1, 13),
        (b'"\\ud800"', 1, 2),
    ],
)
def test_text_that_is_not_json_is_refused_with_its_position(text: bytes, line: int, column: int) -> None:
    with pytest.raises(MalformedJson) as caught:
        DIGITS.decode_json(text)
    assert (caught.value.line, caught.value.column) == (line, column)


@pytest.mark.parametrize("number", [b"1e400", b"-1e400", b"9" * 400, b"9" * 5000, b"1" + b"0" * 400 + b".5"])
def test_a_number_out_of_range_of_all_types_is_reported_with_its_path(number: bytes) -> None:
    assert [*problems(DIGITS, b'{"pixels": [1, ' + number + b"]}")] == ["/pixels/1"]
    assert [*problems(VALUE, b'{"a": ' + number + b"}")] == ["/a"]
    assert [*problems(ORDER, b'{"cash": ' + number + b"}")] == ["/cash"]


def test_errors_survive_pickling() -> None:
    error = InvalidDocument("a.B", [Problem("/a", "bad")])
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    assert str(pickle.loads(pickle.dumps(MalformedJson("bad", 1, 2)))) == "line 1, column 2: bad"


HOLDER = holder(FieldDescriptorProto.TYPE_MESSAGE, ".open.Holder")


@pytest.mark.parametrize(
    ("descriptor", "before", "after", "deepest"),
    [
        pytest.param(struct_pb2.Value.DESCRIPTOR, b"[", b"]", 49, id="list of a Value"),
        pytest.param(struct_pb2.Value.DESCRIPTOR, b'{"a":', b"}", 33, id="object of a Value"),
        pytest.param(HOLDER, b'{"singleOne":', b"}", 99, id="message"),
        pytest.param(HOLDER, b'{"many":[', b"]}", 99, id="list of messages"),
        pytest.param(HOLDER, b'{"entries":{"k":', b"}}", 49, id="map of messages"),
    ],
)
def test_nesting_ends_where_protobuf_can_still_read_the_message(
    descriptor: Descriptor, before: bytes, after: bytes, deepest: int
) -> None:
    transcoder = Transcoder(descriptor)
    inmost = b"1" if descriptor.full_name.endswith("Value") else b"{}"
    body = transcoder.decode_json(before * deepest + inmost + after * deepest)
    assert GetMessageClass(descriptor).FromString(body).ByteSize() == len(body)
    found = problems(transcoder, before * (deepest + 1) + inmost + after * (deepest + 1))
    assert [*found.values()] == [f"messages are nested more than {MAX_NESTING} deep"]


def test_bytes_of_another_message_are_refused() -> None:
    with pytest.raises(Undecodable):
        DIGITS.encode_json(b"\xff")
    with pytest.raises(Undecodable, match=r"it is a google\.protobuf\.Timestamp"):
        DIGITS.encode_json(timestamp_pb2.Timestamp())


@pytest.mark.parametrize(
    ("message", "pointer"),
    [
        (timestamp_pb2.Timestamp(seconds=253_402_300_800), ""),
        (struct_pb2.Value(number_value=float("nan")), ""),
        (any_pb2.Any(type_url="x/none.Such", value=b"1"), "/@type"),
        (any_pb2.Any(value=b"1"), "/@type"),
    ],
)
def test_a_value_without_a_json_form_is_reported_with_its_path(
    message: timestamp_pb2.Timestamp | struct_pb2.Value | any_pb2.Any, pointer: str
) -> None:
    with pytest.raises(NotJsonRepresentable) as caught:
        Transcoder(type(message).DESCRIPTOR).encode_json(message)
    assert caught.value.problem.pointer == pointer


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0001-01-01T00:00:00-00:01", -62_135_596_740),  # TimestampWithOffsetBoundaryInBoundsMin
        ("9999-12-31T23:59:59+00:01", 253_402_300_739),  # TimestampWithOffsetBoundaryInBoundsMax
        ("0001-01-01T23:59:00+23:59", -62_135_596_800),
        ("9999-12-31T00:00:59.999999999-23:59", 253_402_300_799),
        ("0001-06-01T00:00:00+14:00", -62_122_600_800),
        ("9999-01-01T00:00:00-12:00", 253_370_808_000),
    ],
)
def test_an_offset_may_lead_to_the_first_and_the_last_moment_of_a_timestamp(text: str, seconds: int) -> None:
    message = timestamp_pb2.Timestamp.FromString(Transcoder(TIMESTAMP).decode_json(f'"{text}"'.encode()))
    assert message.seconds == seconds
    assert message.nanos == (999_999_999 if "." in text else 0)
    assert Draft202012Validator(input_schema(TIMESTAMP).standalone()).is_valid(text)


@pytest.mark.parametrize("text", ["0001-01-01T23:58:59.999999999+23:59", "9999-12-31T00:01:00-23:59"])
def test_an_offset_that_leads_out_of_the_range_of_timestamps_is_refused_by_the_parser_alone(text: str) -> None:
    found = problems(Transcoder(TIMESTAMP), f'"{text}"'.encode())
    assert [*found.values()] == [f"{text!r} is not within the years 1 to 9999 in UTC: its offset leads out of them"]
    assert Draft202012Validator(input_schema(TIMESTAMP).standalone()).is_valid(text)


def test_a_wrapper_is_its_value() -> None:
    transcoder = Transcoder(wrappers_pb2.Int64Value.DESCRIPTOR)
    assert transcoder.encode_json(wrappers_pb2.Int64Value(value=5)) == b'"5"'
    assert transcoder.decode_json(b"5") == transcoder.decode_json(b'"5"') == b"\x08\x05"


def test_a_message_of_another_pool_is_accepted() -> None:
    other = compile_contract(contract(shop())).request_class()
    ParseDict({"cash": "3"}, other)
    again = compile_contract(contract(shop()))
    assert Transcoder(again.request).encode_json(other) == b'{"cash":"3"}'


def test_fields_named_as_methods_of_messages_work() -> None:
    file = FileDescriptorProto(name="odd.proto", package="odd", syntax="proto3")
    message = file.message_type.add(name="Odd")
    names = (
        "DESCRIPTOR",
        "Extensions",
        "FromString",
        "ListFields",
        "SerializeToString",
        "SetInParent",
        "class",
        "self",
    )
    for number, name in enumerate(names, start=1):
        message.field.add(name=name, number=number, label=ONE, type=FieldDescriptorProto.TYPE_STRING)
    message.field.add(name="IsInitialized", number=20, label=ONE, type=11, type_name=".odd.Odd")
    transcoder = compile_contract(contract(FileDescriptorSet(file=[file]), "odd.Odd", "odd.Odd")).request_transcoder
    document = {**dict.fromkeys(names, "x"), "IsInitialized": {"ListFields": "y", "IsInitialized": {}}}
    text = transcoder.encode_json(transcoder.decode_json(msgspec.json.encode(document)))
    assert msgspec.json.decode(text) == document


def old_style() -> FileDescriptorSet:
    """proto2: required fields, a group, defaults, and extensions."""
    file = FileDescriptorProto(name="old.proto", package="old")
    message = file.message_type.add(name="Old")
    message.field.add(name="id", number=1, label=REQUIRED, type=FieldDescriptorProto.TYPE_INT32)
    message.field.add(
        name="part", number=2, label=MANY, type=FieldDescriptorProto.TYPE_GROUP, type_name=".old.Old.Part"
    )
    part = message.nested_type.add(name="Part")
    part.field.add(name="size", number=1, label=REQUIRED, type=FieldDescriptorProto.TYPE_INT32)
    message.field.add(name="unit", number=3, label=ONE, type=FieldDescriptorProto.TYPE_STRING, default_value="kg")
    message.extension_range.add(start=100, end=200)
    for number, (name, label, kind) in enumerate((("note", ONE, 9), ("notes", MANY, 9), ("more", ONE, 11)), start=100):
        extension = file.extension.add(name=name, number=number, label=label, extendee=".old.Old")
        extension.type = FieldDescriptorProto.Type.ValueType(kind)
        if kind == FieldDescriptorProto.TYPE_MESSAGE:
            extension.type_name = ".old.Extra"
    file.message_type.add(name="Extra").field.add(name="deep", number=1, label=ONE, type=FieldDescriptorProto.TYPE_BOOL)
    return FileDescriptorSet(file=[file])


def test_groups_extensions_and_defaults_of_proto2_work() -> None:
    loaded = compile_contract(contract(old_style(), "old.Old", "old.Extra"))
    document = {
        "id": 7,
        "part": [{"size": 1}],
        "[old.note]": "a",
        "[old.notes]": ["b", "c"],
        "[old.more]": {"deep": True},
    }
    text = msgspec.json.encode(document)
    expected = GetMessageClass(loaded.request)()
    ParseDict(document, expected, descriptor_pool=loaded.pool)
    body = loaded.request_transcoder.decode_json(text)
    assert body == type(expected).SerializeToString(expected, deterministic=True)
    assert msgspec.json.decode(loaded.request_transcoder.encode_json(body)) == document


def test_missing_required_fields_are_all_reported() -> None:
    transcoder = compile_contract(contract(old_style(), "old.Old", "old.Extra")).request_transcoder
    assert problems(transcoder, b'{"id": null, "part": [{}]}') == {
        "": "the required field 'id' is missing",
        "/part/0": "the required field 'size' is missing",
    }
