"""JSON text (RFC 8259) to plain values, with what a fast parser leaves out: duplicate names, and why it stopped."""

from __future__ import annotations

import json
import re
from collections import Counter
from math import isfinite
from typing import Final, TypeAlias, cast

import msgspec

from hub.contract.errors import MalformedJson
from hub.contract.malformed import malformed, not_utf8
from hub.contract.refusal import MAX_PROBLEMS, Place

JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"

TOO_DEEP: Final = "nested too deep"

TOO_BIG: Final = 10**400
"""Stands for every number beyond the range of a double, so that each `float` of a parsed document is finite."""

_LONG_NUMBER: Final = 400
"""Digits of an integer that is beyond every type; Python refuses to read much longer ones."""

_decoder: Final = msgspec.json.Decoder()
_SPACES: Final = (b" ", b"\t", b"\n", b"\r")
_STRING: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"')


def parse(text: bytes) -> JsonValue:
    """The value of `text`. Of a name that an object has twice, the last one counts; see `has_duplicates`.

    Raises:
        MalformedJson: `text` is no JSON in UTF-8.
    """
    try:
        try:
            return cast("JsonValue", _decoder.decode(text))  # what a JSON parser returns
        except msgspec.ValidationError:
            # A number beyond the range of a double; the reader of its field refuses it in its place.
            return cast("JsonValue", json.loads(text, parse_int=_number, parse_float=_number))
    except msgspec.DecodeError as error:
        raise malformed(text, str(error)) from error
    except UnicodeDecodeError as error:
        raise not_utf8(text) from error
    except RecursionError as error:
        raise MalformedJson(TOO_DEEP, 1, 1) from error


def has_duplicates(text: bytes, names: int, colons: int) -> bool:
    """Whether an object of `text` has a name twice.

    Args:
        text: Well-formed JSON.
        names: Members of all objects that a parser which drops duplicates has found.
        colons: Colons that are known to be in strings; at most as many as there are.
    """
    # A colon stands after each name, and other colons can only be in strings. So most documents are decided at once:
    # those without colons in other strings (unless an escape stands for one that was expected), and those whose names
    # are all directly followed by theirs.
    if text.count(b":") == names + colons and (colons == 0 or b"\\" not in text):
        return False
    if text.count(b'":') == names and not any(space in text and space + b":" in text for space in _SPACES):
        return False
    return _STRING.sub(b"", text).count(b":") != names


def duplicates(text: bytes) -> list[Place]:
    """The places of names that an object of well-formed `text` has more than once, `MAX_PROBLEMS` at most.

    None of a text that is nested too deep for Python's own parser: readers refuse it for that.
    """
    marked: dict[int, tuple[dict[str, JsonValue], list[str]]] = {}

    def note(members: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
        unique = dict(members)
        if len(unique) != len(members):
            counted = Counter(name for name, _ in members)
            marked[id(unique)] = (unique, [name for name, times in counted.items() if times > 1])
        return unique

    try:
        root = cast("JsonValue", json.loads(text, object_pairs_hook=note, parse_int=_number))
    except RecursionError:
        return []
    places: list[Place] = []
    waiting: list[tuple[Place, JsonValue]] = [((), root)]
    while waiting and marked and len(places) < MAX_PROBLEMS:
        place, value = waiting.pop()
        if isinstance(value, dict):
            if id(value) in marked:
                places.extend((*place, name) for name in marked[id(value)][1])
            waiting.extend(((*place, name), member) for name, member in value.items())
        elif isinstance(value, list):
            waiting.extend(((*place, index), item) for index, item in enumerate(value))
    return places[:MAX_PROBLEMS]


def _number(digits: str) -> int | float:
    if "." in digits or "e" in digits or "E" in digits or len(digits) > _LONG_NUMBER:
        number = float(digits)
        return number if isfinite(number) else TOO_BIG
    return int(digits)
