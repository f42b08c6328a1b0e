"""The result store of a hub in one process. Forgets everything at exit."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final, Literal, Self, TypeAlias, final
from uuid import uuid4

from anyio import AsyncContextManagerMixin
from anyio.lowlevel import checkpoint
from typing_extensions import override

from hub.ports import Absent, ResultStore, Start, StoreStatistics
from hub.stores.expiring import Expiring
from hub.stores.options import TOMBSTONE_TTL, UNFINISHED_TTL, StoreOptions
from hub.stores.waiters import Waiters
from hub.task import Outcome, Task, TaskRecord
from hub.vocabulary import InstanceId, TaskId, TaskState

_Epitaph: TypeAlias = TaskState | Literal["withdrawn"]


@dataclass(frozen=True, slots=True)
class _Kept:
    record: TaskRecord
    ttl: float


@final
class MemoryStore(ResultStore, AsyncContextManagerMixin):
    """Task records in a dict, with the semantics of the store in Redis. Lifetimes are counted by its clock."""

    def __init__(self, options: StoreOptions) -> None:
        self._clock = options.clock
        self._channel: Final = f"hub:wake:{uuid4()}"
        self._waiters = Waiters()
        self._records = Expiring[TaskId, _Kept]()
        self._tombstones = Expiring[TaskId, _Epitaph]()
        self._flushes = 0
        self._commands = 0
        self._dropped = 0

    @property
    @override
    def channel(self) -> str:
        return self._channel

    @override
    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        yield self

    @override
    async def create(self, tasks: Sequence[Task]) -> Sequence[TaskRecord | None]:
        now = await self._begin(tasks)
        return [self._create(task, now) for task in tasks]

    @override
    async def withdraw(self, task_ids: Sequence[TaskId]) -> None:
        now = await self._begin(task_ids)
        for task_id in task_ids:
            self._withdraw(task_id, now)

    @override
    async def start(self, tasks: Sequence[Task], instance: InstanceId) -> Sequence[Start]:
        now = await self._begin(tasks)
        return [self._start(task, instance, now) for task in tasks]

    @override
    async def finish(self, outcomes: Sequence[Outcome]) -> Sequence[bool]:
        now = await self._begin(outcomes)
        counted = [self._finish(outcome, now) for outcome in outcomes]
        self._dropped += counted.count(False)
        return counted

    @override
    async def fetch(self, task_ids: Sequence[TaskId]) -> Sequence[TaskRecord | Absent]:
        now = await self._begin(task_ids)
        return [self._fetch(task_id, now) for task_id in task_ids]

    @override
    async def changed(self, task_id: TaskId, *, after: int, until_terminal: bool = False) -> TaskRecord | Absent:
        with self._waiters.waiting(task_id, after=after, until_terminal=until_terminal) as waiter:
            await checkpoint()
            while True:
                found = self._fetch(task_id, self._clock())
                if waiter.accepts(found):
                    return found
                await waiter.woken()

    @override
    def statistics(self) -> StoreStatistics:
        return StoreStatistics(
            connected=True,
            waiting=len(self._waiters),
            flushes=self._flushes,
            commands=self._commands,
            dropped_outcomes=self._dropped,
            reconnects=0,
        )

    async def _begin(self, group: Sequence[object]) -> float:
        await checkpoint()
        self._flushes += 1
        self._commands += len(group)
        return self._clock()

    def _create(self, task: Task, now: float) -> TaskRecord | None:
        kept = self._records.get(task.id, now)
        if kept is not None:
            return kept.record
        self._keep(_queued(task, now), task.result_ttl, now)
        return None

    def _withdraw(self, task_id: TaskId, now: float) -> None:
        kept = self._records.get(task_id, now)
        epitaph = self._tombstones.get(task_id, now)
        last_state = kept.record.state if kept is not None else epitaph
        if last_state is TaskState.QUEUED or (kept is None and not _ended(epitaph)):
            self._records.drop(task_id)
            self._tombstones.keep(task_id, "withdrawn", until=now + UNFINISHED_TTL, now=now)
            self._waiters.changed(task_id, 0, None)

    def _start(self, task: Task, instance: InstanceId, now: float) -> Start:
        kept = self._records.get(task.id, now)
        if kept is None:
            epitaph = self._tombstones.get(task.id, now)
            if epitaph == "withdrawn":
                return Start(None, 0)
            if epitaph is not None and epitaph.terminal:
                return Start(epitaph, 0)
            kept = _Kept(_queued(task, now), task.result_ttl)
        record = kept.record
        if record.state.terminal:
            return Start(record.state, record.attempt)
        running = replace(record, state=TaskState.RUNNING, attempt=record.attempt + 1, instance=instance)
        self._keep(_raised(running, kept.ttl, now), kept.ttl, now)
        return Start(running.state, running.attempt)

    def _finish(self, outcome: Outcome, now: float) -> bool:
        kept = self._records.get(outcome.task_id, now)
        if kept is None:
            return False
        if kept.record.state.terminal:
            return kept.record.outcome == outcome
        ended = replace(kept.record, state=outcome.state, outcome=outcome)
        self._keep(_raised(ended, kept.ttl, now), kept.ttl, now)
        return True

    def _fetch(self, task_id: TaskId, now: float) -> TaskRecord | Absent:
        kept = self._records.get(task_id, now)
        if kept is not None:
            return kept.record
        return Absent.UNKNOWN if self._tombstones.get(task_id, now) in (None, "withdrawn") else Absent.GONE

    def _keep(self, record: TaskRecord, ttl: float, now: float) -> None:
        until = now + (ttl if record.state.terminal else max(ttl, UNFINISHED_TTL))
        self._records.keep(record.id, _Kept(record, ttl), until=until, now=now)
        self._tombstones.keep(record.id, record.state, until=until + TOMBSTONE_TTL, now=now)
        self._waiters.changed(record.id, record.revision, record.state)


def _queued(task: Task, now: float) -> TaskRecord:
    return TaskRecord(
        id=task.id,
        model=task.model,
        state=TaskState.QUEUED,
        revision=1,
        attempt=0,
        instance=None,
        fingerprint=task.fingerprint,
        created_at=task.created_at,
        updated_at=now,
        deadline=task.deadline,
        expires_at=now + task.result_ttl,
        outcome=None,
    )


def _raised(record: TaskRecord, ttl: float, now: float) -> TaskRecord:
    return replace(record, revision=record.revision + 1, updated_at=now, expires_at=now + ttl)


def _ended(epitaph: _Epitaph | None) -> bool:
    return isinstance(epitaph, TaskState) and epitaph.terminal
