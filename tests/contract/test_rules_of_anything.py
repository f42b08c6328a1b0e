"""Random rules and random messages: hub refuses what protovalidate refuses, and the schema accepts what hub accepts."""

from __future__ import annotations

import msgspec
import pytest
from google.protobuf import json_format
from google.protobuf.message import Message
from hypothesis import given, note
from jsonschema_rs import Draft202012Validator, meta

from hub.contract import BrokenRules, CompiledContract, Contract, compile_rules, input_schema
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
