"""A wall clock that a test sets."""

from __future__ import annotations

from typing import Final, final

from anyio import current_time

TICK: Final = 1e-6
"""Seconds between two calls at least: as on a real machine, no two events have the same time."""


@final
class Clock:
    """Unix time that advances with the clock of the event loop, virtual or not, and by `advance`."""

    def __init__(self, start: float = 1_000_000.0) -> None:
        self._ahead = start

    def __call__(self) -> float:
        self._ahead += TICK
        return self._ahead + current_time()

    def advance(self, seconds: float) -> None:
        self._ahead += seconds
