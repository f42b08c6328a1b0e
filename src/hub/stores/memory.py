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

from hub.ports import Absent, HandedBack, ProgressReport, ResultStore, Start, StoreStatistics
from hub.stores.expiring import Expiring
from hub.stores.options import PENDING_TTL, TOMBSTONE_TTL, UNFINISHED_TTL, StoreOptions
from hub.stores.started import StartedTasks
from hub.stores.waiters import Waiters
from hub.task import Outcome, Task, TaskRecord
from hub.vocabulary import InstanceId, TaskId, TaskState

_Epitaph: TypeAlias = TaskState | Literal["withdrawn"]


@dataclass(frozen=True, slots=True)
class _Kept:
    """A record, and what nobody outside needs to know of it.

    Attributes:
        ttl: Seconds that its outcome is kept.
        handed_back: Runs that do not count against the attempts.
        revived: Whether it was dead and has not been started since.
    """

    record: TaskRecord
    ttl: float
    handed_back: int = 0
    revived: bool = False


@final
class MemoryStore(ResultStore, AsyncContextManagerMixin):
    """Task records in a dict, with the semantics of the store in Redis. Lifetimes are counted by its clock."""

    def __init__(self, options: StoreOptions) -> None:
        self._clock = options.clock
        self._channel: Final = f"hub:wake:{uuid4()}"
        self._waiters = Waiters()
        self._started = StartedTasks[None]()
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
    async def accept(self, tasks: Sequence[Task]) -> None:
        now = await self._begin(tasks)
        for task in tasks:
            self._accept(task, now)

    @override
    async def withdraw(self, tasks: Sequence[Task]) -> None:
        now = await self._begin(tasks)
        for task in tasks:
            self._withdraw(task, now)

    @override
    async def start(self, tasks: Sequence[Task], instance: InstanceId, *, attempts: int) -> Sequence[Start]:
        now = await self._begin(tasks)
        with self._started.starting(()) as call:
            starts = [self._start(task, instance, attempts, now) for task in tasks]
            self._started.begun(instance, ((task.id, None) for task in tasks), starts, call)
        return starts

    @override
    async def hand_back(self, runs: Sequence[HandedBack]) -> Sequence[bool]:
        now = await self._begin(runs)
        self._started.handed_back(runs)
        return [self._hand_back(run, now) for run in runs]

    @override
    async def report(self, reports: Sequence[ProgressReport]) -> None:
        now = await self._begin(reports)
        for report in reports:
            self._report(report, now)

    @override
    async def ended(self, instance: InstanceId) -> Sequence[TaskId]:
        await checkpoint()
        while not (ended := self._started.take_ended(instance)):
            await self._started.news(instance).wait()
        return ended

    @override
    async def revive(self, tasks: Sequence[Task]) -> Sequence[bool]:
        now = await self._begin(tasks)
        return [self._revive(task, now) for task in tasks]

    @override
    async def finish(self, outcomes: Sequence[Outcome]) -> Sequence[bool]:
        now = await self._begin(outcomes)
        with self._started.finishing(outcomes):
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
        if kept is not None and not _left_behind(kept.record, now):
            return kept.record
        revision = 1 if kept is None else kept.record.revision + 1
        self._keep(_Kept(_queued(task, now, revision=revision), task.result_ttl), now)
        return None

    def _accept(self, task: Task, now: float) -> None:
        kept = self._records.get(task.id, now)
        if kept is None:
            if not _ended(self._tombstones.get(task.id, now)):
                self._keep(_Kept(replace(_queued(task, now, revision=2), pending=False), task.result_ttl), now)
        elif kept.record.pending and kept.record.digest == task.digest:
            self._change(kept, replace(kept.record, pending=False), now)

    def _withdraw(self, task: Task, now: float) -> None:
        kept = self._records.get(task.id, now)
        if kept is None:
            if _ended(self._tombstones.get(task.id, now)):
                return
        elif not _withdrawable(kept.record, task):
            return
        self._records.drop(task.id)
        self._tombstones.keep(task.id, "withdrawn", until=now + UNFINISHED_TTL, now=now)
        self._waiters.changed(task.id, 0, None)

    def _start(self, task: Task, instance: InstanceId, attempts: int, now: float) -> Start:
        kept = self._records.get(task.id, now)
        if kept is None:
            epitaph = self._tombstones.get(task.id, now)
            if epitaph == "withdrawn":
                return Start(None, 0)
            if epitaph is not None and epitaph.terminal:
                return Start(epitaph, 0)
            kept = _Kept(_queued(task, now, revision=1), task.result_ttl)
        record = kept.record
        if task.digest and record.digest != task.digest:
            return Start(None, 0)
        if record.state.terminal:
            return Start(record.state, record.attempt, record.retries)
        if record.attempt - kept.handed_back >= attempts:
            return Start(TaskState.QUEUED, record.attempt, record.retries)
        running = replace(
            record,
            state=TaskState.RUNNING,
            attempt=record.attempt + 1,
            instance=instance,
            retry_at=None,
            progress=None,
            pending=False,
        )
        self._change(kept, running, now)
        return Start(TaskState.RUNNING, running.attempt, running.retries)

    def _hand_back(self, run: HandedBack, now: float) -> bool:
        kept = self._records.get(run.task_id, now)
        if kept is None:
            return not _ended(epitaph := self._tombstones.get(run.task_id, now)) and epitaph != "withdrawn"
        record = kept.record
        if record.state.terminal or record.attempt > run.attempt:
            return False
        if record.state is TaskState.RUNNING or record.attempt < run.attempt:
            waiting = replace(
                record,
                state=TaskState.QUEUED,
                attempt=run.attempt,
                retries=record.retries + (run.retry_at is not None),
                retry_at=run.retry_at,
                progress=None,
                pending=False,
            )
            self._change(_Kept(record, kept.ttl, kept.handed_back + 1), waiting, now)
        return True

    def _report(self, report: ProgressReport, now: float) -> None:
        kept = self._records.get(report.task_id, now)
        if (
            kept is not None
            and kept.record.state is TaskState.RUNNING
            and kept.record.attempt == report.attempt
            and kept.record.progress != report.progress
        ):
            self._change(kept, replace(kept.record, progress=report.progress), now)

    def _revive(self, task: Task, now: float) -> bool:
        kept = self._records.get(task.id, now)
        if kept is None:
            epitaph = self._tombstones.get(task.id, now)
            if _ended(epitaph) and epitaph is not TaskState.DEAD:
                return False
            revived = _queued(task, now, revision=1)
        elif kept.record.state is TaskState.DEAD:
            dead = kept.record
            revived = replace(
                _queued(task, now, revision=dead.revision + 1), attempt=dead.attempt, instance=dead.instance
            )
        else:
            return kept.revived and kept.record.state is TaskState.QUEUED
        revived = replace(revived, pending=False)
        self._keep(_Kept(revived, task.result_ttl, handed_back=revived.attempt, revived=True), now)
        return True

    def _finish(self, outcome: Outcome, now: float) -> bool:
        kept = self._records.get(outcome.task_id, now)
        if kept is None:
            return False
        if kept.record.state.terminal:
            return kept.record.outcome == outcome
        ended = replace(kept.record, state=outcome.state, outcome=outcome, retry_at=None, pending=False)
        self._change(kept, ended, now)
        self._started.ended(outcome.task_id)
        return True

    def _fetch(self, task_id: TaskId, now: float) -> TaskRecord | Absent:
        kept = self._records.get(task_id, now)
        if kept is not None:
            return kept.record
        return Absent.UNKNOWN if self._tombstones.get(task_id, now) in (None, "withdrawn") else Absent.GONE

    def _change(self, kept: _Kept, record: TaskRecord, now: float) -> None:
        """`record` takes the place of the one that is kept."""
        raised = replace(record, revision=record.revision + 1, updated_at=now, expires_at=now + kept.ttl)
        self._keep(_Kept(raised, kept.ttl, kept.handed_back, kept.revived), now)

    def _keep(self, kept: _Kept, now: float) -> None:
        record, ttl = kept.record, kept.ttl
        until = now + (ttl if record.state.terminal else max(ttl, UNFINISHED_TTL))
        self._records.keep(record.id, kept, until=until, now=now)
        self._tombstones.keep(record.id, record.state, until=until + TOMBSTONE_TTL, now=now)
        self._waiters.changed(record.id, record.revision, record.state)


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


def _ended(epitaph: _Epitaph | None) -> bool:
    return isinstance(epitaph, TaskState) and epitaph.terminal
