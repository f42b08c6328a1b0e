"""A goal: a row of the table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from benchmarks.goals.measured import Figure, Measured

Measure: TypeAlias = Callable[[Measured, str], Figure | None]
"""Returns the figure of a backend; `None` if it was not measured."""

BOTH: Final = ("asyncio", "trio")
NEITHER: Final = ("",)
"""Of a figure that has no event loop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """A row of the table.

    Attributes:
        key: Names it in `missed.md`.
        what: What is measured.
        goal: The bound as text.
        bound: What the figure is compared with.
        command: The arguments of `make bench ARGS=...` that measure it.
        measure: The figure of a backend.
        at_most: Whether the figure has to be at most the bound; else at least.
        backends: Those that have a figure of their own.
    """

    key: str
    what: str
    goal: str
    bound: float
    command: str
    measure: Measure
    at_most: bool = True
    backends: Sequence[str] = BOTH

    def is_reached_by(self, figure: Figure) -> bool:
        """Whether a figure is within the bound."""
        return figure.value <= self.bound if self.at_most else figure.value >= self.bound
