"""How readers and writers of single values report what they cannot take; never leaves the package."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Final, Self

from hub.contract.errors import MAX_NESTING, Problem

MAX_PROBLEMS: Final = 100
"""Bad places that one error lists; a document can have millions."""

MAX_POINTER: Final = 2000
"""Characters of a pointer that is shown whole; one below a name that is longer leads to the object that has it."""

MAX_REASON: Final = 400
"""Characters of what is said about one place."""


TOO_DEEP: Final = f"messages are nested more than {MAX_NESTING} deep"

JsonPath = tuple[str | int, ...]
"""Member names and list indices, outermost first."""


class ParseError(Exception):
    """Bad values, each with its place relative to the value that was read.

    Paths are put together while the exception passes outwards, so good documents pay nothing for them.
    """

    def __init__(self, reason: str, place: JsonPath = ()) -> None:
        super().__init__(reason)
        self.found: Sequence[tuple[JsonPath, str]] = [(place, reason)]

    @classmethod
    def of(cls, found: Sequence[tuple[JsonPath, str]]) -> Self:
        refusal = cls(found[0][1])
        refusal.found = found[:MAX_PROBLEMS]
        return refusal

    def under(self, token: str | int) -> list[tuple[JsonPath, str]]:
        """What was found, seen from one level further out."""
        return [((token, *place), reason) for place, reason in self.found]


def problems_of(found: Iterable[tuple[JsonPath, str]]) -> list[Problem]:
    """What an error shows of what was found. Its size has a bound, although names and values are the client's."""
    return [_problem(place, reason) for place, reason in islice(found, MAX_PROBLEMS)]


def _problem(place: JsonPath, reason: str) -> Problem:
    shown = ""
    for token in place:
        # Of a name of megabytes, no more than decides that it is too long is copied.
        longer = shown + pointer((token[: MAX_POINTER + 1] if isinstance(token, str) else token,))
        if len(longer) > MAX_POINTER:
            reason = f"in the member {_cut(str(token), 40)!r} of this: {reason}"
            break
        shown = longer
    return Problem(shown, _cut(reason, MAX_REASON))


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[:limit]}..."


def pointer(place: JsonPath) -> str:
    """`place` as a JSON pointer (RFC 6901)."""
    return "".join("/" + str(token).replace("~", "~0").replace("/", "~1") for token in place)
