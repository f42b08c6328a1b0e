"""Random rules and random messages: hub refuses what protovalidate refuses, and the schema accepts what hub accepts."""

from __future__ import annotations

import re

import msgspec
import pytest
from google.protobuf import json_format
from google.protobuf.message import Message
from hypothesis import given, note, strategies as st
from jsonschema_rs import Draft202012Validator, meta

from hub.contract import BrokenRules, CompiledContract, Contract, InvalidContract, compile_rules, input_schema
from hub.contract.patterns import portable
from hub.contract.rules.regular_expressions import Patterns
from tests.contract.bounded import bounded
from tests.contract.random_rules import ruled_messages
from tests.contract.rules_oracle import expected_violations, own_violations, with_declarations


@bounded
@given(ruled_messages())
def test_rules_refuse_what_protovalidate_refuses(case: tuple[CompiledContract, Message]) -> None:
    compiled, message = case
    note(str(compiled.contract.files))
    assert own_violations(compile_rules(compiled.request), message) == expected_violations(with_declarations(message))


@bounded
@given(ruled_messages())
def test_the_schema_accepts_what_the_gateway_accepts(case: tuple[CompiledContract, Message]) -> None:
    compiled, message = case
    document = json_format.MessageToJson(message).encode()
    schema = input_schema(compiled.request, compiled.types).standalone()
    meta.validate(schema)
    if expected_violations(with_declarations(message)):
        with pytest.raises(BrokenRules):
            compiled.request_transcoder.decode_json(document)
    else:
        assert compiled.request_transcoder.parse_json(document) == message or "NaN" in document.decode()
        note(str(schema))
        assert Draft202012Validator(schema).is_valid(msgspec.json.decode(document))


@bounded
@given(ruled_messages())
def test_a_contract_with_rules_is_the_same_after_it_was_sent(case: tuple[CompiledContract, Message]) -> None:
    contract = case[0].contract
    assert Contract.decode(contract.encode()) == contract


ATOMS = st.sampled_from(
    [
        r"a",
        r"b",
        r"é",
        r".",
        r"\.",
        r"\d",
        r"\D",
        r"\w",
        r"\s",
        r"[ab]",
        r"[^a]",
        r"[\d.]",
        r"[\w-]",
        r"[]a]",
        r"[a-]",
        r"\pL",
        r"{",
        r"}",
        r"]",
        r"(a)",
        r"(?:b|a.)",
        r"(?i)a",
        r"^",
        r"$",
        r"\A",
        r"\z",
        r"\b",
        r"-",
        r"/",
        r"&&",
        r"[a&&b]",
        r"[[:alpha:]]",
        r"\x61",
    ]
)
PATTERNS = st.lists(st.tuples(ATOMS, st.sampled_from(["", "", "*", "+", "?", "{2}", "{1,}", "{,2}"])), max_size=4).map(
    lambda parts: "".join(atom + repetition for atom, repetition in parts)
)


@bounded
@given(PATTERNS, st.lists(st.text(st.sampled_from("abéA1 .\n-{}]&/_"), max_size=5), min_size=1, max_size=8))
def test_a_pattern_in_a_schema_matches_what_re2_matches(pattern: str, texts: list[str]) -> None:
    try:
        search = Patterns().search(pattern)
    except InvalidContract:
        return
    published = portable(pattern)
    if published is None:
        return
    note(str(published))
    validator = Draft202012Validator({"pattern": published})
    for text in texts:
        # "At least": jsonschema-rs accepts "a" for "a+a*a+".
        assert validator.is_valid(text) >= (search(text) is not None), text
        assert (re.search(published, text) is not None) >= (search(text) is not None), text
