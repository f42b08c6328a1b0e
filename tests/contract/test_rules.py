"""Rules on requests: pointers, texts, both sides of each limit, and what is refused as a contract."""

from __future__ import annotations

import base64
import math
import re
import shutil
import subprocess
from importlib.resources import files as resources
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorSet
from jsonschema_rs import Draft202012Validator

from hub.contract import BrokenRules, Contract, InvalidContract, InvalidDocument, compile_rules, input_schema
from hub.contract.descriptors.pool import build_pool
from hub.contract.descriptors.rule_options import POOL
from hub.contract.errors import MAX_PROBLEMS
from hub.contract.rules.regular_expressions import Patterns
from hub.contract.source import proto_source
from hub.v1 import contract_pb2
from tests.contract.breaking_oracle import BUF
from tests.contract.random_rules import field_of, ruled_contract, with_rules
from tests.contract.rules_oracle import expected_violations, own_violations, with_declarations

F = FieldDescriptorProto
CASES = Path(__file__).parent / "protovalidate"
INCLUDE = Path(str(resources("hub.cli.proto"))) / "include"


def violations(compiled: Any, document: object) -> dict[str, str]:
    with pytest.raises(BrokenRules) as caught:
        compiled.request_transcoder.decode_json(msgspec.json.encode(document))
    return {problem.pointer: problem.message for problem in caught.value.problems}


ORDER = ruled_contract(
    with_rules(field_of("unit_count", 1, F.TYPE_INT32), int32={"gte": 1, "lte": 10}),
    with_rules(field_of("name", 2, F.TYPE_STRING), required=True, string={"max_len": 3}),
    with_rules(field_of("tags", 3, F.TYPE_STRING, F.LABEL_REPEATED), repeated={"items": {"string": {"email": True}}}),
)


def test_each_violation_has_a_pointer_and_names_the_rule_and_its_limit() -> None:
    assert violations(ORDER, {"unitCount": 11, "name": "long", "tags": ["a@b.c", "a"]}) == {
        "/unitCount": "must be greater than or equal to 1 and less than or equal to 10 (rule int32.gte_lte)",
        "/name": "must have at most 3 characters (rule string.max_len)",
        "/tags/1": "must be a valid email address (rule string.email)",
    }
    assert violations(ORDER, {"unitCount": 1}) == {"/name": "is required (rule required)"}
    ORDER.request_transcoder.parse_json(b'{"unitCount": 10, "name": "abc", "tags": ["a@b.c"]}')


def test_a_pointer_has_the_name_that_the_document_has() -> None:
    assert [*violations(ORDER, {"unit_count": 11, "name": "a"})] == ["/unit_count"]


def test_violations_are_bounded_and_a_problem_of_the_document() -> None:
    with pytest.raises(InvalidDocument) as caught:
        ORDER.request_transcoder.decode_json(msgspec.json.encode({"unitCount": 1, "name": "a", "tags": ["a"] * 1000}))
    error = caught.value
    assert (len(error.problems), error.more, error.status, error.code) == (MAX_PROBLEMS, True, 422, "invalid_document")
    assert "breaks its rules: /tags/0: must be" in str(error)


def test_a_message_without_rules_has_no_check() -> None:
    compiled = ruled_contract(field_of("value", 1, F.TYPE_INT32))
    assert compile_rules(compiled.request) is None
    ignored = ruled_contract(with_rules(field_of("value", 1, F.TYPE_INT32), ignore=3, int32={"lt": 3}))
    assert compile_rules(ignored.request) is None


def test_ignored_rules_on_items_are_not_in_the_schema() -> None:
    field = with_rules(
        field_of("value", 1, F.TYPE_INT32, F.LABEL_REPEATED), ignore=3, repeated={"items": {"int32": {"lt": 3}}}
    )
    compiled = ruled_contract(field, with_rules(field_of("other", 2, F.TYPE_INT32), int32={"lt": 3}))
    compiled.request_transcoder.decode_json(b'{"value": [3]}')
    assert Draft202012Validator(input_schema(compiled.request, compiled.types).standalone()).is_valid({"value": [3]})


def nested(**rules: Any) -> DescriptorProto:
    message = DescriptorProto(name="Part")
    message.field.append(with_rules(field_of("size", 1, F.TYPE_UINT64), uint64={"lt": 5}))
    part = field_of("part", 2, F.TYPE_MESSAGE)
    part.type_name = ".ruled.Request.Part"
    message.field.append(with_rules(part, **rules) if rules else part)
    return message


def test_messages_in_a_message_are_checked_at_any_depth() -> None:
    field = field_of("part", 1, F.TYPE_MESSAGE)
    field.type_name = ".ruled.Request.Part"
    compiled = ruled_contract(field, nested=nested())
    assert [*violations(compiled, {"part": {"size": 5, "part": {"part": {"size": "6"}}}})] == [
        "/part/size",
        "/part/part/part/size",
    ]
    ignored = ruled_contract(field, nested=nested(ignore=3))
    document = {"part": {"size": 4, "part": {"size": 6}}}
    ignored.request_transcoder.parse_json(msgspec.json.encode(document))
    assert Draft202012Validator(input_schema(ignored.request, ignored.types).standalone()).is_valid(document)


LIMITS: list[tuple[F.Type.ValueType, dict[str, Any], object, object]] = [
    (F.TYPE_INT32, {"int32": {"lt": 3}}, 2, 3),
    (F.TYPE_INT64, {"int64": {"lte": 3}}, 3, 4),
    (F.TYPE_UINT32, {"uint32": {"gt": 3}}, 4, 3),
    (F.TYPE_SINT64, {"sint64": {"gte": -3}}, -3, -4),
    (F.TYPE_DOUBLE, {"double": {"const": 0.5}}, 0.5, 0.25),
    (F.TYPE_FLOAT, {"float": {"finite": True}}, 1.5, float("inf")),
    (F.TYPE_FIXED32, {"fixed32": {"in": [1, 2]}}, 2, 3),
    (F.TYPE_SFIXED64, {"sfixed64": {"not_in": [1, 2]}}, 3, 2),
    (F.TYPE_BOOL, {"bool": {"const": True}}, True, False),
    (F.TYPE_ENUM, {"enum": {"defined_only": True}}, 2, 3),
    (F.TYPE_STRING, {"string": {"len": 2}}, "éé", "é"),
    (F.TYPE_STRING, {"string": {"min_len": 2}}, "ab", "a"),
    (F.TYPE_STRING, {"string": {"max_bytes": 3}}, "éa", "éé"),
    (F.TYPE_STRING, {"string": {"min_bytes": 3}}, "éa", "é"),
    (F.TYPE_STRING, {"string": {"len_bytes": 4}}, "éé", "é"),
    (F.TYPE_STRING, {"string": {"pattern": "^a+$"}}, "aa", "aa\n"),
    (F.TYPE_STRING, {"string": {"prefix": "ab"}}, "abc", "ac"),
    (F.TYPE_STRING, {"string": {"suffix": "bc"}}, "abc", "ac"),
    (F.TYPE_STRING, {"string": {"contains": "b"}}, "abc", "ac"),
    (F.TYPE_STRING, {"string": {"not_contains": "b"}}, "ac", "abc"),
    (F.TYPE_STRING, {"string": {"uuid": True}}, "0" * 8 + "-0000" * 3 + "-" + "0" * 12, "0" * 32),
    (F.TYPE_STRING, {"string": {"tuuid": True}}, "0" * 32, "0" * 31),
    (F.TYPE_STRING, {"string": {"ulid": True}}, "7" * 26, "8" * 26),
    (F.TYPE_STRING, {"string": {"well_known_regex": 1}}, "X-A", "X A"),
    (F.TYPE_STRING, {"string": {"well_known_regex": 2, "strict": False}}, "a\tb", "a\nb"),
    (F.TYPE_BYTES, {"bytes": {"ipv6": True}}, b"0" * 16, b"0" * 4),
    (F.TYPE_BYTES, {"bytes": {"pattern": "^a"}}, b"ab", b"ba"),
    (F.TYPE_BYTES, {"bytes": {"max_len": 2}}, b"ab", b"abc"),
]


@pytest.mark.parametrize(("kind", "rules", "accepted", "refused"), LIMITS)
def test_a_rule_accepts_and_refuses_on_both_sides_of_its_limit(
    kind: F.Type.ValueType, rules: dict[str, Any], accepted: object, refused: object
) -> None:
    compiled = ruled_contract(with_rules(field_of("value", 1, kind), **rules))
    check = compile_rules(compiled.request)
    for value, count in ((accepted, 0), (refused, 1)):
        message = compiled.request_class(value=value)
        found = own_violations(check, message)
        assert len(found) == count, value
        assert found == expected_violations(with_declarations(message))


NOT_IN_THE_SCHEMA = {"max_bytes", "min_bytes", "len_bytes", "bytes.pattern", "bytes.max_len"}
"""Rules of which the schema accepts a value that is just beyond the limit."""


@pytest.mark.parametrize(("kind", "rules", "accepted", "refused"), LIMITS)
def test_the_schema_has_the_same_limit(
    kind: F.Type.ValueType, rules: dict[str, Any], accepted: object, refused: object
) -> None:
    compiled = ruled_contract(with_rules(field_of("value", 1, kind), **rules))
    schema = Draft202012Validator(input_schema(compiled.request, compiled.types).standalone())

    def json_value(value: object) -> object:
        if isinstance(value, bytes):
            return base64.b64encode(value).decode()
        return "Infinity" if value == math.inf else value

    assert schema.is_valid({"value": json_value(accepted)})
    ((name, of_kind),) = rules.items()
    names = {*of_kind, *(f"{name}.{each}" for each in of_kind)}
    assert schema.is_valid({"value": json_value(refused)}) == bool(names & NOT_IN_THE_SCHEMA)


@pytest.mark.parametrize(
    ("kind", "rules", "reason"),
    [
        pytest.param(
            F.TYPE_INT32, {"cel": [{"id": "x", "expression": "this > 1"}]}, "the rule `cel` is not supported", id="CEL"
        ),
        pytest.param(
            F.TYPE_INT32, {"cel_expression": ["this > 1"]}, "the rule `cel_expression` is not supported", id="short CEL"
        ),
        pytest.param(F.TYPE_INT32, {"string": {"len": 1}}, "rules of the kind string do not fit", id="another kind"),
        pytest.param(F.TYPE_STRING, {"repeated": {"min_items": 1}}, "the kind repeated do not fit", id="no list"),
        pytest.param(F.TYPE_DOUBLE, {"double": {"lt": math.nan}}, "is NaN", id="NaN"),
        pytest.param(F.TYPE_STRING, {"string": {"pattern": "(?=a)"}}, "is not accepted by RE2", id="look-around"),
        pytest.param(F.TYPE_STRING, {"string": {"pattern": "a" * 2001}}, "2001 characters", id="a long pattern"),
        pytest.param(
            F.TYPE_STRING,
            {"string": {"pattern": r"(?:\pL{30}){30}"}},
            "pattern too large",
            id="a pattern of big classes",
        ),
        pytest.param(F.TYPE_STRING, {"string": {"pattern": "a{999}" * 11}}, "instructions", id="a big pattern"),
    ],
)
def test_an_unsupported_rule_is_refused_with_its_field(
    kind: F.Type.ValueType, rules: dict[str, Any], reason: str
) -> None:
    with pytest.raises(InvalidContract, match=rf"field ruled\.Request\.value: .*{re.escape(reason)}"):
        ruled_contract(with_rules(field_of("value", 1, kind), **rules))


def test_predefined_and_unknown_rules_are_refused() -> None:
    for data, reason in ((b"\x72\x05\xc0\x3e\x01\x30\x02", "predefined"), (b"\xa0\x06\x01", "newer than this version")):
        field = field_of("value", 1, F.TYPE_STRING)
        # Field 1159 of the options: the message with the rules.
        field.options.MergeFromString(b"\xba\x48" + bytes([len(data)]) + data)
        with pytest.raises(InvalidContract, match=rf"field ruled\.Request\.value: the rule with number .*{reason}"):
            ruled_contract(field)


def test_a_match_takes_time_in_proportion_to_the_text() -> None:
    search = Patterns().search("^(a|aa|a+)+$")
    assert not search("a" * 200_000 + "b")


def test_the_matches_of_a_document_take_a_bounded_number_of_steps() -> None:
    pattern = {"pattern": "^(?:a?b?){500}[ab]{900}c$"}
    compiled = ruled_contract(
        with_rules(field_of("value", 1, F.TYPE_STRING, F.LABEL_REPEATED), repeated={"items": {"string": pattern}})
    )
    assert compiled.request_transcoder.weight > 50, "the gateway checks such documents in a thread"
    assert ORDER.request_transcoder.weight == 1
    few = violations(compiled, {"value": ["ab"] * 10})
    assert len(few) == 10
    many = violations(compiled, {"value": ["ab" * 1000] * 100})
    assert [*many] == [""]
    assert "more text than can be matched" in many[""]
    assert len(violations(compiled, {"value": ["ab"] * 10})) == 10, "each document has its own budget"


def test_all_patterns_of_a_contract_are_bounded() -> None:
    fields = [
        with_rules(field_of(f"value_{number}", number, F.TYPE_STRING), string={"pattern": "a{999}" * 9 + str(number)})
        for number in range(1, 23)
    ]
    ruled_contract(*fields[:-1])
    with pytest.raises(InvalidContract, match=r"last: with the pattern .* more than 200000 instructions"):
        ruled_contract(*fields, with_rules(field_of("last", 100, F.TYPE_STRING), string={"pattern": "b{999}" * 10}))
    same = [
        with_rules(field_of(f"value_{number}", number, F.TYPE_STRING), string={"pattern": "a{999}" * 9})
        for number in range(1, 100)
    ]
    ruled_contract(*same)


def test_the_table_of_rules_is_that_of_protovalidate() -> None:
    theirs = build_pool(FileDescriptorSet.FromString(base64.b64decode((CASES / "descriptors.txt").read_bytes())))
    own = POOL.FindFileByName("hub/buf_validate_options.proto")
    for name, message in own.message_types_by_name.items():
        if name.endswith("Options"):
            continue
        expected = theirs.FindMessageTypeByName(f"buf.validate.{name}")
        assert [shape(field) for field in sorted(message.fields, key=number_of)] == [
            shape(field) for field in sorted(expected.fields, key=number_of)
        ], name


def number_of(field: FieldDescriptor) -> int:
    return int(field.number)


def shape(field: FieldDescriptor) -> tuple[object, ...]:
    kind = FieldDescriptor.TYPE_INT32 if field.type == FieldDescriptor.TYPE_ENUM else field.type
    oneof = field.containing_oneof
    message = "" if field.message_type is None else field.message_type.full_name
    return field.name, field.number, kind, field.is_repeated, message, oneof is not None


def test_rules_are_part_of_the_fingerprint_and_survive_the_wire() -> None:
    plain = ruled_contract(field_of("value", 1, F.TYPE_INT32)).contract
    ruled = [
        ruled_contract(with_rules(field_of("value", 1, F.TYPE_INT32), int32={"lt": limit})).contract for limit in (3, 4)
    ]
    assert len({contract.fingerprint for contract in (plain, *ruled)}) == 3
    assert Contract.decode(ruled[0].encode()) == ruled[0]


def test_a_printed_contract_with_rules_compiles_to_the_same_contract() -> None:
    contract = ORDER.contract
    with TemporaryDirectory() as folder:
        shutil.copytree(INCLUDE, folder, dirs_exist_ok=True)
        for name, text in proto_source(contract).items():
            (Path(folder) / name).write_text(text)
        command: list[str | Path] = [BUF, "build", folder, "--exclude-source-info", "-o", "-#format=binpb"]
        done = subprocess.run(command, capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, (done.stderr.decode(), proto_source(contract))
    files = FileDescriptorSet.FromString(done.stdout)
    message = contract_pb2.Contract(request=contract.request, response=contract.response, files=files)
    assert Contract.decode(message.SerializeToString()) == contract
