"""Regular expressions of the strings that have a meaning in ProtoJSON.

The transcoder matches with them and the JSON Schema publishes them, so that the two cannot differ. All use the syntax
that Python, ECMA-262, RE2 and Rust have in common (no look-around); `whole()` anchors one for JSON Schema.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

_SPECIAL: Final = frozenset("\\^$.*+?()[]{}|/")
_ANCHORS: Final = ("\\A", "\\z")
_REPEATING: Final = ("*", "+", "?", "{")
_repetition: Final = re.compile(r"\{[0-9]+(?:,[0-9]*)?\}")
_CLASSES: Final = {"\\d": "0-9", "\\w": "0-9A-Za-z_", "\\s": "\\t\\n\\f\\r "}
_SIMPLE: Final = {f"\\{letter}": f"\\{letter}" for letter in "tnfr"} | {"\\-": "\\-"}
_IN_CLASSES: Final = {**_CLASSES, **_SIMPLE}
_ESCAPES: Final = {
    **{name: f"[{letters}]" for name, letters in _CLASSES.items()},
    **{name.upper(): f"[^{letters}]" for name, letters in _CLASSES.items()},
    **{name: escaped for name, escaped in _SIMPLE.items() if name != "\\-"},
    "\\-": "-",
    "\\A": "^",
    "\\z": "$",
}
"""RE2's escapes and what they are written as; the rest of its escapes is not portable."""


def whole(pattern: str) -> str:
    """`pattern`, anchored at both ends as JSON Schema needs it."""
    return f"^(?:{pattern})$"


def literal(text: str) -> str:
    """A pattern that matches `text` and nothing else."""
    return "".join(f"\\{letter}" if letter in _SPECIAL else letter for letter in text)


def portable(pattern: str) -> str | None:
    r"""A regular expression in RE2's syntax for JSON Schema, whose validators use several other syntaxes.

    Returns:
        The pattern, with classes such as `\d` written out; `None` if it has parts that do not mean the same everywhere.
    """
    written: list[str] = []
    position, in_class = 0, False
    while position < len(pattern):
        letter, pair = pattern[position], pattern[position : position + 2]
        if letter == "\\":
            anchor = pair in _ANCHORS and pattern[position + 2 : position + 3] in _REPEATING
            part = None if anchor else _escaped(pair, _IN_CLASSES if in_class else _ESCAPES)
            position += 1
        elif in_class:
            # Nested classes, and the operators of sets in newer syntaxes, which begin with a doubled character.
            nested = letter == "[" or (len(pair) == 2 and pair[0] == pair[1] and not letter.isalnum())
            part, in_class = None if nested else letter, letter != "]"
        else:
            part, in_class = _unescaped(pattern, position), letter == "["
        if part is None:
            return None
        written.append(part)
        position += 1
    return "".join(written)


def _escaped(pair: str, escapes: Mapping[str, str]) -> str | None:
    return escapes.get(pair) or (pair if len(pair) == 2 and pair[1] in _SPECIAL else None)


def _unescaped(pattern: str, position: int) -> str | None:
    """One character outside of classes, as it is written; `None` if what begins with it is not portable."""
    letter, rest = pattern[position], pattern[position + 1 : position + 3]
    if letter == "[" and rest.removeprefix("^").startswith("]"):
        return None
    if letter == "(" and rest.startswith("?") and rest != "?:":
        return None
    if letter in "^$" and rest[:1] in _REPEATING:  # RE2 accepts a repeated anchor
        return None
    if letter == "]" or (letter in "{}" and not _is_repetition(pattern, position)):
        return f"\\{letter}"
    return "[^\\n]" if letter == "." else letter


def _is_repetition(pattern: str, position: int) -> bool:
    """Whether the brace at `position` belongs to a repetition; others are literals for RE2."""
    start = pattern.rfind("{", 0, position + 1)
    return any(each.start() == start and each.end() > position for each in _repetition.finditer(pattern))


def decimal_up_to(limit: int) -> str:
    """Decimal integers from 0 to `limit`, without leading zeros."""
    digits = str(limit)
    shorter = len(digits) - 1
    choices = ["0"]
    if shorter > 0:
        choices.append(f"[1-9][0-9]{{0,{shorter - 1}}}")
    for index, digit in enumerate(digits):
        first = 1 if index == 0 else 0
        if int(digit) > first:
            rest = len(digits) - index - 1
            choices.append(f"{digits[:index]}[{first}-{int(digit) - 1}]" + (f"[0-9]{{{rest}}}" if rest else ""))
    if limit > 0:
        choices.append(digits)
    return "|".join(choices)


def integer_key(low: int, high: int) -> str:
    """Integers as the keys of maps: canonical, so that two keys never mean the same."""
    negative = f"|-(?:{decimal_up_to(-low).removeprefix('0|')})" if low < 0 else ""
    return f"{decimal_up_to(high)}{negative}"


def quoted_integer(low: int, high: int) -> str:
    """Integers within strings: any decimal number in range, a fraction of zeros, and exponents.

    With an exponent, the number may have one digit less than the limit has; more would need a regular expression of
    unreasonable size.
    """
    digits = len(str(high)) - 1
    mantissas = "|".join(
        f"(?:0|[1-9][0-9]{{0,{digits - exponent - 1}}})"
        + (f"(?:\\.[0-9]{{1,{exponent}}}0*)?" if exponent else "(?:\\.0+)?")
        + f"[eE]\\+?0*{exponent}"
        for exponent in range(digits)
    )
    sign = "-?" if low < 0 else ""
    return f"(?:{decimal_up_to(high)}|-(?:{decimal_up_to(-low)}))(?:\\.0+)?|{sign}(?:{mantissas})"


def quoted_number(largest: str, exponent: int) -> str:
    """Numbers within strings that are surely within the range of a floating point type.

    Either one digit, an optional fraction and an exponent, in the full range; or up to 21 digits before the point,
    the form that programs write without an exponent.

    Args:
        largest: The digits of the largest finite value, without the point.
        exponent: Its decimal exponent.
    """
    below = "|".join(
        f"{largest[0]}\\.{largest[1:index]}[0-{int(digit) - 1}][0-9]*"
        for index, digit in enumerate(largest)
        if index > 0 and digit != "0"
    )
    smaller_first = f"[1-{int(largest[0]) - 1}](?:\\.[0-9]+)?|" if largest[0] != "1" else ""
    at_limit = f"(?:{smaller_first}{below}|{_prefixes(largest)})[eE]\\+?0*{exponent}"
    normalized = f"[0-9](?:\\.[0-9]+)?[eE](?:\\+?0*(?:{decimal_up_to(exponent - 1)})|-[0-9]+)"
    plain = "(?:0|[1-9][0-9]{0,20})(?:\\.[0-9]+)?"
    moderate = f"(?:[eE](?:\\+?0*(?:{decimal_up_to(exponent - 22)})|-[0-9]+))?"
    return f"-?(?:{normalized}|{at_limit}|{plain}{moderate})"


def _prefixes(largest: str) -> str:
    """The largest value, and its prefixes."""
    return f"{largest[0]}(?:\\.(?:" + "|".join(largest[1:end] for end in range(2, len(largest) + 1)) + ")0*)?"


_MONTH_AND_DAY: Final = (
    "(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    "|02-(?:0[1-9]|1[0-9]|2[0-8]))"
)
_YEAR: Final = "(?:[1-9][0-9]{3}|0[1-9][0-9]{2}|00[1-9][0-9]|000[1-9])"
_LEAP_YEAR: Final = "(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)"
_HOUR_AND_MINUTE: Final = "(?:[01][0-9]|2[0-3]):[0-5][0-9]"
_SECOND: Final = f"T{_HOUR_AND_MINUTE}:[0-5][0-9]"
_TIME: Final = f"{_SECOND}(?:\\.[0-9]{{1,9}})?"
_NO_ZEROS: Final = "(?:[0-9]{2}[1-9]|[0-9][1-9]0|[1-9]00)"
_WRITTEN_FRACTION: Final = f"\\.(?:[0-9]{{3}}){{0,2}}{_NO_ZEROS}"

TIMESTAMP: Final = f"(?:{_YEAR}-{_MONTH_AND_DAY}|{_LEAP_YEAR}-02-29){_TIME}(?:Z|[+-]{_HOUR_AND_MINUTE})"
"""RFC 3339, from 0001-01-01T00:00:00Z to 9999-12-31T23:59:59.999999999Z, at most nine digits of a second.

On the first and the last of these days an offset can lead out of that range. The pattern accepts it, because one that compares
the offset with the time of day would be several times as long as all others; the parser refuses it."""

WRITTEN_TIMESTAMP: Final = f"(?:{_YEAR}-{_MONTH_AND_DAY}|{_LEAP_YEAR}-02-29){_SECOND}(?:{_WRITTEN_FRACTION})?Z"
"""The same times as hub writes them: in UTC, with no, three, six or nine digits of a second."""

DURATION: Final = f"-?(?:{decimal_up_to(315_576_000_000)})(?:\\.[0-9]{{1,9}})?s"
"""Seconds within about ±10000 years, at most nine digits of a second."""

_SECONDS: Final = decimal_up_to(315_576_000_000)
WRITTEN_DURATION: Final = f"0s|-?(?:{_SECONDS}){_WRITTEN_FRACTION}s|-?(?:{_SECONDS.removeprefix('0|')})s"
"""The same durations as hub writes them: with no, three, six or nine digits after the point."""

FIELD_MASK: Final = "[^_]*"
"""Paths in lowerCamelCase, separated by commas."""

_SIXTY_FOUR: Final = "[A-Za-z0-9+/_-]"
BASE64: Final = f"(?:{_SIXTY_FOUR}{{4}})*(?:{_SIXTY_FOUR}{{2}}(?:==)?|{_SIXTY_FOUR}{{3}}=?)?"
"""Base64 in the standard or the URL-safe alphabet (RFC 4648), with or without padding."""

_STANDARD: Final = "[A-Za-z0-9+/]"
WRITTEN_BASE64: Final = f"(?:{_STANDARD}{{4}})*(?:{_STANDARD}[AQgw]==|{_STANDARD}{{2}}[AEIMQUYcgkosw048]=)?"
"""Base64 in the standard alphabet with padding, without unused bits in its last letter."""

_LABEL: Final = "[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
EMAIL: Final = f"[a-zA-Z0-9.!#$%&'*+/=?^_`{{|}}~-]+@{_LABEL}(?:\\.{_LABEL})*"
"""An email address as HTML defines it (https://html.spec.whatwg.org/multipage/input.html#valid-e-mail-address)."""

_HEX: Final = "[0-9a-fA-F]"
UUID: Final = f"{_HEX}{{8}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{12}}"
TRIMMED_UUID: Final = f"{_HEX}{{32}}"
ULID: Final = "[0-7][0-9A-HJKMNP-TV-Za-hjkmnp-tv-z]{25}"
PROTOBUF_NAME: Final = "[A-Za-z_][A-Za-z_0-9]*(?:\\.[A-Za-z_][A-Za-z_0-9]*)*"
"""The full name of a declaration in protobuf, without a leading dot."""

HEADER_NAME: Final = ":?[0-9a-zA-Z!#$%&'*+\\-.^_|~`,]+"
"""The name of an HTTP header or of a pseudo-header; protovalidate takes a comma too."""

HEADER_NAME_LAX: Final = "[^\\x00\\n\\r]+"
HEADER_VALUE: Final = "[^\\x00-\\x08\\x0A-\\x1F\\x7F]*"
HEADER_VALUE_LAX: Final = "[^\\x00\\n\\r]*"
