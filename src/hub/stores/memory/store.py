"""The result store of a hub in one process. Forgets everything at exit."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Final, Self, final
from uuid import uuid4

from anyio import AsyncContextManagerMixin, current_time, sleep_until
from anyio.lowlevel import checkpoint
from typing_extensions import override

from hub.ports.result_store import (
    PAGE_BYTES,
    PAGE_CHUNKS,
    Adoption,
    ChunkAppend,
    ChunkPage,
    ChunkPosition,
    Missing,
    ProgressReport,
    RecentTasks,
    ReleasedTask,
    ResultStore,
    Start,
    StoreStatistics,
)
from hub.stores.memory.records import MemoryRecords
from hub.stores.options import StoreOptions
from hub.stores.orphans import orphan_outcomes
from hub.stores.recent import Listed, recent_tasks
from hub.stores.running import RunningTasks
from hub.stores.timing import OperationTimer
from hub.stores.waiters import Change, Waiters
from hub.task import Outcome, Task, TaskRecord
from hub.types import InstanceId, ModelName, TaskId, TaskState


@final
class MemoryStore(ResultStore, AsyncContextManagerMixin):
    """Task records in a dict, with the semantics of the store in Redis. Lifetimes are counted by its clock."""

    def __init__(self, options: StoreOptions) -> None:
        self._clock = options.clock
        self._channel: Final = f"hub:wake:{uuid4()}"
        self._waiters = Waiters()
        self._running = RunningTasks[None]()
        self._records = MemoryRecords(self._changed)
        self._flushes = 0
        self._commands = 0
        self._dropped = 0
        self._stalled_until = 0.0
        self._calls = OperationTimer(options.buckets)

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
        async with self._call("create", tasks) as now:
            return [self._records.create(task, now) for task in tasks]

    @override
    async def confirm(self, tasks: Sequence[Task]) -> None:
        async with self._call("confirm", tasks) as now:
            for task in tasks:
                self._records.confirm(task, now)

    @override
    async def withdraw(self, tasks: Sequence[Task]) -> None:
        async with self._call("withdraw", tasks) as now:
            for task in tasks:
                self._records.withdraw(task, now)

    @override
    async def start(self, tasks: Sequence[Task], instance: InstanceId, *, attempts: int) -> Sequence[Start]:
        async with self._call("start", tasks) as now:
            with self._running.starting(()) as call:
                starts = [self._records.start(task, instance, attempts, now) for task in tasks]
                self._running.begun(instance, ((task.id, None) for task in tasks), starts, call, now)
            return starts

    @override
    async def release(self, runs: Sequence[ReleasedTask]) -> Sequence[bool]:
        async with self._call("release", runs) as now:
            self._running.released(runs)
            return [self._records.release(run, now) for run in runs]

    @override
    async def report(self, reports: Sequence[ProgressReport]) -> None:
        async with self._call("report", reports) as now:
            for report in reports:
                self._records.report(report, now)

    @override
    async def next_ended(self, instance: InstanceId) -> Sequence[TaskId]:
        return await self._running.next_ended(instance)

    @override
    async def reset(self, tasks: Sequence[Task]) -> Sequence[bool]:
        async with self._call("reset", tasks) as now:
            return [self._records.reset(task, now) for task in tasks]

    @override
    async def adopt(self, children: Sequence[Task]) -> Sequence[Adoption]:
        async with self._call("adopt", children) as now:
            return [self._records.adopt(child, now) for child in children]

    @override
    async def finish(self, outcomes: Sequence[Outcome]) -> Sequence[bool]:
        async with self._call("finish", outcomes) as now:
            counted = self._finish(outcomes, now)
            self._dropped += counted.count(False)
            return counted

    def _finish(self, outcomes: Sequence[Outcome], now: float) -> list[bool]:
        with self._running.finishing(outcomes):
            counted = [self._records.finish(outcome, now) for outcome in outcomes]
        for outcome, counts in zip(outcomes, counted, strict=True):
            if counts and (children := self._records.children(outcome.task_id, now)):
                found = (self._records.fetch(child, now) for child in children)
                records = [record for record in found if isinstance(record, TaskRecord)]
                self._finish(orphan_outcomes(records, outcome, now), now)
        return counted

    @override
    async def append(self, appends: Sequence[ChunkAppend]) -> Sequence[bool]:
        async with self._call("append", appends) as now:
            return [self._records.append(append, now) for append in appends]

    @override
    async def chunks(
        self,
        task_id: TaskId,
        after: ChunkPosition | None = None,
        *,
        limit: int = PAGE_CHUNKS,
        limit_bytes: int = PAGE_BYTES,
        beyond: int | None = None,
    ) -> ChunkPage | Missing:
        with self._waiters.waiting(task_id, after=beyond or 0, until_terminal=False) as waiter:
            while True:
                async with self._call("chunks", (task_id,)) as now:
                    page = self._records.chunks(task_id, after, now, limit=limit, limit_bytes=limit_bytes)
                if isinstance(page, Missing) or page.chunks or beyond is None or page.revision > beyond:
                    return page
                await waiter.wait()

    @override
    async def fetch(self, task_ids: Sequence[TaskId]) -> Sequence[TaskRecord | Missing]:
        async with self._call("fetch", task_ids) as now:
            return [self._records.fetch(task_id, now) for task_id in task_ids]

    @override
    async def recent(
        self, states: Sequence[TaskState], *, model: ModelName | None = None, before: str = "", limit: int
    ) -> RecentTasks:
        lists = self._records.lists

        async def read(below: str, count: int) -> Sequence[Listed]:
            async with self._call("recent", states):
                return lists.read(states, model, below, count)

        return await recent_tasks(
            before, limit, read=read, fetch=self.fetch, drop=lambda listed: lists.drop(listed, model)
        )

    @override
    async def wait_for_change(
        self, task_id: TaskId, *, after: int, until_terminal: bool = False
    ) -> TaskRecord | Missing:
        with self._waiters.waiting(task_id, after=after, until_terminal=until_terminal) as waiter:
            await checkpoint()
            while True:
                if self._stalled_until:
                    await self._wait_for_end_of_stall()
                found = self._records.fetch(task_id, self._clock())
                if waiter.accepts(found):
                    return found
                await waiter.wait()

    @override
    def statistics(self) -> StoreStatistics:
        return StoreStatistics(
            connected=True,
            waiting=len(self._waiters),
            flushes=self._flushes,
            commands=self._commands,
            dropped_outcomes=self._dropped,
            reconnects=0,
            calls=self._calls.read(),
        )

    def peek(self, task_id: TaskId) -> TaskRecord | Missing:
        """The record of a task as it is now, without the pretence of a round trip: a stall does not delay it."""
        return self._records.fetch(task_id, self._clock())

    def stall(self, seconds: float) -> None:
        """A fault injector: for `seconds` from now on no call is carried out or answered; then all of them are.

        Calls do not fail. A later stall extends an earlier one, and does not shorten it.
        """
        self._stalled_until = max(self._stalled_until, current_time() + seconds)

    async def _wait_for_end_of_stall(self) -> None:
        while current_time() < self._stalled_until:  # noqa: ASYNC110 - a later stall may have extended it
            await sleep_until(self._stalled_until)
        self._stalled_until = 0.0

    @asynccontextmanager
    async def _call(self, operation: str, group: Sequence[object]) -> AsyncGenerator[float]:
        """One round trip as it were; gives the time that it happens at."""
        with self._calls.timed(operation, len(group)):
            await checkpoint()
            if self._stalled_until:
                await self._wait_for_end_of_stall()
            self._flushes += 1
            self._commands += len(group)
            yield self._clock()

    def _changed(self, task_id: TaskId, revision: int, state: TaskState | None) -> None:
        self._waiters.changed(Change(task_id, revision, state))
        if state is not None and state.terminal:
            self._running.ended(task_id)
