"""What an instance has done so far, in numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import final

from hub.vocabulary import TaskState


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerStatistics:
    """A snapshot.

    Attributes:
        consuming: Whether a link to the broker stands and tasks are taken from it.
        in_flight: Tasks that are about to start, that run, or whose outcome is not stored yet.
        saving: Those of them that have an outcome already.
        attempts: Runs that were started.
        stored: Outcomes by state that were the first of their task.
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
    attempts: int
    stored: Mapping[TaskState, int]
    dropped: int
    skipped: int
    undecodable: int
    requeued: int
    retried: int
    stopped: int


@final
@dataclass(slots=True)
class Tally:
    """The counters behind `WorkerStatistics`."""

    attempts: int = 0
    dropped: int = 0
    skipped: int = 0
    undecodable: int = 0
    requeued: int = 0
    retried: int = 0
    stopped: int = 0
    stored: Counter[TaskState] = field(default_factory=Counter[TaskState])
