"""What the parsers and serializers of this package share: the values, the error, and the counts of one document."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final, Self, TypeAlias

from hub.contract.errors import MAX_PROBLEMS, JsonPath, Problem
from hub.types import MAX_NESTING

MAX_POINTER: Final = 2000
"""Characters of a JSON pointer. The problem of a place with a longer one is reported for the object around it."""

MAX_REASON: Final = 400
"""Characters of the text about one problem."""

TOO_DEEP: Final = f"messages are nested more than {MAX_NESTING} deep"

JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"


class ConversionError(Exception):
    """Values that cannot be converted, each with its path relative to the value that was given. Internal.

    Paths are put together while the exception passes outwards, so that valid documents do not pay for them.
    """

    def __init__(self, reason: str, path: JsonPath = ()) -> None:
        super().__init__(reason)
        self.errors: Sequence[tuple[JsonPath, str]] = [(path, reason)]

    @classmethod
    def of(cls, errors: Sequence[tuple[JsonPath, str]]) -> Self:
        error = cls(errors[0][1])
        error.errors = errors[:MAX_PROBLEMS]
        return error

    def prefixed(self, token: str | int) -> list[tuple[JsonPath, str]]:
        """The errors with paths that begin with `token`: relative to the container of the value."""
        return [((token, *path), reason) for path, reason in self.errors]


@dataclass(slots=True)
class ParseStats:
    """What is counted and deferred while a document is parsed.

    Attributes:
        names: Members of all objects.
        colons: Colons of strings that always have some, such as timestamps. A lower bound.
        deferred: Functions that fill the messages that parsers returned empty, in the order of the calls. Messages take
            many times as much memory as the text, so none is filled before the whole document is valid.
    """

    names: int = 0
    colons: int = 0
    deferred: list[Callable[[], None]] = field(default_factory=list[Callable[[], None]])

    def fill(self) -> None:
        """Fills the messages that parsers returned empty. To be called before a message is built of them."""
        for fill in self.deferred:
            fill()
        self.deferred.clear()


ValueParser: TypeAlias = Callable[[JsonValue, int, ParseStats], Any]
"""Parses a JSON value that represents a message, or the value of a field that contains messages.

The arguments are the value, the nesting level of the message (1 for the outermost) or of the message with the field, and
the counts. It returns what the constructor of the containing message takes: a `dict` with the arguments of the message's
own constructor, or the message, which may be empty until `ParseStats.fill`; for a field also a list or a map of these. It
raises `ConversionError` with every error in the value.
"""


def problems_of(errors: Iterable[tuple[JsonPath, str]]) -> list[Problem]:
    """The first `MAX_PROBLEMS` errors, each of bounded size, although names and values come from the client."""
    return [_problem(path, reason) for path, reason in islice(errors, MAX_PROBLEMS)]


def _problem(path: JsonPath, reason: str) -> Problem:
    shown = ""
    for token in path:
        # A name may have megabytes: enough of it is copied to see that it is too long.
        longer = shown + pointer((token[: MAX_POINTER + 1] if isinstance(token, str) else token,))
        if len(longer) > MAX_POINTER:
            reason = f"in the member {_cut(str(token), 40)!r} of this: {reason}"
            break
        shown = longer
    return Problem(shown, _cut(reason, MAX_REASON))


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[:limit]}..."


def pointer(path: JsonPath) -> str:
    """`path` as a JSON pointer (RFC 6901)."""
    return "".join("/" + str(token).replace("~", "~0").replace("/", "~1") for token in path)
