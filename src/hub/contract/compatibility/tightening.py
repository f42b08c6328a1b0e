"""Rules of `buf.validate` that became tighter: a request that the earlier contract allowed may be refused by the new one.

Only rules that are checked count, which are those on requests. A rule whose change cannot be judged, such as another
pattern, counts as tighter.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from hashlib import sha256
from typing import Any, Final

from google.protobuf import text_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from hub.contract.descriptors.rule_options import rules_in
from hub.contract.rules.compiled import required_oneofs
from hub.contract.rules.fields import declared_rules
from hub.contract.rules.numbers import nanoseconds

_SHOWN: Final = 300
"""Characters of rules in a text."""

_INTERVALS: Final = (
    ("", ("gt", "gte"), ("lt", "lte"), "limits"),
    ("len", ("min_len",), ("max_len",), "length"),
    ("len_bytes", ("min_bytes",), ("max_bytes",), "size in bytes"),
    ("", ("min_items",), ("max_items",), "number of items"),
    ("", ("min_pairs",), ("max_pairs",), "number of entries"),
    ("", (), ("within",), "distance from now"),
)
"""The rules that together are one interval: an exact value, lower limits, upper limits, and what it is in words."""

_FLAGS: Final = ("unique", "finite", "defined_only", "lt_now", "gt_now", "required")
_TEXTS: Final = ("pattern", "prefix", "suffix", "contains", "not_contains")
_INNER: Final = ("items", "keys", "values")
_WIDER: Final[Mapping[str, Collection[str]]] = {
    "ip": ("ipv4", "ipv6"),
    "address": ("hostname", "ip", "ipv4", "ipv6"),
    "uri_ref": ("uri",),
    "ip_with_prefixlen": ("ipv4_with_prefixlen", "ipv6_with_prefixlen", "ip_prefix", "ipv4_prefix", "ipv6_prefix"),
    "ipv4_with_prefixlen": ("ipv4_prefix",),
    "ipv6_with_prefixlen": ("ipv6_prefix",),
    "ip_prefix": ("ipv4_prefix", "ipv6_prefix"),
}
"""Formats, with those of which each value has the format too."""


def rules_text(rules: Any) -> str:
    """Rules on one line, as in a `.proto` file."""
    return "" if rules is None else text_format.MessageToString(rules, as_one_line=True).strip()


def field_text(field: FieldDescriptor) -> str:
    """The rules on a field, or what says that there are none."""
    return _shown(rules_text(declared_rules(field)))


def message_text(message: Descriptor) -> str:
    """The rules on a message and on its oneofs, or what says that there are none."""
    texts = [rules_text(rules_in(message.GetOptions()) if message.has_options else None)]
    texts.extend(
        f"{oneof.name} {{ {text} }}"
        for oneof in message.oneofs
        if oneof.has_options and (text := rules_text(rules_in(oneof.GetOptions())))
    )
    return _shown(" ".join(filter(None, texts)))


def _shown(text: str) -> str:
    """Rules in an error text; a digest tells long ones apart."""
    if len(text) > _SHOWN:
        return f"{text[:_SHOWN]}... ({sha256(text.encode()).hexdigest()[:12]})"
    return text or "no rules"


def tightened_field(old: FieldDescriptor, new: FieldDescriptor) -> Iterator[str]:
    """What became tighter in the rules on a field, in words."""
    after = declared_rules(new)
    before = declared_rules(old)
    if after is not None or before is not None:
        yield from _tightened(_given(before), _given(after), "")


def tightened_message(old: Descriptor, new: Descriptor) -> Iterator[str]:
    """What became tighter in the rules on a message and its oneofs, in words."""
    before, after = _groups(old), _groups(new)
    yield from (f"at most one of {_listed(names)} can be set now" for names in after - before)
    required = {frozenset(names) for names in required_oneofs(old)}
    for names in required_oneofs(new):
        if not any(group <= set(names) for group in required):
            yield f"one of {_listed(names)} must be set now"


def _groups(message: Descriptor) -> set[frozenset[str]]:
    rules = rules_in(message.GetOptions()) if message.has_options else None
    return set() if rules is None else {frozenset(group.fields) for group in rules.oneof}


def _listed(names: Collection[str]) -> str:
    return ", ".join(sorted(names))


def _given(rules: Any) -> dict[str, Any]:
    """The rules of a `FieldRules` by name, without the kind."""
    if rules is None:
        return {}
    given = {field.name: value for field, value in rules.ListFields()}
    kind = rules.WhichOneof("type")
    if kind is not None:
        given |= {field.name: value for field, value in given.pop(kind).ListFields()}
    given.pop("example", None)
    return given


def _tightened(old: Mapping[str, Any], new: Mapping[str, Any], where: str) -> Iterator[str]:
    if new.get("ignore", 0) != old.get("ignore", 0) and old.get("ignore", 0) > new.get("ignore", 0):
        yield f"{where}values that were not checked are checked now"
    if new.get("ignore") == 3:
        return
    for check in (_intervals, _sets, _flags, _texts):
        yield from (f"{where}{text}" for text in check(old, new))
    for name in _INNER:
        if name in new or name in old:
            inner_old, inner_new = (_given(side.get(name)) for side in (old, new))
            yield from _tightened(inner_old, inner_new, f"{where}{name}: ")


def _intervals(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    for exact, lower, upper, words in _INTERVALS:
        before, after = (_interval(side, exact, lower, upper) for side in (old, new))
        if before == after:
            continue
        if after is None:
            continue
        if before is None:
            yield f"new: {words}"
            continue
        inverted = any(low[0] > high[0] for low, high in (before, after))
        if inverted:
            yield f"changed: {words}"
        elif after[0] > before[0] or after[1] < before[1]:
            yield f"narrower: {words}"


def _interval(
    rules: Mapping[str, Any], exact: str, lower: tuple[str, ...], upper: tuple[str, ...]
) -> tuple[tuple[float, int], tuple[float, int]] | None:
    """The lower and the upper limit, each with a number that orders an exclusive limit within an inclusive one.

    `None` without limits, which is not the same as infinite ones: any limit refuses NaN.
    """
    if not any(name in rules for name in (exact, *lower, *upper)):
        return None
    low, high = (-math.inf, 0), (math.inf, 0)
    if exact and exact in rules:
        low, high = (_comparable(rules[exact]), 0), (_comparable(rules[exact]), 0)
    for name in lower:
        if name in rules:
            limit = _comparable(rules[name])
            low = max(low, (limit, 1 if name == "gt" else 0))
    for name in upper:
        if name in rules:
            limit = _comparable(rules[name])
            high = min(high, (limit, -1 if name == "lt" else 0))
    return low, high


def _comparable(value: Any) -> Any:
    """A number, or the nanoseconds of a time."""
    return nanoseconds(value) if hasattr(value, "nanos") else value


def _sets(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    before, after = _allowed(old), _allowed(new)
    if after is not None and (before is None or not before <= after):
        yield "fewer values are allowed"
    if _frozen(new.get("not_in", ())) - _frozen(old.get("not_in", ())):
        yield "more values are refused"


def _allowed(rules: Mapping[str, Any]) -> frozenset[Any] | None:
    allowed = _frozen(rules["in"]) if "in" in rules else None
    if "const" in rules:
        const = _frozen([rules["const"]])
        return const if allowed is None else allowed & const
    return allowed


def _frozen(values: Any) -> frozenset[Any]:
    return frozenset(
        _comparable(value) if hasattr(value, "nanos") else tuple(value.paths) if hasattr(value, "paths") else value
        for value in values
    )


def _flags(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    yield from (f"`{name}` is new" for name in _FLAGS if new.get(name) and not old.get(name))
    for name in _formats(new) - _formats(old):
        if not _formats(old) & {*_WIDER.get(name, ())}:
            yield f"the format `{name}` is new"
    before, after = (
        (side.get("well_known_regex", 0), side.get("strict", True) or side.get("well_known_regex", 0) == 0)
        for side in (old, new)
    )
    if after[0] and after not in (before, (before[0], False)):
        yield "the rule on HTTP headers changed"


def _formats(rules: Mapping[str, Any]) -> set[str]:
    """The flags of the oneof `well_known`."""
    others = {*_FLAGS, "strict", "const"}
    return {name for name, value in rules.items() if value is True and name not in others}


def _texts(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    for name in _TEXTS:
        if name in new and new[name] != old.get(name) and not (name in old and _LAXER[name](old[name], new[name])):
            yield f"`{name}` changed" if name in old else f"`{name}` is new"


_LAXER: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "pattern": lambda old, new: False,  # noqa: ARG005 - there is no way to tell
    "prefix": lambda old, new: bool(old.startswith(new)),
    "suffix": lambda old, new: bool(old.endswith(new)),
    "contains": lambda old, new: bool(new in old),
    "not_contains": lambda old, new: bool(old in new),
}
"""Whether a text allows everything that the earlier one did."""
