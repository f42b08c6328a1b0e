"""Rates and quantiles out of counters that only rise, or begin anew. Nothing here awaits."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, final

from hub.histogram import HistogramSnapshot
from hub.types import ModelName, TaskState

WINDOW: Final = 30.0
"""Seconds that rates and quantiles look back: three pings of the default period, since counters come with the pings."""

FAILURES: Final = (TaskState.FAILED, TaskState.EXPIRED, TaskState.DEAD)
"""The outcomes that count as failures. What a client cancelled is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CounterSample:
    """The counters of one model at one moment; `at` is in Unix seconds."""

    at: float
    in_flight: int
    outcomes: Mapping[TaskState, int]
    waited: HistogramSnapshot
    ran: HistogramSnapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantiles:
    """Half, and 95 of 100, took at most so many seconds; `None` when there was nothing to time."""

    p50: float | None = None
    p95: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Throughput:
    """What a model has been doing lately. Rates are `None` until there are two readings."""

    in_flight: int
    finished_per_second: float | None = None
    failed_per_second: float | None = None
    ran: Quantiles = Quantiles()
    waited: Quantiles = Quantiles()


def work(readings: Sequence[CounterSample]) -> Throughput:
    """What happened from the first of `readings` (at least one, oldest first) to the last.

    A counter that has fallen between two readings adds nothing for that time: its registry has begun anew, and what it
    counts now may be old or new. Prometheus would take all of it for new, which is right for the counter of one process
    but not for a sum over many.
    """
    first, last = readings[0], readings[-1]
    seconds = last.at - first.at
    if seconds <= 0:
        return Throughput(in_flight=last.in_flight)
    steps = list(pairwise(readings))
    return Throughput(
        in_flight=last.in_flight,
        finished_per_second=sum(ended(before, after) for before, after in steps) / seconds,
        failed_per_second=sum(ended(before, after, FAILURES) for before, after in steps) / seconds,
        ran=_quantiles([reading.ran for reading in readings]),
        waited=_quantiles([reading.waited for reading in readings]),
    )


def ended(before: CounterSample, after: CounterSample, states: Iterable[TaskState] = TaskState) -> int:
    """How many tasks ended in one of `states` between two readings."""
    return sum(max(0, after.outcomes.get(state, 0) - before.outcomes.get(state, 0)) for state in states)


def quantile(share: float, bounds: Sequence[float], counts: Sequence[int]) -> float | None:
    """The time that `share` of all times do not exceed, as Prometheus's `histogram_quantile` estimates it.

    Args:
        share: From 0 to 1.
        bounds: Upper bounds of the buckets, rising.
        counts: Times in each bucket, and in one more that has no bound: its times count as the last bound.
    """
    total = sum(counts)
    if not total or not bounds:
        return None
    rank, below = share * total, 0
    for index, count in enumerate(counts[: len(bounds)]):
        if count and below + count >= rank:
            low = bounds[index - 1] if index else 0.0
            return low + (bounds[index] - low) * (rank - below) / count
        below += count
    return bounds[-1]


def _quantiles(durations: Iterable[HistogramSnapshot]) -> Quantiles:
    bounds: tuple[float, ...] = ()
    total: list[int] = []
    for before, after in pairwise(durations):
        if after.bounds != bounds:  # what was counted in other buckets cannot be added up
            bounds, total = after.bounds, [0] * len(after.counts)
        if not any(before.counts):  # nothing was timed yet, in whatever buckets
            grown = list(after.counts)
        elif before.bounds != after.bounds:
            continue
        else:
            grown = [new - old for old, new in zip(before.counts, after.counts, strict=False)]
        if min(grown) >= 0:
            total = [old + new for old, new in zip(total, grown, strict=False)]
    return Quantiles(p50=quantile(0.5, bounds, total), p95=quantile(0.95, bounds, total))


@final
class Rates:
    """Keeps the readings of `WINDOW` seconds for each model."""

    def __init__(self) -> None:
        self._readings: dict[ModelName, deque[CounterSample]] = {}
        self._failed: dict[ModelName, int] = {}

    def take(self, readings: Mapping[ModelName, CounterSample]) -> None:
        """Takes in what all models count now; models that are left out are forgotten."""
        kept: dict[ModelName, deque[CounterSample]] = {}
        for name, reading in readings.items():
            past = self._readings.get(name)
            if past is None or past[-1].at > reading.at:  # the second: a clock was set back
                past = deque[CounterSample]()
            elif past[-1].at < reading.at:
                self._failed[name] = self._failed.get(name, 0) + ended(past[-1], reading, FAILURES)
            if not past or past[-1].at < reading.at:
                past.append(reading)
            while len(past) > 2 and past[1].at <= reading.at - WINDOW:
                past.popleft()
            kept[name] = past
        self._readings = kept
        self._failed = {name: count for name, count in self._failed.items() if name in kept}

    def work(self, name: ModelName) -> Throughput | None:
        """What the model has been doing; `None` if nothing was read of it."""
        readings = self._readings.get(name)
        return work(readings) if readings else None

    def failed(self, name: ModelName) -> int:
        """Tasks of the model that have failed since the first reading."""
        return self._failed.get(name, 0)
