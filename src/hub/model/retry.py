"""The policy of a model for retries of failed runs; without one, hub retries none."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite
from typing import Final, cast, final

DRAW: Final[Callable[[float, float], float]] = random.uniform
"""Random numbers that spread retries; not for cryptography."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """Runs a task again after certain errors: `retry = hub.Retry(on=(ConnectionError,), limit=4)` in a model class.

    Between two runs the task waits on the broker, so that the instance can process other tasks. Its state is `queued`
    then, with a `retry_at`, and it may be cancelled. A task whose retry would start after its deadline fails at once, with
    the error of its last run.

    Attributes:
        on: The classes of exceptions that are retried. All others fail the task at once.
        limit: Maximum number of runs after the first one.
        first: Seconds before the first retry; doubled for each later one. The broker has one queue per power of two, so
            the delay may be up to twice as long.
        cap: Maximum number of seconds between two runs.
        jitter: Share of each delay that is random, from 0 to 1, so that many retries do not start at once.

    Raises:
        ValueError: One of the values is invalid.
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
            error: The error of the last run.
            retries: Number of retries so far.
            draw: Returns a random number between two numbers.
        """
        if retries >= self.limit or not self._covers(error):
            return None
        upper = min(self.first * 2.0 ** min(retries, 62), self.cap)
        return draw(upper * (1 - self.jitter), upper)

    def _covers(self, error: Exception) -> bool:
        if isinstance(error, self.on):
            return True
        # A `ChildError`: the class exists only in the process of the model, and is known by name here.
        names: tuple[str, ...] = getattr(error, "mro", ())
        return any(f"{kind.__module__}.{kind.__qualname__}" in names for kind in self.on)


def _wrong_in(on: object) -> str:
    """What is wrong with `on`, for callers without a type checker; empty if it is valid."""
    if not isinstance(on, tuple):
        return f"is {on!r}; name the exceptions in a tuple: `on=(ConnectionError,)`"
    kinds = cast("tuple[object, ...]", on)  # its items are checked below
    if not kinds:
        return "is empty; name the exceptions to retry, or leave `retry` out for none"
    for kind in kinds:
        if not (isinstance(kind, type) and issubclass(kind, Exception)):
            return f"has {kind!r}; name classes of exceptions, below Exception"
    return ""
