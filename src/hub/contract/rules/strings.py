"""Rules on strings and bytes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from hub.contract import patterns
from hub.contract.rules import formats
from hub.contract.rules.checks import Check, equality_checks, unless
from hub.contract.rules.regular_expressions import Patterns


def _whole(pattern: str) -> Callable[[str], object]:
    return lambda text: re.fullmatch(pattern, text)  # compiled when it is first used


STRING_FORMATS: Final[Mapping[str, tuple[Callable[[str], object], str]]] = {
    "email": (formats.is_email, "email address"),
    "hostname": (formats.is_hostname, "host name"),
    "ip": (formats.is_ip, "IP address"),
    "ipv4": (formats.is_ipv4, "IPv4 address"),
    "ipv6": (formats.is_ipv6, "IPv6 address"),
    "uri": (formats.is_uri, "URI"),
    "uri_ref": (formats.is_uri_ref, "URI reference"),
    "address": (formats.is_address, "host name or IP address"),
    "uuid": (_whole(patterns.UUID), "UUID"),
    "tuuid": (_whole(patterns.TRIMMED_UUID), "UUID without hyphens"),
    "ip_with_prefixlen": (formats.is_ip_with_prefixlen, "IP address with prefix length"),
    "ipv4_with_prefixlen": (formats.is_ipv4_with_prefixlen, "IPv4 address with prefix length"),
    "ipv6_with_prefixlen": (formats.is_ipv6_with_prefixlen, "IPv6 address with prefix length"),
    "ip_prefix": (formats.is_ip_prefix, "IP prefix"),
    "ipv4_prefix": (formats.is_ipv4_prefix, "IPv4 prefix"),
    "ipv6_prefix": (formats.is_ipv6_prefix, "IPv6 prefix"),
    "host_and_port": (formats.is_host_and_port, "host and port"),
    "ulid": (_whole(patterns.ULID), "ULID"),
    "protobuf_fqn": (_whole(patterns.PROTOBUF_NAME), "full name of protobuf"),
    "protobuf_dot_fqn": (_whole(f"\\.{patterns.PROTOBUF_NAME}"), "full name of protobuf with a leading dot"),
}
"""The rules of the oneof `well_known` that are flags: the predicate, and the format in words."""

HEADERS: Final[Mapping[tuple[int, bool], tuple[str, str, str]]] = {
    (1, True): ("header_name", patterns.HEADER_NAME, "name of an HTTP header"),
    (1, False): ("header_name", patterns.HEADER_NAME_LAX, "name of an HTTP header, without line breaks"),
    (2, True): ("header_value", patterns.HEADER_VALUE, "value of an HTTP header"),
    (2, False): ("header_value", patterns.HEADER_VALUE_LAX, "value of an HTTP header, without line breaks"),
}
"""By `well_known_regex` and `strict`: the last part of the rule's name, the pattern, the format in words."""

_BYTES_FORMATS: Final[Mapping[str, tuple[tuple[int, ...], str]]] = {
    "ip": ((4, 16), "IP address (4 or 16 bytes)"),
    "ipv4": ((4,), "IPv4 address (4 bytes)"),
    "ipv6": ((16,), "IPv6 address (16 bytes)"),
    "uuid": ((16,), "UUID (16 bytes)"),
}


def string_checks(rules: Any, patterns_of: Patterns) -> Iterator[Check]:
    """Raises `InvalidContract` for a pattern that cannot be used."""
    given = {field.name: value for field, value in rules.ListFields()}
    yield from equality_checks("string", rules, _same, repr)
    for suffix, size, unit in (("len", len, "characters"), ("bytes", _utf8_size, "bytes")):
        exact = "len" if suffix == "len" else "len_bytes"
        yield from _size_checks("string", given, (exact, f"min_{suffix}", f"max_{suffix}"), size, unit)
    if "pattern" in given:
        text = f"must match the pattern {given['pattern']}"
        yield unless(patterns_of.search(given["pattern"]), text, "string.pattern")
    yield from _part_checks("string", given, repr)
    for name, (accepts, words) in STRING_FORMATS.items():
        if given.get(name):
            yield _format_check(f"string.{name}", accepts, words, takes_empty=name == "uri_ref")
    header = HEADERS.get((given.get("well_known_regex", 0), given.get("strict", True)))
    if header is not None:
        name, pattern, words = header
        takes_empty = name == "header_value"
        yield _format_check(f"string.well_known_regex.{name}", _whole(pattern), words, takes_empty=takes_empty)


def bytes_checks(rules: Any, patterns_of: Patterns) -> Iterator[Check]:
    """Raises `InvalidContract` for a pattern that cannot be used."""
    given = {field.name: value for field, value in rules.ListFields()}
    yield from equality_checks("bytes", rules, _same, bytes.hex)
    yield from _size_checks("bytes", given, ("len", "min_len", "max_len"), len, "bytes")
    if "pattern" in given:
        search = patterns_of.search(given["pattern"])
        yield unless(
            lambda value: _matches(search, value),
            f"must be UTF-8 and match the pattern {given['pattern']}",
            "bytes.pattern",
        )
    yield from _part_checks("bytes", given, bytes.hex)
    for name, (sizes, words) in _BYTES_FORMATS.items():
        if given.get(name):
            yield _format_check(f"bytes.{name}", _has_size(sizes), words, takes_empty=False)


def _same(value: Any) -> Any:
    return value


def _utf8_size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def _size_checks(
    kind: str, given: Mapping[str, Any], names: tuple[str, str, str], size: Callable[[Any], int], unit: str
) -> Iterator[Check]:
    exact, least, most = names
    if exact in given:
        length = given[exact]
        yield unless(lambda value: size(value) == length, f"must have {length} {unit}", f"{kind}.{exact}")
    if least in given:
        low = given[least]
        yield unless(lambda value: size(value) >= low, f"must have at least {low} {unit}", f"{kind}.{least}")
    if most in given:
        high = given[most]
        yield unless(lambda value: size(value) <= high, f"must have at most {high} {unit}", f"{kind}.{most}")


def _part_checks(kind: str, given: Mapping[str, Any], show: Callable[[Any], str]) -> Iterator[Check]:
    if "prefix" in given:
        prefix = given["prefix"]
        yield unless(lambda value: value.startswith(prefix), f"must begin with {show(prefix)}", f"{kind}.prefix")
    if "suffix" in given:
        suffix = given["suffix"]
        yield unless(lambda value: value.endswith(suffix), f"must end with {show(suffix)}", f"{kind}.suffix")
    if "contains" in given:
        part = given["contains"]
        yield unless(lambda value: part in value, f"must contain {show(part)}", f"{kind}.contains")
    if "not_contains" in given:
        refused = given["not_contains"]
        yield unless(lambda value: refused not in value, f"must not contain {show(refused)}", f"{kind}.not_contains")


def _format_check(rule: str, accepts: Callable[[Any], object], words: str, *, takes_empty: bool) -> Check:
    wrong = f"must be a valid {words} (rule {rule})"
    empty = f"is empty, which is no valid {words} (rule {rule}_empty)"
    if takes_empty:
        return lambda value: None if accepts(value) else wrong
    return lambda value: (None if accepts(value) else wrong) if value else empty


def _has_size(sizes: tuple[int, ...]) -> Callable[[Any], bool]:
    return lambda value: len(value) in sizes


def _matches(search: Callable[[str], object], value: bytes) -> object:
    try:
        return search(value.decode())
    except UnicodeDecodeError:
        return None
