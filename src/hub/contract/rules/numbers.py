"""Rules on numbers, bools, enums, durations and times."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from google.protobuf.descriptor import EnumDescriptor

from hub.contract.rules.checks import Check, equality_checks, range_check, unless

_BILLION: Final = 1_000_000_000


def _same(value: Any) -> Any:
    return value


def number_checks(kind: str, rules: Any) -> Iterator[Check]:
    yield from equality_checks(kind, rules, _same, repr)
    within = range_check(kind, rules, _same, repr)
    if within is not None:
        yield within
    if kind in ("float", "double") and rules.finite:
        yield unless(math.isfinite, "must be finite", f"{kind}.finite")


def bool_checks(rules: Any) -> Iterator[Check]:
    yield from equality_checks("bool", rules, _same, lambda value: str(value).lower())


def enum_checks(rules: Any, enum: EnumDescriptor) -> Iterator[Check]:
    names: dict[int, str] = {}
    for each in enum.values:
        names.setdefault(each.number, each.name)
    yield from equality_checks("enum", rules, _same, lambda number: names.get(number, str(number)))
    if rules.defined_only:
        text = f"must be a value of {enum.full_name}"
        yield unless(names.__contains__, text, "enum.defined_only")


def nanoseconds(value: Any) -> int:
    """A `Duration`, or a `Timestamp` since the epoch."""
    return int(value.seconds) * _BILLION + int(value.nanos)


def show_duration(value: int) -> str:
    seconds, fraction = divmod(abs(value), _BILLION)
    decimals = f".{fraction:09}".rstrip("0") if fraction else ""
    return f"{'-' if value < 0 else ''}{seconds}{decimals}s"


def show_timestamp(value: int) -> str:
    seconds, fraction = divmod(value, _BILLION)
    try:
        date = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    except (OverflowError, ValueError, OSError):
        return f"{show_duration(value)} after 1970"
    decimals = f".{fraction:09}".rstrip("0") if fraction else ""
    return f"{date}{decimals}Z"


def _read_time(value: Any) -> int:
    return value if type(value) is int else nanoseconds(value)


def time_checks(kind: str, rules: Any, now: Callable[[], int] = time.time_ns) -> Iterator[Check]:
    """The rules of `duration` and `timestamp`; those relative to now compare with the clock of the process."""
    show = show_duration if kind == "duration" else show_timestamp
    yield from equality_checks(kind, rules, _read_time, show)
    within = range_check(kind, rules, _read_time, show)
    if within is not None:
        yield within
    if kind == "duration":
        return
    if rules.lt_now:
        yield unless(lambda value: nanoseconds(value) <= now(), "must be before now", "timestamp.lt_now")
    if rules.gt_now:
        yield unless(lambda value: nanoseconds(value) >= now(), "must be after now", "timestamp.gt_now")
    if any(field.name == "within" for field, _ in rules.ListFields()):
        span = nanoseconds(rules.within)
        text = f"must be within {show_duration(span)} of now"
        yield unless(lambda value: abs(nanoseconds(value) - now()) <= span, text, "timestamp.within")
