"""Regular expressions of rules, in RE2's syntax and matched by RE2: in time proportional to the text, and bounded."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, Protocol, final

from hub.contract.errors import InvalidContract

MAX_PATTERN: Final = 2000
"""Characters of the regular expression of a rule."""

MAX_PROGRAM: Final = 10_000
"""Instructions of a compiled regular expression. The time of a match is proportional to these and to the text."""

MAX_PROGRAMS: Final = 200_000
"""Instructions of all regular expressions that a request or a response can be checked with: about 3 MB."""

MAX_STEPS: Final = 200_000_000
"""Instructions times characters of all matches in one document. RE2 usually needs a step for each character; at worst it
takes one for each instruction too, at about 25 ns."""

_MEMORY: Final = 4 * 1024 * 1024
"""Bytes that RE2 may use for one regular expression."""


class _Program(Protocol):
    """A compiled regular expression, whose class has no public name."""

    @property
    def programsize(self) -> int: ...

    def search(self, text: str) -> object: ...


class TooManySteps(Exception):
    """The patterns of a document need more than `MAX_STEPS`. Internal."""


@final
class _Budget:
    """The steps that are left for one document."""

    def __init__(self) -> None:
        self.steps = MAX_STEPS


_budget: ContextVar[_Budget | None] = ContextVar("hub.contract.rules.budget", default=None)


@contextmanager
def bounded_matching() -> Generator[None]:
    """Bounds the steps of all matches in its block; beyond that one of them raises `TooManySteps`."""
    token = _budget.set(_Budget())
    try:
        yield
    finally:
        _budget.reset(token)


@final
class Patterns:
    """The regular expressions of one contract, in RE2's syntax. Each is compiled once; all together are bounded.

    Attributes:
        instructions: The size of all, in instructions of RE2.
    """

    def __init__(self) -> None:
        self._searches: dict[str, Callable[[str], object]] = {}
        self.instructions = 0

    def search(self, pattern: str) -> Callable[[str], object]:
        """The search of a regular expression, in time proportional to the text.

        Raises:
            InvalidContract: RE2 does not accept it, or it is too big, alone or with those before.
        """
        known = self._searches.get(pattern)
        if known is not None:
            return known
        if len(pattern) > MAX_PATTERN:
            raise InvalidContract(f"a pattern of {len(pattern)} characters; at most {MAX_PATTERN} are allowed")
        compiled = _compile(pattern)
        size = compiled.programsize
        if size > MAX_PROGRAM:
            raise InvalidContract(
                f"the pattern {pattern!r} compiles to {size} instructions; at most {MAX_PROGRAM} are allowed: lower its "
                "repetitions"
            )
        self.instructions += size
        if self.instructions > MAX_PROGRAMS:
            raise InvalidContract(
                f"with the pattern {pattern!r} all patterns have more than {MAX_PROGRAMS} instructions: lower their "
                "repetitions"
            )
        search = self._searches[pattern] = _bounded(compiled.search, size)
        return search


def _bounded(search: Callable[[str], object], size: int) -> Callable[[str], object]:
    """A search that counts its steps in the budget of the document that is checked, if there is one."""

    def bounded(text: str) -> object:
        budget = _budget.get()
        if budget is not None:
            budget.steps -= size * len(text)
            if budget.steps < 0:
                raise TooManySteps
        return search(text)

    return bounded


def _compile(pattern: str) -> _Program:
    import re2  # noqa: PLC0415 - 1.5 MB, and few contracts have a pattern

    options = re2.Options()
    options.log_errors = False
    options.never_capture = True
    options.max_mem = _MEMORY
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0].decode(errors="replace") if isinstance(error.args[0], bytes) else str(error)
        raise InvalidContract(f"the pattern {pattern!r} is not accepted by RE2: {reason}") from error
