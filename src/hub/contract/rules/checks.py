"""Checks of one value: what a rule on a number, a string or a time is compiled to."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeAlias

from hub.contract.errors import InvalidContract

Check: TypeAlias = Callable[[Any], str | None]
"""Returns the text of the violation, with the limit and the name of the rule; `None` for a value that is accepted."""

_SHOWN: Final = 20
"""Values of a list in a text."""

_UPPER: Final = {"lt": (operator.lt, "less than"), "lte": (operator.le, "less than or equal to")}
_LOWER: Final = {"gt": (operator.gt, "greater than"), "gte": (operator.ge, "greater than or equal to")}


def unless(accepts: Callable[[Any], object], text: str, rule: str) -> Check:
    """A check with the same text for all values; `rule` is its name, such as `int32.lte`."""
    violation = f"{text} (rule {rule})"
    return lambda value: None if accepts(value) else violation


def listed(values: Sequence[Any], show: Callable[[Any], str]) -> str:
    shown = ", ".join(show(value) for value in values[:_SHOWN])
    return f"{shown}, ..." if len(values) > _SHOWN else shown


def equality_checks(kind: str, rules: Any, read: Callable[[Any], Any], show: Callable[[Any], str]) -> Iterator[Check]:
    """The rules `const`, `in` and `not_in`.

    Args:
        kind: The first part of the rules' names.
        rules: The message with the rules, such as `Int32Rules`.
        read: Makes a comparable value of one in a rule or a message.
        show: A value in a text.
    """
    given = {field.name: value for field, value in rules.ListFields()}
    if "const" in given:
        const = read(given["const"])
        yield unless(lambda value: read(value) == const, f"must equal {show(const)}", f"{kind}.const")
    if "in" in given:
        allowed = [read(each) for each in given["in"]]
        among = frozenset(allowed)
        yield unless(lambda value: read(value) in among, f"must be one of {listed(allowed, show)}", f"{kind}.in")
    if "not_in" in given:
        refused = [read(each) for each in given["not_in"]]
        outside = frozenset(refused)
        text = f"must be none of {listed(refused, show)}"
        yield unless(lambda value: read(value) not in outside, text, f"{kind}.not_in")


def range_check(kind: str, rules: Any, read: Callable[[Any], Any], show: Callable[[Any], str]) -> Check | None:
    """The rules `lt`, `lte`, `gt` and `gte` together: if the upper limit is below the lower one, the values between are refused.

    No comparison is true of NaN, so each of these rules refuses it.

    Raises:
        InvalidContract: A limit is NaN.
    """
    given = {field.name: read(value) for field, value in rules.ListFields() if field.name in _UPPER | _LOWER}
    if any(limit != limit for limit in given.values()):  # noqa: PLR0124 - only NaN differs from itself
        raise InvalidContract(f"a limit of the rules of the kind {kind} is NaN, with which no value can be compared")
    lower = next((name for name in _LOWER if name in given), None)
    upper = next((name for name in _UPPER if name in given), None)
    if lower is None or upper is None:
        name = lower or upper
        if name is None:
            return None
        compare, words = (_LOWER | _UPPER)[name]
        limit = given[name]
        return unless(lambda value: compare(read(value), limit), f"must be {words} {show(limit)}", f"{kind}.{name}")
    above, low_words = _LOWER[lower]
    below, high_words = _UPPER[upper]
    low, high = given[lower], given[upper]
    name = f"{kind}.{lower}_{upper}"
    words = f"must be {low_words} {show(low)} {{}} {high_words} {show(high)}"
    if high >= low:
        return unless(lambda value: above(read(value), low) and below(read(value), high), words.format("and"), name)
    return unless(
        lambda value: above(read(value), low) or below(read(value), high), words.format("or"), f"{name}_exclusive"
    )
