"""The cases of protovalidate's conformance suite, with the suite's expectation and with protovalidate itself."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import protovalidate
import pytest
from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from jsonschema_rs import Draft202012Validator

from hub.contract import (
    Contract,
    InvalidContract,
    NotJsonRepresentable,
    Transcoder,
    compile_rules,
    input_schema,
)
from hub.contract.descriptors.pool import build_pool
from hub.contract.rules import formats
from tests.contract.rules_oracle import expected_violations, own_violations

CASES = Path(__file__).parent / "protovalidate"
PACKAGE = "buf.validate.conformance.cases"
NOT_UTF8 = "bytes/pattern/invalid/not_utf8"


@cache
def descriptor(name: str) -> Descriptor:
    return pool().FindMessageTypeByName(f"{PACKAGE}.{name}")


@cache
def pool() -> DescriptorPool:
    return build_pool(FileDescriptorSet.FromString(base64.b64decode((CASES / "descriptors.txt").read_bytes())))


def cases() -> Iterator[tuple[str, str, bytes, Any]]:
    for name, of_message in json.loads((CASES / "cases.json").read_bytes()).items():
        for case, (data, expected) in of_message.items():
            yield name, case, base64.b64decode(data), expected


def read(name: str, data: bytes) -> Message:
    return GetMessageClass(descriptor(name)).FromString(data)


def refusal(name: str) -> str:
    """Why the rules of a message cannot be used; empty if they can."""
    try:
        compile_rules(descriptor(name))
    except InvalidContract as error:
        return str(error)
    return ""


def plain(path: str) -> str:
    """A path without quotation marks, and without oneofs, which have none in JSON."""
    return re.sub(r"(^|\.)(?:o|one)$", "", re.sub(r'\["(.*?)"\]', r"[\1]", path))


def test_every_case_has_the_violations_that_the_suite_and_protovalidate_expect() -> None:
    checked = violated = in_cel = refused = 0
    for name, case, data, expected in cases():
        message = read(name, data)
        reason = refusal(name)
        if "CEL" in reason:
            in_cel += 1
            continue
        if reason:
            refused += 1
            assert expected == "compilation error", (case, reason)
            with pytest.raises(protovalidate.CompilationError):
                expected_violations(message)
            continue
        found = own_violations(compile_rules(descriptor(name)), message)
        if case == NOT_UTF8:
            assert found == [("val", "bytes.pattern")]
            continue
        assert found == expected_violations(message), case
        assert found == sorted((plain(path), rule) for path, rule in ([] if expected == "valid" else expected)), case
        checked += 1
        violated += bool(found)
    assert (checked, violated, refused, in_cel) == (1784, 755, 25, 740)


FORMATS: dict[str, Callable[[Any], bool]] = {
    "IsEmail": lambda case: formats.is_email(case.val),
    "IsHostname": lambda case: formats.is_hostname(case.val),
    "IsUri": lambda case: formats.is_uri(case.val),
    "IsUriRef": lambda case: formats.is_uri_ref(case.val),
    "IsIp": lambda case: {4: formats.is_ipv4, 6: formats.is_ipv6, 0: formats.is_ip}.get(case.version, _never)(case.val),
    "IsIpPrefix": lambda case: {
        (4, False): formats.is_ipv4_with_prefixlen,
        (6, False): formats.is_ipv6_with_prefixlen,
        (0, False): formats.is_ip_with_prefixlen,
        (4, True): formats.is_ipv4_prefix,
        (6, True): formats.is_ipv6_prefix,
        (0, True): formats.is_ip_prefix,
    }.get((case.version, case.strict), _never)(case.val),
}


def _never(_: str) -> bool:
    return False


def test_formats_of_strings_accept_what_the_suite_expects() -> None:
    counts = dict.fromkeys((*FORMATS, "IsHostAndPort"), 0)
    for name, case, data, expected in cases():
        if name not in counts:
            continue
        message: Any = read(name, data)
        if name in FORMATS:
            accepted = FORMATS[name](message)
        elif message.port_required:  # the rule `host_and_port` requires it
            accepted = formats.is_host_and_port(message.val)
        else:
            continue
        counts[name] += 1
        assert accepted == (expected == "valid"), case
    assert all(count > 20 for count in counts.values()), counts


def test_every_message_of_the_suite_makes_a_contract_that_keeps_its_rules() -> None:
    kept = 0
    for name in {name for name, *_ in cases()}:
        message = descriptor(name)
        try:
            contract = Contract.from_descriptors(message, message)
        except InvalidContract:
            continue
        again = Contract.decode(contract.encode())
        assert again == contract
        kept += b"buf/validate/validate.proto" not in contract.files
    assert kept > 500


def test_the_schema_accepts_the_valid_messages_of_the_suite() -> None:
    accepted = 0
    schemas: dict[str, Draft202012Validator] = {}
    for name, case, data, _ in cases():
        if refusal(name):
            continue
        message = read(name, data)
        check = compile_rules(descriptor(name))
        if check is not None and check.errors(message):
            continue
        try:
            document = Transcoder(descriptor(name)).encode_json(message)
        except NotJsonRepresentable:
            continue
        if name not in schemas:
            schemas[name] = Draft202012Validator(input_schema(descriptor(name)).standalone())
        assert schemas[name].is_valid(msgspec.json.decode(document)), (case, document)
        accepted += 1
    assert accepted > 900


@pytest.mark.parametrize(
    ("name", "valid"),
    [
        ("TimestampLTNow", {-1000, -1}),
        ("TimestampGTNow", {1, 1000}),
        ("TimestampWithin", {-1, 1}),
        ("TimestampLTNowWithin", {-1}),
        ("TimestampGTNowWithin", {1}),
    ],
)
def test_rules_relative_to_now_are_those_of_protovalidate(name: str, valid: set[int]) -> None:
    check = compile_rules(descriptor(name))
    for minutes in (-1000, -1, 1, 1000):
        message: Any = read(name, b"")
        message.val.seconds = int(time.time()) + 60 * minutes
        found = own_violations(check, message)
        assert found == expected_violations(message)
        assert (not found) == (minutes in valid), minutes
