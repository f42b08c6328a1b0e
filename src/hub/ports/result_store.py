"""The store of task records and their results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, Protocol

from hub.histogram import HistogramSnapshot
from hub.task import Outcome, Progress, Task, TaskRecord
from hub.types import InstanceId, ModelName, TaskId, TaskState


class Missing(Enum):
    """Why there is no record: the id was never seen (or forgotten entirely), or its record has expired."""

    UNKNOWN = "unknown"
    GONE = "gone"


LISTED_STATES: Final = (
    TaskState.RUNNING,
    TaskState.FAILED,
    TaskState.DEAD,
    TaskState.EXPIRED,
    TaskState.CANCELLED,
)
"""The states of which a store keeps lists. Tasks that wait, or have succeeded, are too many to write each down twice."""

LIST_LENGTH: Final = 1000
"""Tasks in one list at most: of one model and state, and of one state over all models."""


MAX_CHILDREN: Final = 1000
"""Tasks that the model may make while it processes one task, over all its attempts."""


class Adoption(Enum):
    """The answer to `ResultStore.adopt`: `ENDED` and `FULL` mean that the child must not be submitted."""

    ADOPTED = "adopted"
    ENDED = "ended"
    """The parent has ended, or was withdrawn."""
    FULL = "full"
    """The parent has `MAX_CHILDREN` children."""


@dataclass(frozen=True, slots=True)
class RecentTasks:
    """A page of `ResultStore.recent`.

    Attributes:
        records: Newest first.
        cursor: What to ask for the next page with; empty if this is the last one.
    """

    records: Sequence[TaskRecord]
    cursor: str = ""


@dataclass(frozen=True, slots=True)
class Start:
    """The answer to `ResultStore.start`.

    Attributes:
        state: `RUNNING`: run it. `QUEUED`: do not, its attempts are used up, and nothing was changed or counted.
            `None`: the task was withdrawn. Anything else: the task has ended.
        attempt: Which run this is; when it is none, how many there were.
        retries: See `TaskRecord.retries`.
    """

    state: TaskState | None
    attempt: int
    retries: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleasedTask:
    """A run that ended without an outcome and is no sign of trouble: it does not count against the attempts of its task.

    Attributes:
        attempt: Which run; a later one that has begun meanwhile is not disturbed.
        retry_at: Of a run that failed and is to be tried again: when, in Unix seconds. `None`: a drain handed it back.
    """

    task_id: TaskId
    attempt: int
    retry_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressReport:
    """What run number `attempt` of a task says of itself."""

    task_id: TaskId
    attempt: int
    progress: Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationStats:
    """The calls of one operation so far: `seconds` that each took, and `sizes`, the tasks that each carried."""

    seconds: HistogramSnapshot
    sizes: HistogramSnapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreStatistics:
    """A snapshot.

    Attributes:
        connected: Whether the link stands.
        waiting: Calls of `changed` that wait.
        flushes: Round trips.
        commands: Tasks that they carried.
        dropped_outcomes: Outcomes that were not the first of their task.
        reconnects: Links after the first one.
        refusal: Why the server, which is in reach, carries out no changes, in its words: it is out of memory, or its access
            list forbids scripts. `None`: it does, as far as a look every few seconds tells.
        calls: Those that were carried out, by operation: a method of the port, `watch` for what `changed` asks, `resync`,
            or `list` for what is written into lists of recent tasks. An operation that was never called is not there.
    """

    connected: bool
    waiting: int
    flushes: int
    commands: int
    dropped_outcomes: int
    reconnects: int
    refusal: str | None = None
    calls: Mapping[str, OperationStats] = field(default_factory=dict[str, OperationStats])


class ResultStore(Protocol):
    """Task records and outcomes, by task id. Every change of a record raises its revision, atomically."""

    @property
    def channel(self) -> str:
        """Where this process hears of changes; a gateway puts it into `Task.reply_channel` when a client waits."""
        ...

    async def create(self, tasks: Sequence[Task]) -> Sequence[TaskRecord | None]:
        """Writes a `queued` record for each task, never over an existing one.

        The record of a task with an idempotency key is `pending` until `accept`. One that is still pending after
        `hub.task.PENDING_TTL` seconds, untouched, was left behind by a submit that died: it is written over.

        Returns:
            For each task `None` when the record was written, or the record that was there already.
        """
        ...

    async def accept(self, tasks: Sequence[Task]) -> None:
        """The messages of these tasks are confirmed: their records are `pending` no more."""
        ...

    async def withdraw(self, tasks: Sequence[Task]) -> None:
        """Takes back records whose task could not be published. A task that turns up nevertheless is not started.

        Records that are no longer `queued`, or were written by another submit (`Task.created_at` tells), stay. A
        withdrawn id is `Missing.UNKNOWN` to all other callers, and may be created again.
        """
        ...

    async def start(self, tasks: Sequence[Task], instance: InstanceId, *, attempts: int) -> Sequence[Start]:
        """Counts one more attempt of each task and marks it `running` on `instance`; `ended` reports its end there.

        A task whose record is terminal, or was withdrawn, or was written for another body (`Task.digest`), is left as it
        is and not counted; neither is one of which `attempts` runs were started that were not handed back. A task whose
        record has vanished (the store lost its data) gets a new one: the broker still vouches for it, so it was accepted.
        """
        ...

    async def release(self, runs: Sequence[ReleasedTask]) -> Sequence[bool]:
        """Marks runs as ended without an outcome: their tasks are `queued` again, the number of the attempt stays.

        Returns:
            For each run whether its task waits for another one now; `False` when the task has ended, or is run elsewhere.
        """
        ...

    async def report(self, reports: Sequence[ProgressReport]) -> None:
        """Stores what running tasks say of themselves; reports of runs that are not the present one are dropped."""
        ...

    async def ended(self, instance: InstanceId) -> Sequence[TaskId]:
        """Waits until tasks that `instance` has started have ended otherwise than by `finish` here, and says which.

        They were cancelled, or expired, or finished by another instance, so their runs have no use any more. Each is
        told at least once, also when it ended while the link was lost. Woken by the store, it never polls.
        """
        ...

    async def reset(self, tasks: Sequence[Task]) -> Sequence[bool]:
        """Makes tasks that are `dead`, or forgotten altogether, `queued` again, with all their attempts before them.

        The one way out of a terminal state, for an operator who has repaired the reason. `revision` goes on.

        Returns:
            For each task whether it waits for a run now; `False` when its record says that it is not dead.
        """
        ...

    async def adopt(self, children: Sequence[Task]) -> Sequence[Adoption]:
        """Writes each task into the record of its parent, before it is submitted: then `finish` of the parent ends it.

        May be repeated. A parent whose record has vanished (the store lost its data) adopts without writing it down.
        """
        ...

    async def finish(self, outcomes: Sequence[Outcome]) -> Sequence[bool]:
        """Stores terminal outcomes; the first of a task wins.

        The unfinished children of a task that ends so are ended too, as cancelled, and theirs, before this returns. If
        that fails, so does the call; a repeated call with the same outcome does the rest.

        Returns:
            For each outcome whether it is the one that counts. A repeated call with the same outcome is `True` again.
        """
        ...

    async def fetch(self, task_ids: Sequence[TaskId]) -> Sequence[TaskRecord | Missing]: ...

    async def recent(
        self, states: Sequence[TaskState], *, model: ModelName | None = None, before: str = "", limit: int
    ) -> RecentTasks:
        """The newest tasks of some states: by the start of their run while they run, else by their end.

        Reads lists of `LIST_LENGTH` tasks, never all records. A task that has moved on is not in the answer. A store that
        several processes share may take a second to list a task that runs, and does not list one that is faster. The
        lists are for people: what a process wrote down last may be missing after it was killed.

        Args:
            states: Out of `LISTED_STATES`.
            model: Whose tasks; `None`: those of all models.
            before: The cursor of the page before; empty for the first page.
            limit: Tasks at most.
        """
        ...

    async def changed(self, task_id: TaskId, *, after: int, until_terminal: bool = False) -> TaskRecord | Missing:
        """Waits until the revision is higher than `after` (with `until_terminal`: until the task has ended too).

        Returns at once when that is so already, or when there is no record. Woken by the store, it never polls.
        """
        ...

    def statistics(self) -> StoreStatistics: ...
