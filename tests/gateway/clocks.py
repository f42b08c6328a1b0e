"""Wall time in the hands of a test."""

from __future__ import annotations

from typing import Final, final

from anyio import current_time

TICK: Final = 1e-6
"""Seconds between two looks at least: as on a real machine, no two things are done at the same time."""


@final
class Clock:
    """Unix time that goes on with the event loop's, virtual or not, and can be moved on at will."""

    def __init__(self, start: float = 1_000_000.0) -> None:
        self._ahead = start

    def __call__(self) -> float:
        self._ahead += TICK
        return self._ahead + current_time()

    def advance(self, seconds: float) -> None:
        self._ahead += seconds
