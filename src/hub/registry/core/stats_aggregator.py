"""What the instances of each model have done together, also those that are gone."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Final, final

from hub.stats import Durations, InstanceStats
from hub.types import InstanceId, ModelName, TaskState

MAX_INSTANCES: Final = 10_000
"""Instances whose last load is kept, so that one that comes back is not counted twice; the rest is forgotten, longest
silent first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelTotals:
    """All instances of one model, since this registry began to hear of them. Counts only rise.

    Attributes:
        outcomes: Outcomes stored, by state; every terminal state is there.
        waited: See `hub.stats.InstanceStats`.
        ran: See `hub.stats.InstanceStats`.
        newest: When the youngest task was created that has begun to run anywhere, in Unix seconds.
    """

    outcomes: Mapping[TaskState, int]
    waited: Durations
    ran: Durations
    newest: float | None


@final
class StatsAggregator:
    """Adds loads up, by what each instance has done since it was last heard of.

    Each instance counts from its own start, so what it says the first time is all new. Should a count be less than
    before, the instance has started again under the same id, and all of it is new. `take` has to be given the loads of
    one instance in the order in which they were said.

    Buckets with other bounds: the sum of two histograms is known exactly at the bounds that both have, so a model keeps
    those, and no other. Nothing is guessed; with no bound in common, what is left is the number of times and their sum.
    A model whose instances were given other buckets thus loses detail until the registry starts again.
    """

    def __init__(self) -> None:
        self._models: dict[ModelName, _Sums] = {}
        self._last: OrderedDict[InstanceId, InstanceStats] = OrderedDict()

    def take(self, model: ModelName, instance: InstanceId, load: InstanceStats) -> None:
        """Takes in what an instance says."""
        before = self._last.pop(instance, None)
        if before is None or not _rises(before, load):
            before = InstanceStats()
        self._last[instance] = load
        while len(self._last) > MAX_INSTANCES:
            self._last.popitem(last=False)
        sums = self._models.setdefault(model, _Sums())
        for state, count in load.outcomes.items():
            sums.outcomes[state] += count - before.outcomes.get(state, 0)
        sums.waited.add(before.waited, load.waited)
        sums.ran.add(before.ran, load.ran)
        if load.newest is not None:
            sums.newest = load.newest if sums.newest is None else max(sums.newest, load.newest)

    def forget(self, model: ModelName) -> None:
        """Drops what a model has done; should it come back, its counts begin at 0, as after a restart."""
        self._models.pop(model, None)

    def of(self, model: ModelName) -> ModelTotals:
        """The totals of a model, all 0 if nobody has said anything yet."""
        sums = self._models.get(model) or _Sums()
        return ModelTotals(
            outcomes={state: sums.outcomes[state] for state in TaskState if state.terminal},
            waited=sums.waited.read(),
            ran=sums.ran.read(),
            newest=sums.newest,
        )


def _rises(before: InstanceStats, after: InstanceStats) -> bool:
    """Whether `after` can be the same instance later on."""
    return all(after.outcomes.get(state, 0) >= count for state, count in before.outcomes.items()) and all(
        earlier.bounds == later.bounds
        and earlier.seconds <= later.seconds
        and all(one <= other for one, other in zip(earlier.counts, later.counts, strict=True))
        for earlier, later in ((before.waited, after.waited), (before.ran, after.ran))
    )


@final
class _Times:
    """The sum of histograms, at the bounds that all of them have. One without a single time says nothing of bounds."""

    def __init__(self) -> None:
        self._bounds: tuple[float, ...] | None = None
        self._counts: list[int] = [0]
        self._seconds = 0.0

    def add(self, before: Durations, after: Durations) -> None:
        """Adds what is in `after` and not in `before`, an earlier state of the same instance or one without any bounds."""
        earlier = before.counts if before.bounds == after.bounds else (0,) * len(after.counts)
        new = [later - one for later, one in zip(after.counts, earlier, strict=True)]
        if not any(new):
            return
        self._seconds += after.seconds - before.seconds
        if self._bounds is None:
            self._bounds = after.bounds
            self._counts = new
            return
        if self._bounds != after.bounds:
            common = tuple(bound for bound in self._bounds if bound in after.bounds)
            self._counts = _at(common, self._bounds, self._counts)
            new = _at(common, after.bounds, new)
            self._bounds = common
        self._counts = [one + other for one, other in zip(self._counts, new, strict=True)]

    def read(self) -> Durations:
        return Durations(bounds=self._bounds or (), counts=tuple(self._counts), seconds=self._seconds)


@final
class _Sums:
    def __init__(self) -> None:
        self.outcomes = Counter[TaskState]()
        self.waited = _Times()
        self.ran = _Times()
        self.newest: float | None = None


def _at(common: tuple[float, ...], bounds: tuple[float, ...], counts: list[int]) -> list[int]:
    """The counts of a histogram when only some of its bounds are left."""
    below = dict(zip(bounds, accumulate(counts), strict=False))
    return [upper - lower for lower, upper in pairwise((0, *(below[bound] for bound in common), sum(counts)))]
