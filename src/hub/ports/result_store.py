"""The store of task records and their results."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, Protocol

from typing_extensions import override

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

_POSITION: Final = re.compile(r"([1-9][0-9]{0,14})-(0|[1-9][0-9]{0,14})")

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


PAGE_CHUNKS: Final = 1000
"""Chunks in one page at most, unless the caller has another limit."""

PAGE_BYTES: Final = 64 * 1024
"""Bytes of the chunks in one page, unless the caller has another limit: small enough to be answered beside other calls."""


@dataclass(frozen=True, slots=True, order=True)
class ChunkPosition:
    """The place of a chunk in the stream of its task, later ones being greater. Its text is `<attempt>-<number>`.

    Attributes:
        attempt: The run that made it, from 1.
        number: From 1 within the attempt. 0: the place before the first chunk.
    """

    attempt: int
    number: int

    @override
    def __str__(self) -> str:
        return f"{self.attempt}-{self.number}"

    @classmethod
    def parse(cls, text: str) -> ChunkPosition:
        """The position with this text.

        Raises:
            ValueError: It is not the text of a position, or one of its numbers has more than 15 digits.
        """
        found = _POSITION.fullmatch(text)
        if found is None:
            raise ValueError(f"{text[:40]!r} is no position of a chunk; write <attempt>-<number>, such as 1-17")
        return cls(int(found[1]), int(found[2]))


@dataclass(frozen=True, slots=True)
class Chunk:
    """One message of a stream; `body` is its serialized form."""

    position: ChunkPosition
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkAppend:
    """Chunks that a run adds to the stream of its task.

    Attributes:
        attempt: Which run.
        first: The number of the first of them, from 1; the chunks before it are in the store.
        bodies: Serialized messages, in order. Empty: nothing is added, and the answer says whether they could be.
    """

    task_id: TaskId
    attempt: int
    first: int
    bodies: Sequence[bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkPage:
    """A part of the stream of a task, as it was at one moment.

    Attributes:
        attempt: The newest run of the task: all chunks are of this run. 0: none has begun.
        chunks: In order and without a gap; empty if there are none yet after the position that was asked for.
        total: Chunks of this attempt that are stored.
        last: Where the next page begins: the position of the last chunk, or if there is none the one that was asked for;
            when that is of another attempt, the place before the first chunk.
        state: The state of the task.
        revision: The revision of its record, for the argument `beyond` of the next call.
    """

    attempt: int
    chunks: Sequence[Chunk]
    total: int
    last: ChunkPosition
    state: TaskState
    revision: int

    @property
    def complete(self) -> bool:
        """Whether the task has ended and no chunk comes after this page."""
        return self.state.terminal and self.last.number >= self.total


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
        waiting: Calls of `wait_for_change` that wait.
        flushes: Round trips.
        commands: Tasks that they carried.
        dropped_outcomes: Outcomes that were not the first of their task.
        reconnects: Links after the first one.
        refusal: Why the server, which is in reach, carries out no changes, in its words: it is out of memory, or its access
            list forbids scripts. `None`: it does, as far as a look every few seconds tells.
        calls: Those that were carried out, by operation: a method of the port, `watch` for what `wait_for_change` asks, `resync`,
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

        The record of a task with an idempotency key is `pending` until `confirm`. One that is still pending after
        `hub.types.PENDING_TTL` seconds, untouched, was left behind by a submit that died: it is written over.

        Returns:
            For each task `None` when the record was written, or the record that was there already.
        """
        ...

    async def confirm(self, tasks: Sequence[Task]) -> None:
        """The messages of these tasks are confirmed: their records are `pending` no more."""
        ...

    async def withdraw(self, tasks: Sequence[Task]) -> None:
        """Takes back records whose task could not be published. A task that turns up nevertheless is not started.

        Records that are no longer `queued`, or were written by another submit (`Task.created_at` tells), stay. A
        withdrawn id is `Missing.UNKNOWN` to all other callers, and may be created again.
        """
        ...

    async def start(self, tasks: Sequence[Task], instance: InstanceId, *, attempts: int) -> Sequence[Start]:
        """Counts one more attempt of each task and marks it `running` on `instance`; `next_ended` reports its end there.

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

    async def next_ended(self, instance: InstanceId) -> Sequence[TaskId]:
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

        An outcome of a streaming run (`Outcome.chunks`) counts only if that is the newest run of its task, and a success
        only if all of its chunks are stored.

        Returns:
            For each outcome whether it is the one that counts. A repeated call with the same outcome is `True` again.
        """
        ...

    async def append(self, appends: Sequence[ChunkAppend]) -> Sequence[bool]:
        """Adds chunks to the streams of running tasks. A call that is repeated with the same chunks adds them once.

        The first append of an attempt drops the chunks of earlier ones. Chunks live as long as the record of their task.

        Returns:
            For each append whether its chunks are stored. `False` when the task has ended or was withdrawn, when another
            run of it has begun, or when chunks before the first one are missing because the store has lost them: the run
            is of no use any more. `release` tells these cases apart.
        """
        ...

    async def chunks(
        self,
        task_id: TaskId,
        after: ChunkPosition | None = None,
        *,
        limit: int = PAGE_CHUNKS,
        limit_bytes: int = PAGE_BYTES,
        beyond: int | None = None,
    ) -> ChunkPage | Missing:
        """The next chunks of the newest attempt of a task.

        A reader of a whole stream calls it with `after=page.last, beyond=page.revision` of the page before until a page is
        `complete`; another `attempt` than before means that the stream has begun again. A cancelled call has no effect.

        Args:
            task_id: Whose.
            after: The chunk before the first one that is wanted. `None`, or a position of another attempt: the first one.
            limit: Chunks at most, from 1.
            limit_bytes: Bytes at most; a chunk that has more is returned alone.
            beyond: If there are no such chunks yet, waits until there are, or until the record has a higher revision than
                this; woken by the store, it never polls. `None`: does not wait.
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

    async def wait_for_change(
        self, task_id: TaskId, *, after: int, until_terminal: bool = False
    ) -> TaskRecord | Missing:
        """Waits until the revision is higher than `after` (with `until_terminal`: until the task has ended too).

        Returns at once when that is so already, or when there is no record; the loss of a record that this process has
        created may show at its next change only. Woken by the store, it never polls.
        """
        ...

    def statistics(self) -> StoreStatistics: ...
