"""Totals of each model over all its instances, removed ones included."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Final, final

from hub.histogram import HistogramSnapshot
from hub.stats import InstanceStats
from hub.types import InstanceId, ModelName, TaskState

MAX_INSTANCES: Final = 10_000
"""Instances whose last statistics are kept, so that one that comes back is not counted twice. Beyond that those are dropped
that have not reported for longest."""

_TERMINAL: Final = tuple(state for state in TaskState if state.terminal)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelTotals:
    """The sum over all instances of a model since this registry started. Counts only rise; see `hub.stats.InstanceStats`.

    Attributes:
        outcomes: Outcomes stored, by state; every terminal state is there.
        queue_time: From the creation of a task to the start of its first run.
        run_time: From the start of a run to its outcome.
        newest_task_created_at: When the newest task was created of those that have started on any instance, in Unix
            seconds.
    """

    outcomes: Mapping[TaskState, int]
    queue_time: HistogramSnapshot
    run_time: HistogramSnapshot
    newest_task_created_at: float | None


@final
class StatsAggregator:
    """Adds up the statistics of instances, by the difference to what each of them reported before.

    An instance counts from its own start, so its first report is all new. If a count is lower than before, the instance
    has restarted under the same id, and all of it is new. `add` has to be called in the order of an instance's reports.

    Buckets with other bounds: the sum of two histograms is known exactly at the bounds that both have, so a model keeps
    those, and no other. Nothing is interpolated; with no bound in common, what is left is the number of values and their
    sum. A model whose instances have different buckets thus loses detail until the registry restarts.
    """

    def __init__(self) -> None:
        self._models: dict[ModelName, _ModelSums] = {}
        self._last: OrderedDict[InstanceId, InstanceStats] = OrderedDict()

    def add(self, model: ModelName, instance: InstanceId, stats: InstanceStats) -> None:
        """Adds what an instance has done since its last report."""
        before = self._last.pop(instance, None)
        if before is None or not _is_monotonic(before, stats):
            before = InstanceStats()
        self._last[instance] = stats
        while len(self._last) > MAX_INSTANCES:
            self._last.popitem(last=False)
        sums = self._models.setdefault(model, _ModelSums())
        for state, count in stats.outcomes.items():
            sums.outcomes[state] += count - before.outcomes.get(state, 0)
        sums.queue_time.add(before.queue_time, stats.queue_time)
        sums.run_time.add(before.run_time, stats.run_time)
        created_at = stats.newest_task_created_at
        if created_at is not None:
            newest = sums.newest_task_created_at
            sums.newest_task_created_at = created_at if newest is None else max(newest, created_at)

    def forget(self, model: ModelName) -> None:
        """Drops the totals of a model; if it comes back, its counts begin at 0, as after a restart."""
        self._models.pop(model, None)

    def newest_task_created_at(self, model: ModelName) -> float | None:
        """When the newest task was created of those that have started, in Unix seconds; `None` before the first."""
        sums = self._models.get(model)
        return None if sums is None else sums.newest_task_created_at

    def totals(self, model: ModelName) -> ModelTotals:
        """The totals of a model; all 0 before the first report."""
        sums = self._models.get(model) or _ModelSums()
        return ModelTotals(
            outcomes={state: sums.outcomes[state] for state in _TERMINAL},
            queue_time=sums.queue_time.snapshot(),
            run_time=sums.run_time.snapshot(),
            newest_task_created_at=sums.newest_task_created_at,
        )


def _is_monotonic(before: InstanceStats, after: InstanceStats) -> bool:
    """Whether `after` can be a later report of the process that reported `before`."""
    return all(after.outcomes.get(state, 0) >= count for state, count in before.outcomes.items()) and all(
        earlier.bounds == later.bounds
        and earlier.sum <= later.sum
        and all(one <= other for one, other in zip(earlier.counts, later.counts, strict=True))
        for earlier, later in ((before.queue_time, after.queue_time), (before.run_time, after.run_time))
    )


class _HistogramSum:
    """A sum of histograms, at the bounds that all of them have. Bounds of histograms without a value do not count."""

    def __init__(self) -> None:
        self._bounds: tuple[float, ...] | None = None
        self._counts: list[int] = [0]
        self._sum = 0.0

    def add(self, before: HistogramSnapshot, after: HistogramSnapshot) -> None:
        """Adds what is in `after` and not in `before`, an earlier state of the same histogram or an empty one."""
        earlier = before.counts if before.bounds == after.bounds else (0,) * len(after.counts)
        new = [later - one for later, one in zip(after.counts, earlier, strict=True)]
        if not any(new):
            return
        self._sum += after.sum - before.sum
        if self._bounds is None:
            self._bounds = after.bounds
            self._counts = new
            return
        if self._bounds != after.bounds:
            common = tuple(bound for bound in self._bounds if bound in after.bounds)
            self._counts = _rebucket(common, self._bounds, self._counts)
            new = _rebucket(common, after.bounds, new)
            self._bounds = common
        self._counts = [one + other for one, other in zip(self._counts, new, strict=True)]

    def snapshot(self) -> HistogramSnapshot:
        return HistogramSnapshot(bounds=self._bounds or (), counts=tuple(self._counts), sum=self._sum)


@final
class _ModelSums:
    def __init__(self) -> None:
        self.outcomes = Counter[TaskState]()
        self.queue_time = _HistogramSum()
        self.run_time = _HistogramSum()
        self.newest_task_created_at: float | None = None


def _rebucket(common: tuple[float, ...], bounds: tuple[float, ...], counts: list[int]) -> list[int]:
    """The counts of a histogram at a part of its bounds."""
    below = dict(zip(bounds, accumulate(counts), strict=False))
    return [upper - lower for lower, upper in pairwise((0, *(below[bound] for bound in common), sum(counts)))]
