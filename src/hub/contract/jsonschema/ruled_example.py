"""A value that the rules on a field allow, for examples. Not for every set of rules: the result has to be checked."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, Final, cast

from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor
from google.protobuf.json_format import MessageToDict

from hub.contract.protojson.conversion import JsonValue
from hub.contract.rules.fields import declared_rules

_FORMATS: Final[Mapping[str, str]] = {
    "email": "name@example.com",
    "hostname": "example.com",
    "ip": "192.0.2.1",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/",
    "uri_ref": "/path",
    "address": "example.com",
    "uuid": "2ae0c8c4-3f0b-4b8e-9d0a-5b1f6f1d2c3e",
    "tuuid": "2ae0c8c43f0b4b8e9d0a5b1f6f1d2c3e",
    "ip_with_prefixlen": "192.0.2.1/24",
    "ipv4_with_prefixlen": "192.0.2.1/24",
    "ipv6_with_prefixlen": "2001:db8::1/32",
    "ip_prefix": "192.0.2.0/24",
    "ipv4_prefix": "192.0.2.0/24",
    "ipv6_prefix": "2001:db8::/32",
    "host_and_port": "example.com:8080",
    "ulid": "01ARZ3NDEKTSV4RRFFQ69G5FAV",
    "protobuf_fqn": "example.v1.Message",
    "protobuf_dot_fqn": ".example.v1.Message",
}


def rules_of_value(field: FieldDescriptor) -> Any:
    """The rules on the value of a field or on each item of a list; `None` without any."""
    rules = declared_rules(field)
    return rules.repeated.items if rules is not None and field.is_repeated else rules


def fewest_items(field: FieldDescriptor) -> int:
    """The number of items that an example of a list has."""
    rules = declared_rules(field)
    return 1 if rules is None else min(max(1, rules.repeated.min_items), 100)


def ruled_example(field: FieldDescriptor) -> JsonValue:
    """A JSON value for a field with rules; `None` without rules that say which."""
    rules = rules_of_value(field)
    kind = None if rules is None else rules.WhichOneof("type")
    if kind is None or kind in ("repeated", "map"):
        return None
    given = {each.name: value for each, value in getattr(rules, kind).ListFields()}
    for name in ("example", "const", "in"):
        if name in given:
            value = given[name]
            return _json(field, value if name == "const" else value[0])
    if kind == "string":
        return _string(given)
    if kind == "bytes":
        size = given.get("len", given.get("min_len", min(3, given.get("max_len", 3))))
        return _json(field, b"hub"[:size].ljust(size, b"b")) if size <= _LONGEST else None
    limit = _limit(given)
    return None if limit is None else _json(field, limit)


_LONGEST: Final = 1000
"""Characters of a value, at most."""


def _json(field: FieldDescriptor, value: Any) -> JsonValue:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if hasattr(value, "DESCRIPTOR"):
        return cast("JsonValue", MessageToDict(value))  # times are strings
    if field.enum_type is not None:
        return _name(field.enum_type, value)
    return cast("JsonValue", value)  # a scalar of protobuf


def _name(enum: EnumDescriptor, number: int) -> JsonValue:
    named = enum.values_by_number.get(number)
    return number if named is None else str(named.name)


def _string(given: Mapping[str, Any]) -> JsonValue:
    for name, text in _FORMATS.items():
        if given.get(name):
            return text
    least = given.get("len", given.get("min_len", given.get("min_bytes", given.get("len_bytes", 0))))
    most = given.get("len", given.get("max_len", given.get("max_bytes", given.get("len_bytes", max(4, least)))))
    if least > _LONGEST:
        return None
    begin, end = given.get("prefix", ""), given.get("contains", "") + given.get("suffix", "")
    filler = "text"[: max(0, most - len(begin) - len(end))]
    return f"{begin}{filler}{'t' * (least - len(begin) - len(filler) - len(end))}{end}"


def _limit(given: Mapping[str, Any]) -> Any:
    """A number or a time at the limits, or one (second) within them."""
    if "gte" in given or "lte" in given:
        return given.get("gte", given.get("lte"))
    name = next((each for each in ("gt", "lt") if each in given), None)
    if name is None:
        return None
    value, step = given[name], 1 if name == "gt" else -1
    if hasattr(value, "seconds"):
        return type(value)(seconds=value.seconds + step, nanos=value.nanos)
    return value + step
