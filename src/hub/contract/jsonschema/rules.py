"""JSON Schema of the rules of `buf.validate`.

A schema accepts every document that the gateway accepts, and refuses what JSON Schema can express of the rules: numbers
given as strings, times, durations and some formats of strings are only described in words.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping
from typing import Any, Final

from google.protobuf import text_format
from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor

from hub.contract import patterns
from hub.contract.jsonschema.scalars import Schema
from hub.contract.patterns import literal, portable, whole
from hub.contract.rules.fields import IGNORE_ALWAYS, IGNORE_ZERO, declared_rules
from hub.contract.rules.strings import HEADERS

_SAFE_INTEGER: Final = 2**53
"""Limits beyond are left out: some validators compare numbers as floating point."""

_SHOWN: Final = 1000
"""Characters of the rules in a description."""

_BOUNDS: Final = {"gt": "exclusiveMinimum", "gte": "minimum", "lt": "exclusiveMaximum", "lte": "maximum"}
_FORMATS: Final[Mapping[str, str]] = {
    "email": patterns.EMAIL,
    "uuid": patterns.UUID,
    "tuuid": patterns.TRIMMED_UUID,
    "ulid": patterns.ULID,
    "protobuf_fqn": patterns.PROTOBUF_NAME,
    "protobuf_dot_fqn": f"\\.{patterns.PROTOBUF_NAME}",
}
_SIZES: Final = {"ip": (4, 16), "ipv4": (4, 4), "ipv6": (16, 16), "uuid": (16, 16)}
"""Fewest and most bytes of the formats of bytes."""

_NOT_EMPTY: Final = frozenset(
    {"hostname", "ip", "ipv4", "ipv6", "uri", "address", "ip_with_prefixlen", "ipv4_with_prefixlen"}
    | {"ipv6_with_prefixlen", "ip_prefix", "ipv4_prefix", "ipv6_prefix", "host_and_port"}
)


def described(field: FieldDescriptor) -> str:
    """The rules on a field in words, for readers of the schema; empty without any."""
    rules = declared_rules(field)
    if rules is None:
        return ""
    text = text_format.MessageToString(rules, as_one_line=True).strip()
    shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]} ..."
    return f"Rules: `{shown}`" if text else ""


def _checked_rules(field: FieldDescriptor) -> Any:
    """The rules on a field; `None` without any, and if they are ignored."""
    rules = declared_rules(field)
    return None if rules is None or rules.ignore == IGNORE_ALWAYS else rules


def field_keywords(field: FieldDescriptor) -> Schema:
    """The keywords that a schema of the field gets in addition, for its rules. They accept null."""
    rules = _checked_rules(field)
    if rules is None:
        return {}
    kind = rules.WhichOneof("type")
    keywords = _all(_of_kind(kind, getattr(rules, kind), field)) if kind is not None else {}
    if rules.required and not field.has_presence:
        return _all([keywords, _not_zero(field)])
    if rules.ignore == IGNORE_ZERO and not field.has_presence and keywords:
        return {"anyOf": [_zero(field), keywords]}
    return keywords


def item_keywords(field: FieldDescriptor) -> Schema:
    """The same for the items of a list."""
    rules = _checked_rules(field)
    given = {} if rules is None else {each.name: value for each, value in rules.repeated.ListFields()}
    return _value_keywords(given.get("items"), field)


def entry_keywords(field: FieldDescriptor) -> tuple[Schema, Schema]:
    """The same for the keys and the values of a map."""
    rules = _checked_rules(field)
    given = {} if rules is None else {each.name: value for each, value in rules.map.ListFields()}
    entry = field.message_type
    if entry is None:
        raise AssertionError("a map has entries")
    key, value = (entry.fields_by_name[name] for name in ("key", "value"))
    # The keys of other types are strings in JSON.
    keys = _value_keywords(given.get("keys"), key) if key.type == FieldDescriptor.TYPE_STRING else {}
    return keys, _value_keywords(given.get("values"), value)


def _value_keywords(rules: Any, field: FieldDescriptor) -> Schema:
    if rules is None or rules.ignore == IGNORE_ALWAYS:
        return {}
    kind = rules.WhichOneof("type")
    keywords = _all(_of_kind(kind, getattr(rules, kind), field)) if kind is not None else {}
    if rules.ignore == IGNORE_ZERO and field.message_type is None and keywords:
        return {"anyOf": [_zero_value(field), keywords]}
    return keywords


def _all(schemas: Iterator[Schema] | list[Schema]) -> Schema:
    """One schema of several; keywords that are given twice stay apart."""
    found = [schema for schema in schemas if schema]
    merged: Schema = {}
    apart: list[Schema] = []
    for schema in found:
        if merged.keys() & schema.keys():
            apart.append(schema)
        else:
            merged |= schema
    return {**merged, "allOf": apart} if apart else merged


def _of_kind(kind: str, rules: Any, field: FieldDescriptor) -> Iterator[Schema]:
    given = {each.name: value for each, value in rules.ListFields()}
    match kind:
        case "string":
            yield from _string(given)
        case "bytes":
            yield from _bytes(given)
        case "bool":
            if "const" in given:
                yield {"enum": [given["const"], None]}
        case "enum" if field.enum_type is not None:
            yield from _enum(given, field.enum_type)
        case "repeated":
            yield from _sizes(given, "items", "Items")
            floating = (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT)
            if given.get("unique") and field.cpp_type not in floating:  # NaN differs from itself
                yield {"uniqueItems": True}
        case "map":
            yield from _sizes(given, "pairs", "Properties")
        case "any" | "duration" | "timestamp" | "field_mask":
            return
        case _:
            yield from _number(kind, given)


def _number(kind: str, given: Mapping[str, Any]) -> Iterator[Schema]:
    yield from _bounds(kind, given)
    if kind != "float":
        if "const" in given and _expressible(given["const"]):
            yield {"minimum": given["const"], "maximum": given["const"]}
        # Keywords on values must not refuse a number that is given as a string.
        if (allowed := given.get("in")) and all(map(_expressible, allowed)):
            yield {"anyOf": [{"type": ["string", "null"]}, {"enum": [*allowed]}]}
        if (refused := given.get("not_in")) and all(map(_expressible, refused)):
            yield {"not": {"enum": [*refused]}}
    if given.get("finite"):
        yield {"not": {"enum": ["NaN", "Infinity", "-Infinity"]}}


def _bounds(kind: str, given: Mapping[str, Any]) -> Iterator[Schema]:
    bounds: list[Schema] = []
    for name, keyword in _BOUNDS.items():
        if name in given:
            limit = given[name]
            if kind == "float" and name in ("gte", "lte"):
                limit = _next_float(limit, up=name == "lte")
            bounds.append({keyword: limit} if _expressible(limit) else {})
    lower = next((given[name] for name in ("gt", "gte") if name in given), -math.inf)
    upper = next((given[name] for name in ("lt", "lte") if name in given), math.inf)
    if upper >= lower:
        yield from bounds
    elif all(bounds):
        yield {"anyOf": bounds}


def _expressible(limit: float) -> bool:
    return math.isfinite(limit) and (type(limit) is float or abs(limit) <= _SAFE_INTEGER)


def _next_float(limit: float, *, up: bool) -> float:
    """The next value of the type `float`: numbers of a document are rounded to these before they are checked."""
    if not math.isfinite(limit):
        return limit
    if limit == 0:
        return 1e-45 if up else -1e-45
    (bits,) = struct.unpack("<i", struct.pack("<f", limit))
    (value,) = struct.unpack("<f", struct.pack("<i", bits + (1 if up == (limit > 0) else -1)))
    return float(value)


def _string(given: Mapping[str, Any]) -> Iterator[Schema]:
    if "const" in given:
        yield {"enum": [given["const"], None]}
    if "in" in given:
        yield {"enum": [*given["in"], None]}
    if "not_in" in given:
        yield {"not": {"enum": [*given["not_in"]]}}
    least = [given[name] for name in ("len", "min_len") if name in given]
    # A character has one to four bytes.
    least += [math.ceil(given[name] / 4) for name in ("len_bytes", "min_bytes") if name in given]
    most = [given[name] for name in ("len", "max_len", "len_bytes", "max_bytes") if name in given]
    if any(given.get(name) for name in _NOT_EMPTY):
        least.append(1)
    if least:
        yield {"minLength": max(least)}
    if most:
        yield {"maxLength": min(most)}
    for pattern in _patterns(given):
        yield {"pattern": pattern}
    if "not_contains" in given:
        yield {"not": {"type": "string", "pattern": literal(given["not_contains"])}}


def _patterns(given: Mapping[str, Any]) -> Iterator[str]:
    if "prefix" in given:
        yield f"^{literal(given['prefix'])}"
    if "suffix" in given:
        yield f"{literal(given['suffix'])}$"
    if "contains" in given:
        yield literal(given["contains"])
    if "pattern" in given and (pattern := portable(given["pattern"])) is not None:
        yield pattern
    for name, pattern in _FORMATS.items():
        if given.get(name):
            yield whole(pattern)
    header = HEADERS.get((given.get("well_known_regex", 0), given.get("strict", True)))
    if header is not None:
        yield whole(header[1])


def _bytes(given: Mapping[str, Any]) -> Iterator[Schema]:
    """Only the length: the same bytes have several forms in base64, with and without padding."""
    least = [given[name] for name in ("len", "min_len") if name in given]
    most = [given[name] for name in ("len", "max_len") if name in given]
    for name, (low, high) in _SIZES.items():
        if given.get(name):
            least.append(low)
            most.append(high)
    if least:
        yield {"minLength": math.ceil(max(least) * 4 / 3)}
    if most:
        yield {"maxLength": math.ceil(min(most) / 3) * 4}


def _enum(given: Mapping[str, Any], enum: EnumDescriptor) -> Iterator[Schema]:
    def values(numbers: Any) -> list[object]:
        wanted = set(numbers)
        return [*(value.name for value in enum.values if value.number in wanted), *sorted(wanted)]

    if "const" in given:
        yield {"enum": [*values([given["const"]]), None]}
    if "in" in given:
        yield {"enum": [*values(given["in"]), None]}
    if "not_in" in given:
        yield {"not": {"enum": values(given["not_in"])}}
    if given.get("defined_only"):
        yield {"enum": [*values(value.number for value in enum.values), None]}


def _sizes(given: Mapping[str, Any], suffix: str, keyword: str) -> Iterator[Schema]:
    if f"min_{suffix}" in given:
        yield {f"min{keyword}": given[f"min_{suffix}"]}
    if f"max_{suffix}" in given:
        yield {f"max{keyword}": given[f"max_{suffix}"]}


def _not_zero(field: FieldDescriptor) -> Schema:
    if field.is_repeated:
        is_map = field.message_type is not None and field.message_type.GetOptions().map_entry
        return {"minProperties": 1} if is_map else {"minItems": 1}
    if field.type in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES):
        return {"minLength": 1}
    # A negative zero is not the zero value, and JSON Schema cannot tell them apart.
    if field.cpp_type in (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT):
        return {}
    return {"not": _zero(field, null=False)}


def _zero(field: FieldDescriptor, *, null: bool = True) -> Schema:
    """The forms of the zero value of a field, or more."""
    return {"enum": [[], {}, None]} if field.is_repeated else _zero_value(field, null=null)


def _zero_value(field: FieldDescriptor, *, null: bool = True) -> Schema:
    """The same for a single value, which may be an item of a list."""
    nothing: list[object] = [None] if null else []
    if field.type in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES):
        return {"enum": ["", *nothing]}
    if field.enum_type is not None:
        first = field.default_value
        return {"enum": [*(value.name for value in field.enum_type.values if value.number == first), first, *nothing]}
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return {"enum": [False, *nothing]}
    return {"anyOf": [{"enum": [0]}, {"type": ["string", "null"]}]} if null else {"enum": [0]}


def with_keywords(schema: Schema, keywords: Schema) -> Schema:
    """`schema` with further keywords; those that it has already are in `allOf` beside it."""
    if not keywords:
        return schema
    if schema.keys() & keywords.keys():
        return {**schema, "allOf": [keywords]}
    return {**schema, **keywords}
