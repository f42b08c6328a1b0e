"""JSON text (RFC 8259) to plain values, with detection of duplicate names, which fast parsers leave out."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from math import isfinite
from typing import Final, TypeAlias, cast, final

import msgspec

from hub.contract.errors import MAX_PROBLEMS, JsonPath, MalformedJson
from hub.contract.protojson.conversion import JsonValue
from hub.contract.protojson.malformed import malformed, not_utf8

TOO_DEEP: Final = "nested too deep"

OUT_OF_RANGE: Final = 10**400
"""Replaces every number beyond the range of a double, so that each `float` of a parsed document is finite."""

_LONG_NUMBER: Final = 400
"""Digits of an integer that is out of the range of every type. The JSON parser refuses much longer ones."""

_MOST_OBJECTS: Final = 10 * MAX_PROBLEMS
"""Objects with duplicate names that are searched. A document with a duplicate after these is refused without its path."""

_MOST_CONTAINERS: Final = 200_000
"""Lists and objects of a text whose duplicates are searched for; the second parser takes about 1 us for each."""

_SPACES: Final = (b" ", b"\t", b"\n", b"\r")
_STRING: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_LONG_NUMBERS: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[0-9.eE+-]{%d,}+' % _LONG_NUMBER, re.DOTALL)
_INTEGER: Final = re.compile(rb"-?[1-9][0-9]*+").fullmatch


def parse(text: bytes) -> JsonValue:
    """Returns the value of `text`. The last of duplicate names wins; see `has_duplicates`.

    Raises:
        MalformedJson: `text` is not JSON in UTF-8, or is nested deeper than about 1,000 levels, the parser's limit.
    """
    try:
        try:
            return cast("JsonValue", _decoder.decode(text))  # what a JSON parser returns
        except msgspec.ValidationError:
            # A number beyond the range of a double, which the parser of its field will refuse with its path. The text
            # after it has not been parsed, so the second pass can raise whatever the first one can.
            return cast("JsonValue", _tolerant.decode(_LONG_NUMBERS.sub(_beyond_every_type, text)))
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
    # A colon follows each name, and other colons can only be in strings. So counting decides most documents: those
    # without colons in other strings (unless an expected one is escaped), and those without spaces before colons.
    if text.count(b":") == names + colons and (colons == 0 or b"\\" not in text):
        return False
    if text.count(b'":') == names and not any(space in text and space + b":" in text for space in _SPACES):
        return False
    return text.count(b":") - _colons_of_strings(text) != names


def is_searchable(text: bytes) -> bool:
    """Whether `text` is small enough for `duplicates`, by its number of brackets, those in strings included."""
    return text.count(b"[") + text.count(b"{") <= _MOST_CONTAINERS


def duplicates(text: bytes) -> list[JsonPath]:
    """The paths of duplicate names in well-formed `text`, `MAX_PROBLEMS` at most, in order.

    The second parser stores of each object only the duplicates in it, so the search takes less memory than the document
    did. It returns none for a text that is nested too deep for it; parsers of messages refuse such a text.
    """
    search = _Search()
    try:
        root = json.loads(text, object_pairs_hook=search.members, parse_int=_nothing, parse_float=_nothing)
    except RecursionError:
        return []
    return [_path(chain) for chain in islice(search.below(root), MAX_PROBLEMS)]


_Chain: TypeAlias = "tuple[str | int, _Chain | None]"
"""A path from the outside inwards, as a linked list: a container prepends a token and shares the rest."""


class _Found:
    """Replaces an object in which a name occurs twice."""

    __slots__ = ("chains",)

    def __init__(self, chains: list[_Chain]) -> None:
        self.chains = chains


@final
class _Search:
    def __init__(self) -> None:
        self._found = False
        self._left = _MOST_OBJECTS

    def members(self, members: list[tuple[str, object]]) -> _Found | None:
        """The replacement of an object: `None`, unless there are duplicates in it."""
        unique = dict(members)
        twice = len(unique) != len(members) and self._left > 0
        if not twice and not self._found:
            return None
        chains: list[_Chain] = []
        if twice:
            self._left -= 1
            self._found = True
            counted = Counter(name for name, _ in members)
            names = (name for name, times in counted.items() if times > 1)
            chains.extend((name, None) for name in islice(names, MAX_PROBLEMS))
        for name, member in unique.items():
            if type(member) is _Found or type(member) is list:
                chains.extend((name, chain) for chain in self.below(cast("object", member)))
                if len(chains) >= MAX_PROBLEMS:
                    break
        return _Found(chains[:MAX_PROBLEMS]) if chains else None

    def below(self, value: object) -> Iterator[_Chain]:
        """The duplicates within the value of a member."""
        if isinstance(value, _Found):
            yield from value.chains
        elif isinstance(value, list) and self._found:
            yield from _in_list(cast("list[object]", value))


def _in_list(items: list[object]) -> Iterator[_Chain]:
    # A stack of our own: lists may be nested as deep as the parser goes.
    stack = [(0, iter(items))]
    indices: list[int] = []
    position = 0
    while stack:
        position, rest = stack.pop()
        for item in rest:
            position += 1
            if item is None:
                continue
            if isinstance(item, _Found):
                for chain in item.chains:
                    found: _Chain = (position - 1, chain)
                    for index in reversed(indices):
                        found = (index, found)
                    yield found
            elif isinstance(item, list):
                stack.append((position, rest))
                indices.append(position - 1)
                stack.append((0, iter(cast("list[object]", item))))
                break
        else:
            if indices:
                indices.pop()


def _path(chain: _Chain | None) -> JsonPath:
    path: list[str | int] = []
    while chain is not None:
        token, chain = chain
        path.append(token)
    return tuple(path)


def _nothing(_digits: str) -> None:
    return None


def _colons_of_strings(text: bytes) -> int:
    return sum(match.group().count(b":") for match in _STRING.finditer(text))


def _beyond_every_type(match: re.Match[bytes]) -> bytes:
    """Replaces a long integer by a number that the parser accepts, of the same length, so that offsets do not change."""
    token = match.group()
    return b"9e999".ljust(len(token)) if _INTEGER(token) else token


def _number(digits: str) -> float:
    number = float(digits)
    return number if isfinite(number) else OUT_OF_RANGE


_decoder: Final = msgspec.json.Decoder()
_tolerant: Final = msgspec.json.Decoder(float_hook=_number)
