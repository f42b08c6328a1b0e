"""Task records in a dict, and what changes them. Does no I/O, and awaits nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias, TypedDict, final

from hub.ports.result_store import (
    MAX_CHILDREN,
    Adoption,
    ChunkAppend,
    ChunkPage,
    ChunkPosition,
    Missing,
    ProgressReport,
    ReleasedTask,
    Start,
)
from hub.stores.memory.expiring import Expiring
from hub.stores.memory.lists import MemoryLists
from hub.stores.memory.stream import MemoryStream
from hub.stores.options import TOMBSTONE_TTL, UNFINISHED_TTL
from hub.task import Outcome, Task, TaskRecord
from hub.types import PENDING_TTL, InstanceId, TaskId, TaskState

TOMBSTONES: Final = 100_000
"""Tombstones at most, some 300 bytes each. At a thousand tasks a second, a day of them would take all memory of a machine;
what is forgotten early is `Absent.UNKNOWN` instead of `Absent.GONE`."""

_Epitaph: TypeAlias = TaskState | Literal["withdrawn"]


class _Raised(TypedDict):
    revision: int
    updated_at: float
    expires_at: float


@dataclass(frozen=True, slots=True)
class _Kept:
    """A record, and what only the store needs to know of it.

    Attributes:
        ttl: Seconds that its outcome is kept.
        released: Runs that do not count against the attempts.
        reset: Whether it was dead before it was last queued. Without a meaning in other states.
        children: The tasks that its model has made.
        stream: Its chunks; `None` before the first.
    """

    record: TaskRecord
    ttl: float
    released: int = 0
    reset: bool = False
    children: tuple[TaskId, ...] = ()
    stream: MemoryStream | None = None

    def raised(self, now: float) -> _Raised:
        """What every change of the record does to it."""
        return _Raised(revision=self.record.revision + 1, updated_at=now, expires_at=now + self.ttl)

    def becomes(self, record: TaskRecord) -> _Kept:
        return _Kept(record, self.ttl, self.released, self.reset, self.children, self.stream)


@final
class MemoryRecords:
    """The transitions of `hub.ports.result_store.ResultStore`, one task at a time; `now` is Unix time in seconds.

    Args:
        changed: Called with each change: the task, the revision of its record, and its state, or `None` if it was withdrawn.

    Attributes:
        lists: The tasks that run, and those that ended without a response.
    """

    def __init__(self, changed: Callable[[TaskId, int, TaskState | None], None]) -> None:
        self._changed = changed
        self._records = Expiring[TaskId, _Kept]()
        self._tombstones = Expiring[TaskId, _Epitaph](TOMBSTONES)
        self.lists = MemoryLists()

    def __len__(self) -> int:
        """Records and tombstones, those included that have expired and were not dropped yet."""
        return len(self._records) + len(self._tombstones)

    def create(self, task: Task, now: float) -> TaskRecord | None:
        kept = self._records.get(task.id, now)
        if kept is not None and not _left_behind(kept.record, now):
            return kept.record
        revision = 1 if kept is None else kept.record.revision + 1
        self._keep(_Kept(_queued(task, now, revision=revision), task.result_ttl), now)
        return None

    def confirm(self, task: Task, now: float) -> None:
        kept = self._records.get(task.id, now)
        if kept is None:
            if not _ended(self._tombstones.get(task.id, now)):
                self._keep(_Kept(replace(_queued(task, now, revision=2), pending=False), task.result_ttl), now)
        elif kept.record.pending and kept.record.digest == task.digest:
            self._keep(kept.becomes(replace(kept.record, pending=False, **kept.raised(now))), now)

    def withdraw(self, task: Task, now: float) -> None:
        kept = self._records.get(task.id, now)
        if kept is None:
            if _ended(self._tombstones.get(task.id, now)):
                return
        elif not _withdrawable(kept.record, task):
            return
        self._records.drop(task.id)
        self.lists.forget(task.id)
        self._tombstones.keep(task.id, "withdrawn", until=now + UNFINISHED_TTL, now=now)
        self._changed(task.id, 0, None)

    def start(self, task: Task, instance: InstanceId, attempts: int, now: float) -> Start:
        kept = self._records.get(task.id, now)
        if kept is None:
            tombstone_state = self._tombstones.get(task.id, now)
            if tombstone_state == "withdrawn":
                return Start(None, 0)
            if tombstone_state is not None and tombstone_state.terminal:
                return Start(tombstone_state, 0)
            kept = _Kept(_queued(task, now, revision=1), task.result_ttl)
        record = kept.record
        if task.digest and record.digest != task.digest:
            return Start(None, 0)
        if record.state.terminal:
            return Start(record.state, record.attempt, record.retries)
        if record.attempt - kept.released >= attempts:
            return Start(TaskState.QUEUED, record.attempt, record.retries)
        running = replace(
            record,
            state=TaskState.RUNNING,
            attempt=record.attempt + 1,
            instance=instance,
            started_at=now,
            retry_at=None,
            progress=None,
            pending=False,
            chunks=0,
            **kept.raised(now),
        )
        self._keep(kept.becomes(running), now)
        return Start(TaskState.RUNNING, running.attempt, running.retries)

    def release(self, run: ReleasedTask, now: float) -> bool:
        kept = self._records.get(run.task_id, now)
        if kept is None:
            return (
                not _ended(tombstone_state := self._tombstones.get(run.task_id, now)) and tombstone_state != "withdrawn"
            )
        record = kept.record
        if record.state.terminal or record.attempt > run.attempt:
            return False
        if record.state is TaskState.RUNNING or record.attempt < run.attempt:
            waiting = replace(
                record,
                state=TaskState.QUEUED,
                attempt=run.attempt,
                started_at=None,
                retries=record.retries + (run.retry_at is not None),
                retry_at=run.retry_at,
                progress=None,
                pending=False,
                **kept.raised(now),
            )
            released = kept.released + max(1, run.attempt - record.attempt)
            self._keep(replace(kept, record=waiting, released=released, reset=False), now)
        return True

    def report(self, report: ProgressReport, now: float) -> None:
        kept = self._records.get(report.task_id, now)
        if (
            kept is not None
            and kept.record.state is TaskState.RUNNING
            and kept.record.attempt == report.attempt
            and kept.record.progress != report.progress
        ):
            self._keep(kept.becomes(replace(kept.record, progress=report.progress, **kept.raised(now))), now)

    def reset(self, task: Task, now: float) -> bool:
        kept = self._records.get(task.id, now)
        if kept is None:
            tombstone_state = self._tombstones.get(task.id, now)
            if _ended(tombstone_state) and tombstone_state is not TaskState.DEAD:
                return False
            reset = _queued(task, now, revision=1)
        elif kept.record.state is TaskState.DEAD:
            dead = kept.record
            reset = replace(
                _queued(task, now, revision=dead.revision + 1), attempt=dead.attempt, instance=dead.instance
            )
        else:
            return kept.reset and kept.record.state is TaskState.QUEUED
        reset = replace(reset, pending=False)
        children = () if kept is None else kept.children
        self._keep(_Kept(reset, task.result_ttl, reset.attempt, reset=True, children=children), now)
        return True

    def adopt(self, child: Task, now: float) -> Adoption:
        parent = child.parent
        kept = None if parent is None else self._records.get(parent, now)
        if parent is None or kept is None:
            tombstone_state = None if parent is None else self._tombstones.get(parent, now)
            return Adoption.ENDED if tombstone_state not in (None, TaskState.QUEUED) else Adoption.ADOPTED
        if kept.record.state.terminal:
            return Adoption.ENDED
        if child.id not in kept.children:
            if len(kept.children) >= MAX_CHILDREN:
                return Adoption.FULL
            until = now + max(kept.ttl, UNFINISHED_TTL)
            self._records.keep(parent, replace(kept, children=(*kept.children, child.id)), until=until, now=now)
        return Adoption.ADOPTED

    def children(self, task_id: TaskId, now: float) -> tuple[TaskId, ...]:
        """The tasks that the model of this task has made, ended or not."""
        kept = self._records.get(task_id, now)
        return () if kept is None else kept.children

    def append(self, append: ChunkAppend, now: float) -> bool:
        kept = self._records.get(append.task_id, now)
        if kept is None or kept.record.state is not TaskState.RUNNING or kept.record.attempt != append.attempt:
            return False
        stream = kept.stream
        if stream is None or stream.attempt != append.attempt:
            stream = MemoryStream(append.attempt)
        if append.first > len(stream) + 1:
            return False
        if stream.add(append):
            changed = replace(kept.record, chunks=len(stream), **kept.raised(now))
            self._keep(replace(kept, record=changed, stream=stream), now)
        return True

    def chunks(
        self, task_id: TaskId, after: ChunkPosition | None, now: float, *, limit: int, limit_bytes: int
    ) -> ChunkPage | Missing:
        kept = self._records.get(task_id, now)
        if kept is None:
            return self._missing(task_id, now)
        attempt = kept.record.attempt
        stream = kept.stream
        if stream is None or stream.attempt != attempt:
            stream = MemoryStream(attempt)
        number = after.number if after is not None and after.attempt == attempt else 0
        chunks = stream.read(number, limit=limit, limit_bytes=limit_bytes)
        return ChunkPage(
            attempt=attempt,
            chunks=chunks,
            total=len(stream),
            last=chunks[-1].position if chunks else ChunkPosition(attempt, number),
            state=kept.record.state,
            revision=kept.record.revision,
        )

    def finish(self, outcome: Outcome, now: float) -> bool:
        kept = self._records.get(outcome.task_id, now)
        if kept is None:
            return False
        if kept.record.state.terminal:
            return kept.record.outcome == outcome
        if outcome.chunks is not None and not _streamed(kept.record, outcome):
            return False
        ended = replace(
            kept.record,
            state=outcome.state,
            outcome=outcome,
            started_at=kept.record.started_at if outcome.started_at is None else outcome.started_at,
            retry_at=None,
            pending=False,
            **kept.raised(now),
        )
        self._keep(kept.becomes(ended), now)
        return True

    def fetch(self, task_id: TaskId, now: float) -> TaskRecord | Missing:
        kept = self._records.get(task_id, now)
        if kept is not None:
            return kept.record
        return self._missing(task_id, now)

    def _missing(self, task_id: TaskId, now: float) -> Missing:
        return Missing.UNKNOWN if self._tombstones.get(task_id, now) in (None, "withdrawn") else Missing.GONE

    def _keep(self, kept: _Kept, now: float) -> None:
        record, ttl = kept.record, kept.ttl
        until = now + (ttl if record.state.terminal else max(ttl, UNFINISHED_TTL))
        self._records.keep(record.id, kept, until=until, now=now)
        self._tombstones.keep(record.id, record.state, until=until + TOMBSTONE_TTL, now=now)
        self.lists.changed(record)
        self._changed(record.id, record.revision, record.state)


def _queued(task: Task, now: float, *, revision: int) -> TaskRecord:
    return TaskRecord(
        id=task.id,
        model=task.model,
        state=TaskState.QUEUED,
        revision=revision,
        attempt=0,
        instance=None,
        fingerprint=task.fingerprint,
        created_at=task.created_at,
        updated_at=now,
        deadline=task.deadline,
        expires_at=now + task.result_ttl,
        outcome=None,
        digest=task.digest,
        pending=bool(task.digest),
        parent=task.parent,
    )


def _left_behind(record: TaskRecord, now: float) -> bool:
    return record.pending and now - record.updated_at >= PENDING_TTL


def _withdrawable(record: TaskRecord, task: Task) -> bool:
    """Whether it waits, was written by this submit, and was not accepted for another one of the same key."""
    return (
        record.state is TaskState.QUEUED
        and record.created_at == task.created_at
        and (record.pending or not record.digest)
    )


def _streamed(record: TaskRecord, outcome: Outcome) -> bool:
    """Whether a streaming run is the newest one, and all chunks of a success are stored."""
    complete = outcome.state is not TaskState.SUCCEEDED or record.chunks == outcome.chunks
    return record.attempt == outcome.attempt and complete


def _ended(tombstone_state: _Epitaph | None) -> bool:
    return isinstance(tombstone_state, TaskState) and tombstone_state.terminal
