"""Which changes of a contract break it: our rules, with `buf breaking` as the judge of every pair."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    Edition,
    EnumDescriptorProto,
    FeatureSet,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)

from hub.contract import Contract, breaking_changes
from hub.contract.compatibility.diff import DifferenceKind, compare, diff
from hub.contract.compatibility.rules import Rule
from hub.v1 import contract_pb2
from tests.contract.breaking_oracle import judged, wire_json_rules
from tests.contract.random_descriptors import MANY, ONE, REQUIRED

OF_SERVICES = {"RPC_SAME_CLIENT_STREAMING", "RPC_SAME_IDEMPOTENCY_LEVEL"}
"""Rules that do not apply to contracts."""

OF_VALIDATION = {Rule.FIELD_RULES_NOT_TIGHTER, Rule.MESSAGE_RULES_NOT_TIGHTER}
"""Rules that Buf does not have; see test_rules_compatibility."""

F = FieldDescriptorProto


def files(syntax: str) -> FileDescriptorSet:
    """A request with a field of every sort, a response, and enums; `proto2`, `proto3` or `editions`."""
    file = FileDescriptorProto(name="ask/api.proto", package="ask")
    if syntax != "proto2":
        file.syntax = syntax
    if syntax == "editions":
        file.edition = Edition.EDITION_2023
    ask = file.message_type.add(name="Ask")
    ask.field.add(name="text", number=1, label=ONE, type=F.TYPE_STRING)
    ask.field.add(name="count", number=2, label=ONE, type=F.TYPE_INT32)
    ask.field.add(name="numbers", number=3, label=MANY, type=F.TYPE_DOUBLE)
    ask.field.add(name="colour", number=4, label=ONE, type=F.TYPE_ENUM, type_name=".ask.Colour")
    ask.field.add(name="place", number=5, label=ONE, type=F.TYPE_MESSAGE, type_name=".ask.Place")
    ask.oneof_decl.add(name="payer")
    ask.field.add(name="card", number=6, label=ONE, type=F.TYPE_STRING, oneof_index=0)
    ask.field.add(name="cash", number=7, label=ONE, type=F.TYPE_INT64, oneof_index=0)
    entry = ask.nested_type.add(name="LabelsEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, label=ONE, type=F.TYPE_STRING)
    entry.field.add(name="value", number=2, label=ONE, type=F.TYPE_INT32)
    ask.field.add(name="labels", number=8, label=MANY, type=F.TYPE_MESSAGE, type_name=".ask.Ask.LabelsEntry")
    ask.field.add(name="share", number=9, label=ONE, type=F.TYPE_DOUBLE)
    ask.field.add(name="data", number=10, label=ONE, type=F.TYPE_BYTES)
    ask.reserved_range.add(start=20, end=30)
    ask.reserved_range.add(start=40, end=41)
    ask.reserved_name.append("former")
    place = file.message_type.add(name="Place")
    place.field.add(name="city", number=1, label=ONE, type=F.TYPE_STRING)
    spot = file.message_type.add(name="Spot")
    spot.field.add(name="city", number=1, label=ONE, type=F.TYPE_STRING)
    ask.field.add(name="spot", number=11, label=ONE, type=F.TYPE_MESSAGE, type_name=".ask.Spot")
    for owner in (
        file.enum_type.add(name="Colour"),
        spot.enum_type.add(name="Colour"),
        file.enum_type.add(name="Tint"),
    ):
        scope = "TINT" if owner.name == "Tint" else "COLOUR"
        for number, name in enumerate(("UNSPECIFIED", "RED", "BLUE")):
            owner.value.add(name=f"{scope}_{name}", number=number)
        owner.reserved_range.add(start=7, end=9)
        owner.reserved_name.append(f"{scope}_FORMER")
    spot.enum_type[0].value.add(name="COLOUR_GREEN", number=3)
    ask.field.add(name="tint", number=12, label=ONE, type=F.TYPE_ENUM, type_name=".ask.Tint")
    file.message_type.add(name="Answer").field.add(name="text", number=1, label=ONE, type=F.TYPE_STRING)
    return FileDescriptorSet(file=[file])


def contract(
    found: FileDescriptorSet, request: str = "ask.Ask", response: str = "ask.Answer", *, streaming: bool = False
) -> Contract:
    message = contract_pb2.Contract(request=request, response=response, files=found, streaming=streaming)
    return Contract.decode(message.SerializeToString())


@dataclass(frozen=True)
class Hand:
    """Changes files, with short access to their declarations."""

    file: FileDescriptorProto

    @property
    def ask(self) -> DescriptorProto:
        return self.file.message_type[0]

    @property
    def colour(self) -> EnumDescriptorProto:
        return self.file.enum_type[0]

    def field(self, name: str) -> FieldDescriptorProto:
        return next(field for field in self.ask.field if field.name == name)

    def delete(self, name: str, *, number_reserved: bool = False, name_reserved: bool = False) -> None:
        field = self.field(name)
        if number_reserved:
            self.ask.reserved_range.add(start=field.number, end=field.number + 1)
        if name_reserved:
            self.ask.reserved_name.append(name)
        self.ask.field.remove(field)

    def set(self, field: str, **changes: object) -> None:
        changed = self.field(field)
        for name, value in changes.items():
            setattr(changed, name, value)

    def retype(self, field: str, kind: F.Type.ValueType, name: str = "") -> None:
        self.field(field).type = kind
        if name:
            self.field(field).type_name = name
        else:
            self.field(field).ClearField("type_name")

    def delete_red(self, *, number_reserved: bool = False, name_reserved: bool = False) -> None:
        if number_reserved:
            self.colour.reserved_range.add(start=1, end=1)
        if name_reserved:
            self.colour.reserved_name.append("COLOUR_RED")
        del self.colour.value[1]

    def delete_both(self, *, name_reserved: str) -> None:
        self.colour.reserved_range.add(start=1, end=1)
        self.colour.reserved_name.append(name_reserved)
        self.no_alias()
        del self.colour.value[1]

    def alias(self, name: str) -> None:
        self.colour.options.allow_alias = True
        self.colour.value.add(name=name, number=1)

    def no_alias(self) -> None:
        self.colour.value.pop()
        self.colour.options.ClearField("allow_alias")

    def in_pieces(self) -> None:
        self.ask.reserved_range[0].end = 25
        self.ask.reserved_range.add(start=25, end=31)

    def reserve_more(self) -> None:
        self.ask.reserved_name.append("later")
        self.ask.reserved_range.add(start=99, end=100)

    def optional(self, name: str) -> None:
        self.set(name, proto3_optional=True, oneof_index=len(self.ask.oneof_decl))
        self.ask.oneof_decl.add(name=f"_{name}")


Change = Callable[[Hand], object]


@dataclass(frozen=True)
class Case:
    """A change, the rules that it breaks with the path that we name for each, and the files that it is made to."""

    name: str
    change: Change
    broken: dict[Rule, str]
    before: Change = lambda _: None
    syntax: str = "proto3"


R = Rule
NAME_GONE, NUMBER_GONE = R.FIELD_NO_DELETE_UNLESS_NAME_RESERVED, R.FIELD_NO_DELETE_UNLESS_NUMBER_RESERVED
VALUE_NAME_GONE = R.ENUM_VALUE_NO_DELETE_UNLESS_NAME_RESERVED
VALUE_NUMBER_GONE = R.ENUM_VALUE_NO_DELETE_UNLESS_NUMBER_RESERVED
TYPE, CARDINALITY = R.FIELD_WIRE_JSON_COMPATIBLE_TYPE, R.FIELD_WIRE_JSON_COMPATIBLE_CARDINALITY


def to_map(hand: Hand) -> None:
    hand.field("numbers").type_name = ".ask.Ask.NumbersEntry"
    hand.field("numbers").type = F.TYPE_MESSAGE
    entry = hand.ask.nested_type.add(name="NumbersEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, label=ONE, type=F.TYPE_STRING)
    entry.field.add(name="value", number=2, label=ONE, type=F.TYPE_DOUBLE)


def extend(hand: Hand, name: str = "extra", kind: F.Type.ValueType = F.TYPE_STRING) -> None:
    if not hand.ask.extension_range:
        hand.ask.extension_range.add(start=100, end=200)
    del hand.file.extension[:]
    hand.file.extension.add(name=name, number=100, label=ONE, type=kind, extendee=".ask.Ask")


def json_format(of: Callable[[Hand], DescriptorProto | EnumDescriptorProto | FileDescriptorProto]) -> Change:
    def change(hand: Hand) -> None:
        of(hand).options.features.json_format = FeatureSet.LEGACY_BEST_EFFORT

    return change


def delimited(hand: Hand) -> None:
    hand.field("place").options.features.message_encoding = FeatureSet.DELIMITED


def legacy_required(hand: Hand) -> None:
    hand.field("text").options.features.field_presence = FeatureSet.LEGACY_REQUIRED


CASES = (
    Case("nothing", lambda _: None, {}),
    Case("a new field", lambda h: h.ask.field.add(name="more", number=99, label=ONE, type=F.TYPE_STRING), {}),
    Case("a new message", lambda h: h.ask.field.add(
        name="more", number=99, label=ONE, type=F.TYPE_MESSAGE, type_name=".ask.Answer"), {}),
    Case("a field gone", lambda h: h.delete("text"), {NAME_GONE: "ask.Ask.text", NUMBER_GONE: "ask.Ask.text"}),
    Case("a field gone, its name reserved", lambda h: h.delete("text", name_reserved=True), {NUMBER_GONE: "ask.Ask.text"}),
    Case("a field gone, its number reserved", lambda h: h.delete("text", number_reserved=True), {NAME_GONE: "ask.Ask.text"}),
    Case("a field gone, both reserved", lambda h: h.delete("text", name_reserved=True, number_reserved=True), {}),
    Case("another number", lambda h: h.set("text", number=99), {NAME_GONE: "ask.Ask.text", NUMBER_GONE: "ask.Ask.text"}),
    Case("another name", lambda h: h.set("text", name="words"), {
        R.FIELD_SAME_NAME: "ask.Ask.text", R.FIELD_SAME_JSON_NAME: "ask.Ask.text"}),
    Case("another name with the old one in JSON", lambda h: h.set("text", name="words", json_name="text"), {
        R.FIELD_SAME_NAME: "ask.Ask.text"}),
    Case("another name in JSON", lambda h: h.set("text", json_name="Text"), {R.FIELD_SAME_JSON_NAME: "ask.Ask.text"}),
    Case("JSON name spelled out", lambda h: h.set("text", json_name="text"), {}),
    Case("string to bytes", lambda h: h.retype("text", F.TYPE_BYTES), {TYPE: "ask.Ask.text"}),
    Case("int32 to uint32", lambda h: h.retype("count", F.TYPE_UINT32), {}),
    Case("int32 to sint32", lambda h: h.retype("count", F.TYPE_SINT32), {TYPE: "ask.Ask.count"}),
    Case("int32 to int64", lambda h: h.retype("count", F.TYPE_INT64), {TYPE: "ask.Ask.count"}),
    Case("int32 to bool", lambda h: h.retype("count", F.TYPE_BOOL), {TYPE: "ask.Ask.count"}),
    Case("int64 to uint64", lambda h: h.retype("cash", F.TYPE_UINT64), {}),
    Case("fixed32 to sfixed32", lambda h: h.retype("count", F.TYPE_SFIXED32), {}, lambda h: h.retype("count", F.TYPE_FIXED32)),
    Case("fixed64 to sfixed64", lambda h: h.retype("count", F.TYPE_SFIXED64), {}, lambda h: h.retype("count", F.TYPE_FIXED64)),
    Case("double to float", lambda h: h.retype("share", F.TYPE_FLOAT), {TYPE: "ask.Ask.share"}),
    Case("enum to int32", lambda h: h.retype("colour", F.TYPE_INT32), {TYPE: "ask.Ask.colour"}),
    Case("enum to another enum", lambda h: h.retype("colour", F.TYPE_ENUM, ".ask.Tint"), {TYPE: "ask.Ask.colour"}),
    Case("enum to a larger one of its name", lambda h: h.retype("colour", F.TYPE_ENUM, ".ask.Spot.Colour"), {}),
    Case("enum to a smaller one of its name", lambda h: h.retype("colour", F.TYPE_ENUM, ".ask.Colour"),
         {TYPE: "ask.Ask.colour"}, lambda h: h.retype("colour", F.TYPE_ENUM, ".ask.Spot.Colour")),
    Case("another message", lambda h: h.retype("place", F.TYPE_MESSAGE, ".ask.Spot"), {TYPE: "ask.Ask.place"}),
    Case("message to string", lambda h: h.retype("place", F.TYPE_STRING), {TYPE: "ask.Ask.place"}),
    Case("message delimited", delimited, {TYPE: "ask.Ask.place"}, syntax="editions"),
    Case("values of a map", lambda h: setattr(h.ask.nested_type[0].field[1], "type", F.TYPE_STRING), {
        TYPE: "ask.Ask.labels"}),
    Case("keys of a map", lambda h: setattr(h.ask.nested_type[0].field[0], "type", F.TYPE_INT32), {TYPE: "ask.Ask.labels"}),
    Case("single to repeated", lambda h: h.set("text", label=MANY), {CARDINALITY: "ask.Ask.text"}),
    Case("repeated to single", lambda h: h.set("numbers", label=ONE), {CARDINALITY: "ask.Ask.numbers"}),
    Case("repeated to map", to_map, {CARDINALITY: "ask.Ask.numbers", TYPE: "ask.Ask.numbers"}),
    Case("with presence", lambda h: h.optional("text"), {}),
    Case("without presence", lambda h: h.set("text", name="text"), {}, lambda h: h.optional("text")),
    Case("required", lambda h: h.set("text", label=REQUIRED), {
        CARDINALITY: "ask.Ask.text", R.MESSAGE_SAME_REQUIRED_FIELDS: "ask.Ask.text"}, syntax="proto2"),
    Case("not required", lambda h: h.set("text", label=ONE), {
        CARDINALITY: "ask.Ask.text", R.MESSAGE_SAME_REQUIRED_FIELDS: "ask.Ask.text"},
        lambda h: h.set("text", label=REQUIRED), "proto2"),
    Case("a new required field", lambda h: h.ask.field.add(name="more", number=99, label=REQUIRED, type=F.TYPE_STRING), {
        R.MESSAGE_SAME_REQUIRED_FIELDS: "ask.Ask.more"}, syntax="proto2"),
    Case("a required field gone", lambda h: h.delete("text", name_reserved=True, number_reserved=True), {
        R.MESSAGE_SAME_REQUIRED_FIELDS: "ask.Ask.text"}, lambda h: h.set("text", label=REQUIRED), "proto2"),
    Case("required by a feature", legacy_required, {CARDINALITY: "ask.Ask.text"}, syntax="editions"),
    Case("a default", lambda h: h.set("count", default_value="3"), {R.FIELD_SAME_DEFAULT: "ask.Ask.count"}, syntax="proto2"),
    Case("a default that is none", lambda h: h.set("count", default_value="0"), {}, syntax="proto2"),
    Case("another default", lambda h: h.set("text", default_value="b"), {R.FIELD_SAME_DEFAULT: "ask.Ask.text"},
         lambda h: h.set("text", default_value="a"), "proto2"),
    Case("the same default of a float", lambda h: h.retype("share", F.TYPE_FLOAT), {TYPE: "ask.Ask.share"},
         lambda h: h.set("share", default_value="0.1"), "proto2"),
    Case("another default of a float", lambda h: h.set("share", default_value="0.2"), {
        R.FIELD_SAME_DEFAULT: "ask.Ask.share"}, lambda h: h.set("share", default_value="0.1"), "proto2"),
    Case("not a number stays so", lambda h: h.retype("share", F.TYPE_FLOAT), {TYPE: "ask.Ask.share"},
         lambda h: h.set("share", default_value="nan"), "proto2"),
    Case("no longer not a number", lambda h: h.set("share", default_value="1"), {R.FIELD_SAME_DEFAULT: "ask.Ask.share"},
         lambda h: h.set("share", default_value="nan"), "proto2"),
    Case("a default that becomes a string", lambda h: h.retype("count", F.TYPE_STRING), {
        TYPE: "ask.Ask.count", R.FIELD_SAME_DEFAULT: "ask.Ask.count"}, lambda h: h.set("count", default_value="3"), "proto2"),
    Case("the same default in bytes", lambda h: h.retype("text", F.TYPE_BYTES), {TYPE: "ask.Ask.text"},
         lambda h: h.set("text", default_value="a"), "proto2"),
    Case("the first value of an enum", lambda h: h.colour.value.insert(0, h.colour.value.pop(1)), {
        R.FIELD_SAME_DEFAULT: "ask.Ask.colour"}, syntax="proto2"),
    Case("into a oneof", lambda h: h.set("text", oneof_index=0), {R.FIELD_SAME_ONEOF: "ask.Ask.text"}),
    Case("out of a oneof", lambda h: h.field("card").ClearField("oneof_index"), {R.FIELD_SAME_ONEOF: "ask.Ask.card"}),
    Case("another oneof", lambda h: setattr(h.ask.oneof_decl[0], "name", "debtor"), {R.FIELD_SAME_ONEOF: "ask.Ask.card"}),
    Case("a new value", lambda h: h.colour.value.add(name="COLOUR_GREEN", number=3), {}),
    Case("an alias", lambda h: h.alias("COLOUR_CRIMSON"), {}),
    Case("an alias gone", lambda h: h.no_alias(), {
        R.ENUM_VALUE_SAME_NAME: "ask.Colour.COLOUR_CRIMSON"}, lambda h: h.alias("COLOUR_CRIMSON")),
    Case("a value with another name", lambda h: setattr(h.colour.value[1], "name", "COLOUR_CRIMSON"), {
        R.ENUM_VALUE_SAME_NAME: "ask.Colour.COLOUR_RED"}),
    Case("a value gone", lambda h: h.delete_red(), {
        VALUE_NAME_GONE: "ask.Colour.COLOUR_RED", VALUE_NUMBER_GONE: "ask.Colour.COLOUR_RED"}),
    Case("a value gone, its name reserved", lambda h: h.delete_red(name_reserved=True), {
        VALUE_NUMBER_GONE: "ask.Colour.COLOUR_RED"}),
    Case("a value gone, its number reserved", lambda h: h.delete_red(number_reserved=True), {
        VALUE_NAME_GONE: "ask.Colour.COLOUR_RED"}),
    Case("a value gone, both reserved", lambda h: h.delete_red(number_reserved=True, name_reserved=True), {}),
    Case("a value with two names gone, one of them reserved", lambda h: h.delete_both(name_reserved="COLOUR_RED"), {
        VALUE_NAME_GONE: "ask.Colour.COLOUR_CRIMSON"}, lambda h: h.alias("COLOUR_CRIMSON")),
    Case("a reserved number of a message gone", lambda h: h.ask.reserved_range.pop(1), {
        R.RESERVED_MESSAGE_NO_DELETE: "ask.Ask"}),
    Case("a part of a reserved range gone", lambda h: setattr(h.ask.reserved_range[0], "end", 25), {
        R.RESERVED_MESSAGE_NO_DELETE: "ask.Ask"}),
    Case("a reserved range in pieces", lambda h: h.in_pieces(), {}),
    Case("a reserved name of a message gone", lambda h: h.ask.reserved_name.pop(), {R.RESERVED_MESSAGE_NO_DELETE: "ask.Ask"}),
    Case("a reserved number of an enum gone", lambda h: h.colour.reserved_range.pop(), {
        R.RESERVED_ENUM_NO_DELETE: "ask.Colour"}),
    Case("the last of a reserved range of an enum gone", lambda h: setattr(h.colour.reserved_range[0], "end", 8), {
        R.RESERVED_ENUM_NO_DELETE: "ask.Colour"}),
    Case("a reserved name of an enum gone", lambda h: h.colour.reserved_name.pop(), {R.RESERVED_ENUM_NO_DELETE: "ask.Colour"}),
    Case("more reserved", lambda h: h.reserve_more(), {}),
    Case("JSON of a file by best effort", json_format(lambda h: h.file), {
        R.MESSAGE_SAME_JSON_FORMAT: "ask.Ask", R.ENUM_SAME_JSON_FORMAT: "ask.Colour"}, syntax="editions"),
    Case("JSON of a message by best effort", json_format(lambda h: h.ask), {R.MESSAGE_SAME_JSON_FORMAT: "ask.Ask"},
         syntax="editions"),
    Case("JSON of an enum by best effort", json_format(lambda h: h.colour), {R.ENUM_SAME_JSON_FORMAT: "ask.Colour"},
         syntax="editions"),
    Case("JSON of a message for sure", lambda h: h.ask.ClearField("options"), {}, json_format(lambda h: h.ask), "editions"),
    Case("proto2 to proto3", lambda h: setattr(h.file, "syntax", "proto3"), {}, syntax="proto2"),
    Case("proto3 to proto2", lambda h: h.file.ClearField("syntax"), {
        R.MESSAGE_SAME_JSON_FORMAT: "ask.Ask", R.ENUM_SAME_JSON_FORMAT: "ask.Colour"}),
    Case("an extension", extend, {}, syntax="proto2"),
    Case("an extension gone", lambda h: h.file.extension.pop(), {}, extend, "proto2"),
    Case("an extension with another name", lambda h: extend(h, "other"), {R.FIELD_SAME_NAME: "ask.Ask.[ask.extra]"},
         extend, "proto2"),
    Case("an extension of another type", lambda h: extend(h, kind=F.TYPE_INT32), {TYPE: "ask.Ask.[ask.extra]"},
         extend, "proto2"),
)  # fmt: skip


def pair(case: Case) -> tuple[Contract, Contract]:
    before = files(case.syntax)
    case.before(Hand(before.file[0]))
    after = FileDescriptorSet.FromString(before.SerializeToString())
    case.change(Hand(after.file[0]))
    return contract(before), contract(after)


@pytest.fixture(scope="module")
def verdicts() -> dict[str, frozenset[str]]:
    """The output of buf for every case."""
    return dict(zip((case.name for case in CASES), judged([pair(case) for case in CASES]), strict=True))


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in CASES])
def test_a_change_breaks_the_same_rules_as_with_buf(case: Case, verdicts: dict[str, frozenset[str]]) -> None:
    found = breaking_changes(*pair(case))
    assert {violation.rule.value for violation in found} == verdicts[case.name] == {rule.value for rule in case.broken}
    named = {(violation.rule, violation.path) for violation in found}
    assert named >= set(case.broken.items())
    assert all(violation.message for violation in found)


def test_every_rule_of_the_category_that_can_apply_is_known() -> None:
    assert {rule.value for rule in set(Rule) - OF_VALIDATION} == wire_json_rules() - OF_SERVICES


def test_every_rule_has_a_case() -> None:
    elsewhere = {
        Rule.RPC_SAME_REQUEST_TYPE,
        Rule.RPC_SAME_RESPONSE_TYPE,
        Rule.RPC_SAME_SERVER_STREAMING,
        Rule.FILE_SAME_PACKAGE,
    }
    assert {rule for case in CASES for rule in case.broken} == set(Rule) - OF_VALIDATION - elsewhere


def renamed_package() -> Contract:
    text = files("proto3").SerializeToString().replace(b".ask.", b".qsk.").replace(b"\x12\x03ask", b"\x12\x03qsk")
    return contract(FileDescriptorSet.FromString(text), "qsk.Ask", "qsk.Answer")


@pytest.mark.parametrize(
    ("new", "rules"),
    [
        pytest.param(contract(files("proto3"), "ask.Spot"), {Rule.RPC_SAME_REQUEST_TYPE}, id="request"),
        pytest.param(contract(files("proto3"), response="ask.Spot"), {Rule.RPC_SAME_RESPONSE_TYPE}, id="response"),
        pytest.param(
            renamed_package(),
            {Rule.RPC_SAME_REQUEST_TYPE, Rule.RPC_SAME_RESPONSE_TYPE, Rule.FILE_SAME_PACKAGE},
            id="package",
        ),
    ],
)
def test_other_request_and_response_messages_are_breaking(new: Contract, rules: set[Rule]) -> None:
    known = contract(files("proto3"))
    assert {violation.rule for violation in breaking_changes(known, new)} == rules
    assert list(judged([(known, new)])) == [frozenset(rule.value for rule in rules)]


def test_a_stream_in_place_of_one_response_is_breaking_and_so_is_the_reverse() -> None:
    one, stream = contract(files("proto3")), contract(files("proto3"), streaming=True)
    pairs = [(one, stream), (stream, one), (stream, stream)]
    assert [[change.rule for change in breaking_changes(*each)] for each in pairs] == [
        [Rule.RPC_SAME_SERVER_STREAMING],
        [Rule.RPC_SAME_SERVER_STREAMING],
        [],
    ]
    assert list(judged(pairs)) == [frozenset({"RPC_SAME_SERVER_STREAMING"})] * 2 + [frozenset()]
    (change,) = compare(one, stream)
    assert (change.breaks, change.message) == (True, "the response was one message and is a stream of messages")
    (difference,) = diff(one, stream)
    assert difference.kind is DifferenceKind.STREAMING


def test_a_file_may_have_another_name() -> None:
    moved = files("proto3")
    moved.file[0].name = "ask/moved.proto"
    pairs = [(contract(files("proto3")), contract(moved))]
    assert list(judged(pairs)) == [frozenset()]
    assert not breaking_changes(*pairs[0])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("another name", "ask.Ask.text was called 'text' and is called 'words'"),
        ("a field gone", "field 'text' (string, number 1) of ask.Ask is gone, and its name is not reserved"),
        ("string to bytes", "ask.Ask.text was string and is bytes"),
        ("values of a map", "the value of ask.Ask.labels was int32 and is string"),
        ("single to repeated", "ask.Ask.text was a single value and is repeated"),
        ("another default", "ask.Ask.text had the default 'a' and has 'b'"),
        ("into a oneof", "ask.Ask.text was in no oneof and is in oneof 'payer'"),
        ("a value gone", "value 1 (COLOUR_RED) of ask.Colour is gone, and its number is not reserved"),
        ("a part of a reserved range gone", "numbers 25 to 29 of ask.Ask were reserved and are not"),
        ("a new required field", "field 'more' (number 99) of ask.Ask was not required and is"),
    ],
)
def test_a_breaking_change_has_both_sides(name: str, words: str) -> None:
    case = next(case for case in CASES if case.name == name)
    assert words in [violation.message for violation in breaking_changes(*pair(case))]
