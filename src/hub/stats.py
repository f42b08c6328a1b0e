"""Statistics of one instance, as its ping reply has them and the registry adds them up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hub.histogram import EMPTY_HISTOGRAM, HistogramSnapshot
from hub.types import TaskState


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceStats:
    """One instance at one moment. Counts only rise while the instance lives; times are seconds.

    Attributes:
        in_flight: Tasks that it works on.
        unacked: Messages that the broker has delivered to it and that it has not settled.
        outcomes: Outcomes that it has stored, by state; states without one may be missing.
        queue_time: From the creation of a task to the start of its first run.
        run_time: From the start of a run to its outcome.
        newest_task_created_at: When the newest task was created of those that have started here, in Unix seconds; `None`
            before the first.
        busy_seconds: For how long the model's code has held its own event loop up; 0 below a second.
    """

    in_flight: int = 0
    unacked: int = 0
    outcomes: Mapping[TaskState, int] = field(default_factory=dict[TaskState, int])
    queue_time: HistogramSnapshot = EMPTY_HISTOGRAM
    run_time: HistogramSnapshot = EMPTY_HISTOGRAM
    newest_task_created_at: float | None = None
    busy_seconds: float = 0.0
