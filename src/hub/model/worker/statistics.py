"""Statistics of a worker."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, final

from hub.histogram import SECONDS, Histogram, HistogramSnapshot, merge
from hub.model.execution.dynamic_batcher import BatchStatistics
from hub.stats import InstanceStats
from hub.types import ModelName, TaskState

OUTCOMES: Final = tuple(state for state in TaskState if state.terminal)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerStatistics:
    """A snapshot. Counts rise while the worker lives.

    Attributes:
        consuming: Whether a connection to the broker is open and tasks are received from it.
        in_flight: Tasks that are about to start, that run, or whose outcome is not stored yet.
        saving: Those of them whose outcome, retry or dead letter is being written.
        unacked: Messages that the broker has delivered to this instance and that are not settled.
        attempts: Runs that were started.
        stored: Outcomes that were the first of their task, by state; states without one are missing.
        queue_time: Seconds from the creation of a task to the start of its first run.
        run_time: Seconds from the start of a run to its outcome, by the state of the outcome; has every terminal state.
        newest_task_created_at: When the newest task was created of those that have started here, in Unix seconds; `None`
            before the first.
        dropped: Outcomes that were not the first of their task.
        skipped: Deliveries of tasks that had ended, were withdrawn, or were in flight here already.
        undecodable: Messages that are not tasks.
        requeued: Started tasks that were requeued, by a drain or because a server was away for too long.
        retried: Failed runs that are retried.
        stopped: Runs that were cancelled because their task had ended elsewhere.
        busy_seconds: For how long the model's code has held its own event loop up; 0 below a second.
        calls: Calls of other models, by the model and the result: a terminal state, or `refused`.
        batches: Those of a model with `process_batch`; `None` for others.
        chunks: Chunks of streams that are stored.
    """

    consuming: bool
    in_flight: int
    saving: int
    unacked: int
    attempts: int
    stored: Mapping[TaskState, int]
    queue_time: HistogramSnapshot
    run_time: Mapping[TaskState, HistogramSnapshot]
    newest_task_created_at: float | None
    dropped: int
    skipped: int
    undecodable: int
    requeued: int
    retried: int
    stopped: int
    busy_seconds: float = 0.0
    calls: Mapping[tuple[ModelName, str], int] = field(default_factory=dict[tuple[ModelName, str], int])
    batches: BatchStatistics | None = None
    chunks: int = 0

    def stats(self) -> InstanceStats:
        """The part that is in the reply to a ping."""
        return InstanceStats(
            in_flight=self.in_flight,
            unacked=self.unacked,
            outcomes={state: self.stored.get(state, 0) for state in OUTCOMES},
            queue_time=self.queue_time,
            run_time=merge(self.run_time.values(), bounds=self.queue_time.bounds),
            newest_task_created_at=self.newest_task_created_at,
            busy_seconds=round(self.busy_seconds, 3),
        )


@final
class WorkerCounters:
    """The counters behind `WorkerStatistics`.

    Args:
        bounds: Upper bounds of the buckets of times, in seconds.
    """

    def __init__(self, bounds: Sequence[float] = SECONDS) -> None:
        self.attempts = 0
        self.dropped = 0
        self.skipped = 0
        self.undecodable = 0
        self.requeued = 0
        self.retried = 0
        self.stopped = 0
        self.stored = Counter[TaskState]()
        self.calls = Counter[tuple[ModelName, str]]()
        self.queue_time = Histogram(bounds)
        self.run_time = {state: Histogram(bounds) for state in OUTCOMES}
        self.newest_task_created_at: float | None = None

    def run_started(self, *, created_at: float, now: float, first: bool) -> None:
        """Counts a run; `first` if it is the first one of its task. The queue time of later ones includes other waits."""
        self.attempts += 1
        newest = self.newest_task_created_at
        self.newest_task_created_at = created_at if newest is None else max(newest, created_at)
        if first:
            self.queue_time.observe(now - created_at)

    def stored_outcome(self, state: TaskState, *, first: bool) -> None:
        """Counts an outcome that the store has; `first` if it is the one that counts for its task."""
        if first:
            self.stored[state] += 1
        else:
            self.dropped += 1

    def snapshot(
        self,
        *,
        consuming: bool,
        in_flight: int,
        saving: int,
        unacked: int,
        busy_seconds: float,
        batches: BatchStatistics | None,
        chunks: int,
    ) -> WorkerStatistics:
        """The counters, together with what the worker itself knows; see `WorkerStatistics` for the arguments."""
        return WorkerStatistics(
            consuming=consuming,
            in_flight=in_flight,
            saving=saving,
            unacked=unacked,
            attempts=self.attempts,
            stored=dict(self.stored),
            queue_time=self.queue_time.snapshot(),
            run_time={state: times.snapshot() for state, times in self.run_time.items()},
            newest_task_created_at=self.newest_task_created_at,
            dropped=self.dropped,
            skipped=self.skipped,
            undecodable=self.undecodable,
            requeued=self.requeued,
            retried=self.retried,
            stopped=self.stopped,
            busy_seconds=busy_seconds,
            calls=dict(self.calls),
            batches=batches,
            chunks=chunks,
        )
