"""Tighter rules break a contract: no request that is valid by the earlier rules is refused by compatible ones."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import FieldDescriptorProto
from hypothesis import assume, given, note, strategies as st

from hub.contract import Contract, breaking_changes, compile_rules, diff
from hub.contract.compatibility.rules import Rule
from hub.contract.contract import Contract as ContractValue
from tests.contract.bounded import bounded
from tests.contract.random_rules import RULES, field_of, ruled_contract, with_rules

F = FieldDescriptorProto


def contract_of(kind: F.Type.ValueType, rules: dict[str, Any], label: Any = F.LABEL_OPTIONAL) -> Contract:
    field = field_of("value", 1, kind, label)
    return ruled_contract(with_rules(field, **rules) if rules else field).contract


@st.composite
def changed_rules(draw: st.DrawFn) -> tuple[F.Type.ValueType, dict[str, Any], dict[str, Any], Any]:
    """The rules on a field before and after a change, and a value."""
    name = draw(st.sampled_from([*RULES]))
    kind, rules, values = RULES[name]
    sides = []
    for _ in range(2):
        side: dict[str, Any] = {name: draw(rules)} if draw(st.booleans()) else {}
        if draw(st.integers(0, 3)) == 0:
            side["required"] = True
        if draw(st.integers(0, 3)) == 0:
            side["ignore"] = 1
        sides.append(side)
    return kind, sides[0], sides[1], draw(values)


@bounded
@given(changed_rules())
def test_a_request_that_was_valid_is_valid_after_a_compatible_change(
    case: tuple[F.Type.ValueType, dict[str, Any], dict[str, Any], Any],
) -> None:
    kind, before, after, value = case
    old, new = (ruled_contract(with_rules(field_of("value", 1, kind), **rules)) for rules in (before, after))
    assume(not breaking_changes(old.contract, new.contract))
    request = old.request_class(value=value)
    check = compile_rules(old.request)
    assume(check is None or not check.errors(request))
    note(str(request))
    renewed = compile_rules(new.request)
    assert renewed is None or not renewed.errors(new.request_class.FromString(request.SerializeToString()))


TIGHTER = [
    ("a new limit", F.TYPE_INT32, {}, {"int32": {"lte": 5}}),
    ("a lower limit", F.TYPE_INT32, {"int32": {"lte": 5}}, {"int32": {"lte": 4}}),
    ("an exclusive limit", F.TYPE_DOUBLE, {"double": {"gte": 0}}, {"double": {"gt": 0}}),
    ("a value less", F.TYPE_STRING, {"string": {"in": ["a", "b"]}}, {"string": {"in": ["a"]}}),
    ("a value refused", F.TYPE_STRING, {"string": {"not_in": ["a"]}}, {"string": {"not_in": ["a", "b"]}}),
    ("another pattern", F.TYPE_STRING, {"string": {"pattern": "^a"}}, {"string": {"pattern": "^b"}}),
    ("a shorter text", F.TYPE_STRING, {"string": {"max_len": 9}}, {"string": {"max_len": 8}}),
    ("a new format", F.TYPE_STRING, {}, {"string": {"email": True}}),
    ("a narrower format", F.TYPE_STRING, {"string": {"ip": True}}, {"string": {"ipv4": True}}),
    ("required", F.TYPE_STRING, {}, {"required": True}),
    ("checked again", F.TYPE_INT32, {"ignore": 3, "int32": {"lt": 3}}, {"int32": {"lt": 3}}),
    ("defined only", F.TYPE_ENUM, {}, {"enum": {"defined_only": True}}),
]


@pytest.mark.parametrize(("kind", "before", "after"), [pytest.param(*case[1:], id=case[0]) for case in TIGHTER])
def test_a_tighter_rule_breaks_requests_and_a_looser_one_does_not(
    kind: F.Type.ValueType, before: dict[str, Any], after: dict[str, Any]
) -> None:
    old, new = contract_of(kind, before), contract_of(kind, after)
    (broken,) = breaking_changes(old, new)
    assert (broken.path, broken.rule) == ("ruled.Request.value", Rule.FIELD_RULES_NOT_TIGHTER)
    if before.keys() & {"string"} and "pattern" in before["string"]:
        assert breaking_changes(new, old), "another pattern"
    else:
        assert not breaking_changes(new, old)
    assert [each.kind for each in diff(old, new)] == ["field_rules"]


@pytest.mark.parametrize(
    ("before", "after", "breaks"),
    [
        ({"min_items": 1}, {"min_items": 2}, True),
        ({"max_items": 3}, {"max_items": 4}, False),
        ({"items": {"string": {"max_len": 3}}}, {"items": {"string": {"max_len": 4}}}, False),
        ({"items": {"string": {"max_len": 3}}}, {"items": {"string": {"max_len": 2}}}, True),
        ({}, {"unique": True}, True),
        ({"unique": True}, {}, False),
    ],
)
def test_rules_of_lists_are_compared(before: dict[str, Any], after: dict[str, Any], breaks: bool) -> None:
    old, new = (
        contract_of(F.TYPE_STRING, {"repeated": rules} if rules else {}, F.LABEL_REPEATED) for rules in (before, after)
    )
    assert bool(breaking_changes(old, new)) is breaks


def test_a_new_field_that_must_be_set_breaks_and_another_one_does_not() -> None:
    plain = field_of("value", 1, F.TYPE_INT32)
    old = ruled_contract(plain).contract
    required = ruled_contract(plain, with_rules(field_of("other", 2, F.TYPE_STRING), required=True)).contract
    (broken,) = breaking_changes(old, required)
    assert (broken.path, broken.rule) == ("ruled.Request.other", Rule.FIELD_RULES_NOT_TIGHTER)
    optional = ruled_contract(plain, with_rules(field_of("other", 2, F.TYPE_STRING), string={"max_len": 3})).contract
    assert not breaking_changes(old, optional)


def test_rules_of_a_response_do_not_break() -> None:
    old, new = (contract_of(F.TYPE_INT32, rules) for rules in ({"int32": {"lte": 5}}, {"int32": {"lte": 4}}))
    swapped = [
        ContractValue.from_descriptors(compiled.response, compiled.request)
        for compiled in (
            ruled_contract(with_rules(field_of("value", 1, F.TYPE_INT32), int32={"lte": n})) for n in (5, 4)
        )
    ]
    assert breaking_changes(old, new)
    assert not breaking_changes(*swapped)
    assert diff(*swapped)
