"""Whether a failed run is worth another one: the model's choice, never hub's."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite
from typing import Final, cast, final

DRAW: Final[Callable[[float, float], float]] = random.uniform
"""Spreads retries, guards nothing."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """Runs a task again after certain errors: `retry = hub.Retry(on=(ConnectionError,), limit=4)` in a model class.

    Between two runs the task waits on the broker, not in the instance, which takes other tasks meanwhile. It is
    `queued` then, with `retry_at` in its view, and may be cancelled. A retry that would come after the deadline is not
    made: the task fails at once with the error of its last run.

    Attributes:
        on: The classes of exceptions that are worth another run. All others fail the task at the first run.
        limit: Runs after the first one, at most.
        first: Seconds before the first retry; doubled for each later one. The broker counts in whole queues of time, so
            the true delay may be up to twice as long.
        cap: Seconds between two runs at most.
        jitter: Share of each delay that is drawn by chance, from 0 to 1, so that a crowd does not come back at once.

    Raises:
        ValueError: One of the values makes no sense.
    """

    on: tuple[type[Exception], ...] = (Exception,)
    limit: int = 3
    first: float = 1.0
    cap: float = 300.0
    jitter: float = 0.5

    def __post_init__(self) -> None:
        if self.limit < 1:
            raise ValueError(f"limit is {self.limit!r}; set it to 1 or more, or leave `retry` out for none")
        if not (isfinite(self.cap) and 0 < self.first <= self.cap):
            raise ValueError(f"first ({self.first!r}) and cap ({self.cap!r}) are seconds with 0 < first <= cap")
        if not 0 <= self.jitter <= 1:
            raise ValueError(f"jitter is {self.jitter!r}; it is a share from 0 to 1")
        if wrong := _wrong_in(self.on):
            raise ValueError(f"on {wrong}")

    def delay(self, error: Exception, retries: int, draw: Callable[[float, float], float] = DRAW) -> float | None:
        """Seconds until the next run, or `None` when `error` is final.

        Args:
            error: What the last run raised.
            retries: Runs that were retried already.
            draw: Draws evenly between two numbers.
        """
        if retries >= self.limit or not self._covers(error):
            return None
        upper = min(self.first * 2.0 ** min(retries, 62), self.cap)
        return draw(upper * (1 - self.jitter), upper)

    def _covers(self, error: Exception) -> bool:
        if isinstance(error, self.on):
            return True
        # An error of a model in a process of its own: its class lives there, and came along by name.
        names: tuple[str, ...] = getattr(error, "mro", ())
        return any(f"{kind.__module__}.{kind.__qualname__}" in names for kind in self.on)


def _wrong_in(on: object) -> str:
    """What is wrong with `on`, whatever the types say; empty if nothing is."""
    if not isinstance(on, tuple):
        return f"is {on!r}; name the exceptions in a tuple: `on=(ConnectionError,)`"
    kinds = cast("tuple[object, ...]", on)  # of whatever
    if not kinds:
        return "is empty; name the exceptions to retry, or leave `retry` out for none"
    for kind in kinds:
        if not (isinstance(kind, type) and issubclass(kind, Exception)):
            return f"has {kind!r}; name classes of exceptions, below Exception"
    return ""
