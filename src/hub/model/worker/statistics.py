"""What an instance has done so far, in numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, final

from hub.histogram import SECONDS, Histogram, HistogramSnapshot, sum_of
from hub.stats import Durations, InstanceStats
from hub.types import TaskState

OUTCOMES: Final = tuple(state for state in TaskState if state.terminal)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerStatistics:
    """A snapshot.

    Attributes:
        consuming: Whether a link to the broker stands and tasks are taken from it.
        in_flight: Tasks that are about to start, that run, or whose outcome is not stored yet.
        saving: Those of them that have an outcome already.
        unacked: Messages that the broker has handed out to this instance and that are not settled.
        attempts: Runs that were started.
        stored: Outcomes that were the first of their task, by state; a state without one is not there.
        waited: Seconds from the creation of a task to the start of its first run.
        ran: Seconds from the start of a run to its outcome, by the state of that; every terminal state is there.
        newest: When the youngest task was created that has begun to run here, in Unix seconds; `None` before the first.
        dropped: Outcomes that came too late: another one had been stored.
        skipped: Deliveries of tasks that had ended, were withdrawn, or were running here already.
        undecodable: Messages that were no task.
        requeued: Started tasks that were handed back, by a drain or because a server was away for too long.
        retried: Failed runs that are to be followed by another one.
        stopped: Runs that were cancelled because their task had ended elsewhere.
    """

    consuming: bool
    in_flight: int
    saving: int
    unacked: int
    attempts: int
    stored: Mapping[TaskState, int]
    waited: HistogramSnapshot
    ran: Mapping[TaskState, HistogramSnapshot]
    newest: float | None
    dropped: int
    skipped: int
    undecodable: int
    requeued: int
    retried: int
    stopped: int

    def load(self) -> InstanceStats:
        """What the answer to a ping says of it."""
        return InstanceStats(
            in_flight=self.in_flight,
            unacked=self.unacked,
            outcomes={state: self.stored.get(state, 0) for state in OUTCOMES},
            waited=Durations.of(self.waited),
            ran=Durations.of(sum_of(self.ran.values(), bounds=self.waited.bounds)),
            newest=self.newest,
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
        self.waited = Histogram(bounds)
        self.ran = {state: Histogram(bounds) for state in OUTCOMES}
        self.newest: float | None = None

    def run_started(self, *, created_at: float, now: float, first: bool) -> None:
        """Counts a run; `first` if it is the first one of its task. The queue time of later ones includes other waits."""
        self.attempts += 1
        self.newest = created_at if self.newest is None else max(self.newest, created_at)
        if first:
            self.waited.add(now - created_at)

    def stored_outcome(self, state: TaskState, *, first: bool) -> None:
        """Counts an outcome that the store has; `first` if it is the one that counts for its task."""
        if first:
            self.stored[state] += 1
        else:
            self.dropped += 1

    def snapshot(self, *, consuming: bool, in_flight: int, saving: int, unacked: int) -> WorkerStatistics:
        """The counters, together with what the worker itself knows; see `WorkerStatistics` for the arguments."""
        return WorkerStatistics(
            consuming=consuming,
            in_flight=in_flight,
            saving=saving,
            unacked=unacked,
            attempts=self.attempts,
            stored=dict(self.stored),
            waited=self.waited.read(),
            ran={state: times.read() for state, times in self.ran.items()},
            newest=self.newest,
            dropped=self.dropped,
            skipped=self.skipped,
            undecodable=self.undecodable,
            requeued=self.requeued,
            retried=self.retried,
            stopped=self.stopped,
        )
