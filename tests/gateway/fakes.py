"""A broker and a store that fail on demand."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import final

from anyio import Event
from typing_extensions import override

from hub.errors import ConnectionLost, HubError, PublishRefused, Undecodable
from hub.ports.broker import Broker, BrokerStatistics, Consumer, DeadLetters, Publication, QueueDepth
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
from hub.task import Outcome, Task, TaskRecord
from hub.types import InstanceId, ModelName, TaskId, TaskState

LOST = ConnectionLost("test server", "pulled the plug")


@final
class FaultyBroker(Broker):
    """Passes calls on, unless `publish_error`, `refusal` or `stuck` say otherwise."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.error: HubError | None = None
        self.refusal: Callable[[Publication], PublishRefused | None] = lambda _: None
        self.stuck: Event | None = None
        self.publishing = Event()
        self.published = 0

    @override
    async def declare(self, queue: ModelName) -> None:
        await self.broker.declare(queue)

    @override
    async def publish(self, publications: Sequence[Publication]) -> Sequence[PublishRefused | None]:
        self.publishing.set()
        if self.stuck is not None:
            await self.stuck.wait()
        if self.error is not None:
            raise self.error
        refused = {publication.message_id: self.refusal(publication) for publication in publications}
        taken = [publication for publication in publications if refused[publication.message_id] is None]
        answers = dict(zip((p.message_id for p in taken), await self.broker.publish(taken), strict=True))
        self.published += list(answers.values()).count(None)
        return [refused[p.message_id] or answers[p.message_id] for p in publications]

    @override
    def consume(self, queue: ModelName, *, prefetch: int) -> AbstractAsyncContextManager[Consumer]:
        return self.broker.consume(queue, prefetch=prefetch)

    @override
    def dead_letters(self, queue: ModelName, *, limit: int) -> AbstractAsyncContextManager[DeadLetters]:
        return self.broker.dead_letters(queue, limit=limit)

    @override
    async def depths(self, queues: Iterable[ModelName]) -> Mapping[ModelName, QueueDepth | None]:
        if self.error is not None:
            raise self.error
        return await self.broker.depths(queues)

    @override
    def statistics(self) -> BrokerStatistics:
        return self.broker.statistics()


@final
class FaultyStore(ResultStore):
    """Passes calls on, unless the error of that call is set."""

    def __init__(self, store: ResultStore) -> None:
        self.store = store
        self.create_error: HubError | None = None
        self.repeats_create = False
        self.changed_error: HubError | None = None
        self.refused_changes = 0
        self.chunks_error: HubError | None = None
        self.chunks_missing: Missing | None = None
        self.pages_read = 0
        self.fetch_error: HubError | None = None
        self.finish_error: HubError | None = None
        self.unreadable: TaskId | None = None
        self.finishing = Event()
        self.before_finish: Callable[[], Awaitable[object]] | None = None
        self.failing_withdrawals = 0
        self.withdrawals_stuck: Event | None = None
        self.withdrawn = Event()
        self.failing_accepts = 0
        self.accepting = Event()
        self.accepted: list[Task] = []

    @property
    @override
    def channel(self) -> str:
        return self.store.channel

    @override
    async def create(self, tasks: Sequence[Task]) -> Sequence[TaskRecord | None]:
        if self.repeats_create:
            await self.store.create(tasks)  # whose answer was lost
        records = await self.store.create(tasks)
        if self.create_error is not None:
            raise self.create_error  # after the fact: its fate is unknown to the caller
        return records

    @override
    async def confirm(self, tasks: Sequence[Task]) -> None:
        self.accepting.set()
        if self.failing_accepts:
            self.failing_accepts -= 1
            raise LOST
        await self.store.confirm(tasks)
        self.accepted.extend(tasks)

    @override
    async def withdraw(self, tasks: Sequence[Task]) -> None:
        if self.withdrawals_stuck is not None:
            await self.withdrawals_stuck.wait()
        if self.failing_withdrawals:
            self.failing_withdrawals -= 1
            raise LOST
        await self.store.withdraw(tasks)
        self.withdrawn.set()

    @override
    async def start(self, tasks: Sequence[Task], instance: InstanceId, *, attempts: int) -> Sequence[Start]:
        return await self.store.start(tasks, instance, attempts=attempts)

    @override
    async def release(self, runs: Sequence[ReleasedTask]) -> Sequence[bool]:
        return await self.store.release(runs)

    @override
    async def recent(
        self, states: Sequence[TaskState], *, model: ModelName | None = None, before: str = "", limit: int
    ) -> RecentTasks:
        return await self.store.recent(states, model=model, before=before, limit=limit)

    @override
    async def report(self, reports: Sequence[ProgressReport]) -> None:
        await self.store.report(reports)

    @override
    async def next_ended(self, instance: InstanceId) -> Sequence[TaskId]:
        return await self.store.next_ended(instance)

    @override
    async def reset(self, tasks: Sequence[Task]) -> Sequence[bool]:
        return await self.store.reset(tasks)

    @override
    async def adopt(self, children: Sequence[Task]) -> Sequence[Adoption]:
        return await self.store.adopt(children)

    @override
    async def finish(self, outcomes: Sequence[Outcome]) -> Sequence[bool]:
        self.finishing.set()
        if self.finish_error is not None:
            raise self.finish_error
        if self.before_finish is not None:
            await self.before_finish()
        return await self.store.finish(outcomes)

    @override
    async def append(self, appends: Sequence[ChunkAppend]) -> Sequence[bool]:
        return await self.store.append(appends)

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
        if self.chunks_error is not None:
            raise self.chunks_error
        if self.chunks_missing is not None:
            return self.chunks_missing
        self.pages_read += 1
        return await self.store.chunks(task_id, after, limit=limit, limit_bytes=limit_bytes, beyond=beyond)

    @override
    async def fetch(self, task_ids: Sequence[TaskId]) -> Sequence[TaskRecord | Missing]:
        if self.fetch_error is not None:
            raise self.fetch_error
        if self.unreadable in task_ids:
            raise Undecodable(f"task record {self.unreadable}", "it has no state")
        return await self.store.fetch(task_ids)

    @override
    async def wait_for_change(
        self, task_id: TaskId, *, after: int, until_terminal: bool = False
    ) -> TaskRecord | Missing:
        if self.changed_error is not None:
            self.refused_changes += 1
            raise self.changed_error
        return await self.store.wait_for_change(task_id, after=after, until_terminal=until_terminal)

    @override
    def statistics(self) -> StoreStatistics:
        return self.store.statistics()
