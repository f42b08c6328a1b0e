"""Rates and quantiles of the models, from the counters of the registry and of this gateway."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, final

import structlog
from anyio.lowlevel import checkpoint

from hub.concurrency.periodic import every
from hub.errors import ConnectionLost
from hub.gateway.models.registry_queries import RegistryQueries, registry_timeout
from hub.histogram import HistogramSnapshot
from hub.registry.client.errors import RegistryRefused
from hub.registry.client.schemas import ModelStatsBody, QueueBody
from hub.types import ModelName, TaskState

POLL_INTERVAL: Final = 2.0
"""Seconds between two requests for the counters. They change with the pings only, every 10 s by default."""

WINDOW: Final = 30.0
"""Seconds of the rates and quantiles: three pings of the default period, since counters come with the pings."""

FAILURES: Final = (TaskState.FAILED, TaskState.EXPIRED, TaskState.DEAD)
"""The outcomes that count as failures. A cancelled task is none."""

_TERMINAL: Final = tuple(state for state in TaskState if state.terminal)

_log = structlog.get_logger("hub.gateway")


@dataclass(frozen=True, slots=True, kw_only=True)
class CounterSample:
    """The counters of one model at one moment; `at` is in Unix seconds."""

    at: float
    in_flight: int
    outcomes: Mapping[TaskState, int]
    queue_time: HistogramSnapshot
    run_time: HistogramSnapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantiles:
    """Median and 95th percentile, in seconds; `None` when nothing was timed."""

    p50: float | None = None
    p95: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Throughput:
    """The work of a model in the last `WINDOW`. Rates are `None` until there are two samples."""

    in_flight: int
    finished_per_second: float | None = None
    failed_per_second: float | None = None
    run_time: Quantiles = Quantiles()
    queue_time: Quantiles = Quantiles()


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueBacklog:
    """The numbers of a queue that the broker does not have; see `hub.gateway.schemas.QueueOverviewBody`."""

    unacked: int
    oldest_seconds: float


def throughput(samples: Sequence[CounterSample]) -> Throughput:
    """The work from the first of `samples` (at least one, oldest first) to the last.

    A counter that has fallen between two samples adds nothing for that time: its registry has restarted, and its counts
    may be old or new. Prometheus would take all of them for new, which is right for the counter of one process but not
    for a sum over many.
    """
    first, last = samples[0], samples[-1]
    seconds = last.at - first.at
    if seconds <= 0:
        return Throughput(in_flight=last.in_flight)
    if _unchanged(first, samples[1]):
        seconds = min(seconds, max(WINDOW, last.at - samples[1].at))  # nothing ended before the window began
    steps = list(pairwise(samples))
    return Throughput(
        in_flight=last.in_flight,
        finished_per_second=sum(outcomes_between(before, after) for before, after in steps) / seconds,
        failed_per_second=sum(outcomes_between(before, after, FAILURES) for before, after in steps) / seconds,
        run_time=_quantiles([sample.run_time for sample in samples]),
        queue_time=_quantiles([sample.queue_time for sample in samples]),
    )


def _unchanged(before: CounterSample, after: CounterSample) -> bool:
    return (before.outcomes, before.run_time, before.queue_time) == (after.outcomes, after.run_time, after.queue_time)


def outcomes_between(before: CounterSample, after: CounterSample, states: Iterable[TaskState] = TaskState) -> int:
    """How many tasks ended in one of `states` between two samples."""
    return sum(max(0, after.outcomes.get(state, 0) - before.outcomes.get(state, 0)) for state in states)


def quantile(share: float, bounds: Sequence[float], counts: Sequence[int]) -> float | None:
    """The time that `share` of all times do not exceed, as Prometheus's `histogram_quantile` estimates it.

    Args:
        share: From 0 to 1.
        bounds: Upper bounds of the buckets, rising.
        counts: Times in each bucket, and in one more without a bound: its times count as the last bound.
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


def _quantiles(histograms: Iterable[HistogramSnapshot]) -> Quantiles:
    bounds: tuple[float, ...] = ()
    total: list[int] = []
    for before, after in pairwise(histograms):
        if after.bounds != bounds:  # counts of other buckets cannot be added
            bounds, total = after.bounds, [0] * len(after.counts)
        if not any(before.counts):  # nothing was timed yet, in whatever buckets
            increase = list(after.counts)
        elif before.bounds != after.bounds:
            continue
        else:
            increase = [new - old for old, new in zip(before.counts, after.counts, strict=False)]
        if min(increase) >= 0:
            total = [old + new for old, new in zip(total, increase, strict=False)]
    return Quantiles(p50=quantile(0.5, bounds, total), p95=quantile(0.95, bounds, total))


@final
class SampleWindow:
    """The counter samples of the last `WINDOW` seconds of each model."""

    def __init__(self) -> None:
        self._samples: dict[ModelName, deque[CounterSample]] = {}
        self._failed: dict[ModelName, int] = {}
        self._resting: set[ModelName] = set()
        self._throughput: dict[ModelName, Throughput] = {}

    def add(self, samples: Mapping[ModelName, CounterSample]) -> None:
        """Adds one sample of each model; models without one are forgotten.

        Of samples in a row that differ in their time only, the first and the last are kept: the counters change with the
        pings, and those of most models seldom.
        """
        kept: dict[ModelName, deque[CounterSample]] = {}
        for name, sample in samples.items():
            past = self._samples.get(name)
            if past is None or past[-1].at > sample.at:  # the second: a clock was set back
                past = deque[CounterSample]()
            elif past[-1].at < sample.at:
                self._failed[name] = self._failed.get(name, 0) + outcomes_between(past[-1], sample, FAILURES)
            if not past or past[-1].at < sample.at:
                unchanged = bool(past) and _unchanged(past[-1], sample)
                if unchanged and name in self._resting and len(past) > 1:
                    past[-1] = sample
                else:
                    past.append(sample)
                    (self._resting.add if unchanged else self._resting.discard)(name)
            while len(past) > 2 and past[1].at <= sample.at - WINDOW:
                past.popleft()
            kept[name] = past
        self._samples = kept
        self._throughput = {}
        self._resting &= kept.keys()
        self._failed = {name: count for name, count in self._failed.items() if name in kept}

    def throughput(self, name: ModelName) -> Throughput | None:
        """The work of the model; `None` without a sample. The same object until the next samples."""
        samples = self._samples.get(name)
        if not samples:
            return None
        return self._throughput.get(name) or self._throughput.setdefault(name, throughput(samples))

    def failed(self, name: ModelName) -> int:
        """Tasks of the model that have failed since the first sample."""
        return self._failed.get(name, 0)


@final
class ModelStats:
    """The newest statistics of the registry, and the throughput of each model.

    Args:
        registry: Sums the counters of the instances.
        outcomes: Outcomes that tasks got from this gateway, which no instance counts; see `TaskService.outcomes`. Those
            of other gateways are missing.
    """

    def __init__(self, registry: RegistryQueries, outcomes: Mapping[tuple[ModelName, TaskState], int]) -> None:
        self._registry = registry
        self._outcomes = outcomes
        self._window = SampleWindow()
        self._backlogs: Mapping[ModelName, QueueBacklog] = {}
        self._is_fresh = False

    @property
    def is_fresh(self) -> bool:
        """Whether the last poll succeeded. Otherwise there is no `throughput` and no `backlog`."""
        return self._is_fresh

    async def run(self) -> None:
        """Polls every `POLL_INTERVAL` seconds. Never returns; a registry out of reach is no error."""
        async for _ in every(POLL_INTERVAL, immediately=True):
            try:
                with registry_timeout():
                    body = await self._registry.stats()
            except (ConnectionLost, RegistryRefused) as error:
                self.mark_stale(str(error))
            else:
                await checkpoint()  # between the parts of the work for many models, others run
                samples = {ModelName(stats.model): self._sample(body.at, stats) for stats in body.models}
                await checkpoint()
                self.update(
                    samples, {ModelName(stats.model): _backlog(stats.queue) for stats in body.models if stats.queue}
                )

    def update(self, samples: Mapping[ModelName, CounterSample], backlogs: Mapping[ModelName, QueueBacklog]) -> None:
        """Adds the statistics of all models."""
        self._window.add(samples)
        self._backlogs = backlogs
        self._is_fresh = True

    def mark_stale(self, reason: str) -> None:
        """Notes that a poll has failed."""
        if self._is_fresh:
            _log.warning("the statistics of the registry cannot be read", reason=reason)
        self._is_fresh = False

    def backlog(self, name: ModelName) -> QueueBacklog | None:
        return self._backlogs.get(name) if self._is_fresh else None

    def throughput(self, name: ModelName) -> Throughput | None:
        return self._window.throughput(name) if self._is_fresh else None

    def failed(self, name: ModelName) -> int:
        """Tasks of the model that have failed since this gateway's first poll."""
        return self._window.failed(name)

    def _sample(self, at: float, stats: ModelStatsBody) -> CounterSample:
        outcomes = {
            state: stats.outcomes.get(state, 0) + self._outcomes.get((ModelName(stats.model), state), 0)
            for state in _TERMINAL
        }
        return CounterSample(
            at=at,
            in_flight=stats.in_flight,
            outcomes=outcomes,
            queue_time=stats.queue_time,
            run_time=stats.run_time,
        )


def _backlog(queue: QueueBody) -> QueueBacklog:
    return QueueBacklog(unacked=queue.unacked, oldest_seconds=queue.oldest_seconds)
