"""How much work an instance has and has done: what the answer to a ping says, and what the registry adds up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from hub.histogram import HistogramSnapshot
from hub.types import TaskState


@dataclass(frozen=True, slots=True, kw_only=True)
class Durations:
    """A histogram of times in seconds, counted since the start of the instance.

    Attributes:
        bounds: Upper bounds of the buckets, rising; the last bucket has none.
        counts: Times in each bucket (not cumulative), so one more than there are bounds.
        seconds: The sum of all times.
    """

    bounds: tuple[float, ...] = ()
    counts: tuple[int, ...] = (0,)
    seconds: float = 0.0

    @classmethod
    def of(cls, buckets: HistogramSnapshot) -> Self:
        return cls(bounds=buckets.bounds, counts=buckets.counts, seconds=buckets.total)


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceStats:
    """One instance, at one moment. Counts only rise while the instance lives.

    Attributes:
        in_flight: Tasks that it works on.
        unacked: Messages that the broker has handed to it and that it has not settled.
        outcomes: Outcomes that it has stored, by state; states without one may be missing.
        waited: From the creation of a task to the start of its run.
        ran: From the start of a run to its outcome.
        newest: When the youngest task was created that has begun to run here, in Unix seconds; `None` before the first.
    """

    in_flight: int = 0
    unacked: int = 0
    outcomes: Mapping[TaskState, int] = field(default_factory=dict[TaskState, int])
    waited: Durations = Durations()
    ran: Durations = Durations()
    newest: float | None = None
