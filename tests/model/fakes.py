"""What tests of the worker need: small models, tasks, and a broker and a store that can be watched and broken."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from math import inf
from typing import Any, Final, final

import anyio
from typing_extensions import override

import hub
from examples.model_a.v1.model_a_pb2 import ModelARequest, ModelAResponse
from hub.brokers import BrokerOptions
from hub.brokers.memory.broker import MemoryBroker
from hub.contract import Contract
from hub.errors import ConnectionLost, PublishRefused
from hub.model.worker.contract_mismatch import ContractCompatibility
from hub.model.worker.options import WorkerOptions
from hub.model.worker.worker import Worker
from hub.ports.broker import Broker, BrokerStatistics, Consumer, DeadLetters, Delivery, Publication, QueueDepth
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
from hub.stores.memory.store import MemoryStore
from hub.stores.options import StoreOptions
from hub.task import Outcome, Task, TaskRecord
from hub.types import (
    Fingerprint,
    InstanceId,
    ModelName,
    TaskId,
    TaskState,
    WallClock,
    dead_letter_queue,
    new_task_id,
    wall_clock,
)

TIMEOUT: Final = 20.0
"""Seconds that any one wait of these tests may take."""

ECHO: Final = ModelName("Echo")
INSTANCE: Final = InstanceId("instance-1")
CONTRACT: Final = Contract(
    request="examples.model_a.v1.ModelARequest",
    response="examples.model_a.v1.ModelAResponse",
    files=b"",
    fingerprint=Fingerprint("f" * 64),
)

Behaviour = Callable[[str], Awaitable[str]]


class Echo(hub.Model[ModelARequest, ModelAResponse]):
    """Answers with what `behaviour` makes of the text, by default the text itself."""

    concurrency = 3
    shares_loop = True  # its behaviour waits for events of the test

    def __init__(self, behaviour: Behaviour | None = None) -> None:
        self.behaviour = behaviour
        self.running = 0
        self.most_running = 0
        self.seen: list[str] = []

    @override
    async def process_request(self, request: ModelARequest) -> ModelAResponse:
        self.running += 1
        self.most_running = max(self.running, self.most_running)
        self.seen.append(request.messages)
        try:
            reply = request.messages if self.behaviour is None else await self.behaviour(request.messages)
        finally:
            self.running -= 1
        return ModelAResponse(reply=reply)


def task(text: str = "", *, model: ModelName = ECHO, fingerprint: Fingerprint = CONTRACT.fingerprint) -> Task:
    body = ModelARequest(messages=text).SerializeToString()
    return Task(id=new_task_id(), model=model, body=body, fingerprint=fingerprint, created_at=1_700_000_000.0)


def publication(*tasks: Task, queue: ModelName = ECHO) -> list[Publication]:
    return [
        Publication(queue=queue, body=each.encode(), message_id=each.id, timestamp=each.created_at) for each in tasks
    ]


async def submit(broker: Broker, store: ResultStore, *tasks: Task) -> None:
    """What a gateway does: record first, then publish."""
    await broker.declare(ECHO)
    await store.create(tasks)
    assert await broker.publish(publication(*tasks)) == [None] * len(tasks)


async def ended(store: ResultStore, each: Task) -> TaskRecord:
    """The record of a task once it has ended."""
    record = await store.wait_for_change(each.id, after=0, until_terminal=True)
    assert not isinstance(record, Missing)
    return record


async def reply_of(store: ResultStore, each: Task) -> str:
    outcome = (await ended(store, each)).outcome
    assert outcome is not None
    assert outcome.body is not None, outcome.failure
    return ModelAResponse.FromString(outcome.body).reply


async def ready_in(broker: Broker, queue: ModelName) -> int:
    depth = (await broker.depths([queue]))[queue]
    assert depth is not None
    return depth.ready


async def virtually(condition: Callable[[], bool]) -> None:
    """Lets virtual time pass until it is so; without passing time nothing that sleeps would ever wake."""
    with anyio.fail_after(1_000):
        while not condition():
            await anyio.sleep(2**-6)


async def until(condition: Callable[[], bool]) -> None:
    """Lets the others work until it is so; the caller bounds the wait."""
    while not condition():
        await anyio.lowlevel.checkpoint()


async def no_words(_fingerprint: Fingerprint) -> str:
    return ""


def worker(
    model: hub.Model[Any, Any],
    broker: Broker,
    store: ResultStore,
    *,
    instance: InstanceId = INSTANCE,
    start_timeout: float = 5.0,
    store_timeout: float = 5.0,
    drain_grace: float = 5.0,
    attempt_limit: int = 5,
    run_limit: float = inf,
    debug: bool = False,
    clock: WallClock = wall_clock,
    explain: Callable[[Fingerprint], Awaitable[str | None]] | None = None,
    reads: Callable[[Fingerprint], bool] = lambda _: False,
    settled: Callable[[], Awaitable[None]] = anyio.lowlevel.checkpoint,
) -> Worker:
    return Worker(
        model,
        contract=CONTRACT,
        instance=instance,
        broker=broker,
        store=store,
        options=WorkerOptions(
            start_timeout=start_timeout,
            store_timeout=store_timeout,
            drain_grace=drain_grace,
            attempt_limit=attempt_limit,
            run_limit=run_limit,
            debug=debug,
        ),
        clock=clock,
        others=Others(reads, settled, explain or no_words),
    )


@final
class Others(ContractCompatibility):
    """What the test says of other contracts."""

    def __init__(
        self,
        reads: Callable[[Fingerprint], bool],
        settled: Callable[[], Awaitable[None]],
        explain: Callable[[Fingerprint], Awaitable[str | None]],
    ) -> None:
        self._reads = reads
        self._settled = settled
        self._explain = explain

    @override
    def can_read(self, fingerprint: Fingerprint) -> bool:
        return self._reads(fingerprint)

    @override
    async def wait_ready(self) -> None:
        await self._settled()

    @override
    async def describe_mismatch(self, fingerprint: Fingerprint) -> str | None:
        return await self._explain(fingerprint)


class BreakableStore(ResultStore):
    """A memory store that can be put out of reach, and that remembers which outcomes it has confirmed.

    Attributes:
        down: Every call raises `ConnectionLost`.
        deaf: `finish` is carried out, but its answer is lost.
        confirmed: Tasks whose message may be acked: their end was confirmed to the caller, or a delayed copy is safe.
        groups: Sizes of the groups that `finish` was called with.
        endings_fail: What `next_ended` raises.
        after_start: Awaited between the start of tasks in the store and the answer to the worker.
        appends: What each call of `append` carried that has been carried out.
        answers_lost: Calls of `append` that are still to be carried out without an answer.
        before_append: Awaited before chunks are stored.
    """

    def __init__(self, clock: WallClock = wall_clock) -> None:
        self.inner = MemoryStore(StoreOptions(clock=clock))
        self.endings_fail: ConnectionLost | None = None
        self._kept: list[TaskId] = []
        self.after_start: Callable[[], Awaitable[object]] | None = None
        self.down = False
        self.not_consuming = False
        self.confirmed: set[TaskId] = set()
        self.groups: list[int] = []
        self.starts = 0
        self.reports = 0
        self.appends: list[Sequence[ChunkAppend]] = []
        self.answers_lost = 0
        self.before_append: Callable[[], Awaitable[object]] | None = None

    @property
    @override
    def channel(self) -> str:
        return self.inner.channel

    @override
    async def create(self, tasks: Sequence[Task]) -> Sequence[TaskRecord | None]:
        return await self.inner.create(tasks)

    @override
    async def confirm(self, tasks: Sequence[Task]) -> None:
        await self.inner.confirm(tasks)

    @override
    async def withdraw(self, tasks: Sequence[Task]) -> None:
        await self.inner.withdraw(tasks)

    @override
    async def start(self, tasks: Sequence[Task], instance: InstanceId, *, attempts: int) -> Sequence[Start]:
        self._reach()
        self.starts += 1
        starts = await self.inner.start(tasks, instance, attempts=attempts)
        self._reach()
        for each, start in zip(tasks, starts, strict=True):
            if start.state is None or start.state.terminal:
                self.confirmed.add(each.id)
            elif start.state is TaskState.RUNNING:
                self.confirmed.discard(each.id)
        if self.after_start is not None:
            await self.after_start()
        return starts

    @override
    async def adopt(self, children: Sequence[Task]) -> Sequence[Adoption]:
        return await self.inner.adopt(children)

    @override
    async def finish(self, outcomes: Sequence[Outcome]) -> Sequence[bool]:
        self._reach()
        self.groups.append(len(outcomes))
        counted = await self.inner.finish(outcomes)
        self._reach()
        if self.not_consuming:
            raise ConnectionLost("store", "the answer was lost")
        self.confirmed.update(outcome.task_id for outcome in outcomes)
        return counted

    @override
    async def release(self, runs: Sequence[ReleasedTask]) -> Sequence[bool]:
        self._reach()
        waiting = await self.inner.release(runs)
        self.confirmed.update(run.task_id for run, waits in zip(runs, waiting, strict=True) if not waits)
        return waiting

    @override
    async def recent(
        self, states: Sequence[TaskState], *, model: ModelName | None = None, before: str = "", limit: int
    ) -> RecentTasks:
        return await self.inner.recent(states, model=model, before=before, limit=limit)

    @override
    async def report(self, reports: Sequence[ProgressReport]) -> None:
        self.reports += 1
        self._reach()
        await self.inner.report(reports)

    @override
    async def next_ended(self, instance: InstanceId) -> Sequence[TaskId]:
        kept, self._kept = self._kept, []
        gone = kept or list(await self.inner.next_ended(instance))
        if self.endings_fail is not None:
            self._kept = gone
            raise self.endings_fail
        return gone

    @override
    async def reset(self, tasks: Sequence[Task]) -> Sequence[bool]:
        return await self.inner.reset(tasks)

    @override
    async def append(self, appends: Sequence[ChunkAppend]) -> Sequence[bool]:
        self._reach()
        if self.before_append is not None:
            await self.before_append()
        stored = await self.inner.append(appends)
        self.appends += [appends]
        if self.answers_lost:
            self.answers_lost -= 1
            raise ConnectionLost("store", "the answer was lost")
        self._reach()
        return stored

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
        return await self.inner.chunks(task_id, after, limit=limit, limit_bytes=limit_bytes, beyond=beyond)

    @override
    async def fetch(self, task_ids: Sequence[TaskId]) -> Sequence[TaskRecord | Missing]:
        return await self.inner.fetch(task_ids)

    @override
    async def wait_for_change(
        self, task_id: TaskId, *, after: int, until_terminal: bool = False
    ) -> TaskRecord | Missing:
        return await self.inner.wait_for_change(task_id, after=after, until_terminal=until_terminal)

    @override
    def statistics(self) -> StoreStatistics:
        return self.inner.statistics()

    def _reach(self) -> None:
        if self.down:
            raise ConnectionLost("store", "out of reach")


class WatchedBroker(Broker):
    """A memory broker that fails the test at the moment at which something is acked whose end is not confirmed.

    Attributes:
        confirms_after: Seconds after which it confirms what it has taken.
    """

    def __init__(self, store: BreakableStore) -> None:
        self.inner = MemoryBroker(BrokerOptions())
        self.store = store
        self.refuse_letters = False
        self.confirms_after = 0.0
        self.early: list[TaskId] = []
        self.acked: list[TaskId] = []
        self.requeued: list[TaskId] = []
        self.rejected: list[TaskId] = []

    @override
    async def declare(self, queue: ModelName) -> None:
        await self.inner.declare(queue)

    @override
    async def publish(self, publications: Sequence[Publication]) -> Sequence[PublishRefused | None]:
        if self.refuse_letters and any(each.queue == dead_letter_queue(ECHO) for each in publications):
            raise ConnectionLost("broker", "it takes no dead letters")
        answers = await self.inner.publish(publications)
        await anyio.sleep(self.confirms_after)
        for each, refused in zip(publications, answers, strict=True):
            if refused is None and each.delay:
                self.store.confirmed.add(TaskId(each.message_id))
        return answers

    @override
    @asynccontextmanager
    async def consume(self, queue: ModelName, *, prefetch: int) -> AsyncGenerator[Consumer]:
        async with self.inner.consume(queue, prefetch=prefetch) as consumer:
            yield WatchedConsumer(consumer, self)

    @override
    @asynccontextmanager
    async def dead_letters(self, queue: ModelName, *, limit: int) -> AsyncGenerator[DeadLetters]:
        async with self.inner.dead_letters(queue, limit=limit) as letters:
            yield letters

    @override
    async def depths(self, queues: Iterable[ModelName]) -> Mapping[ModelName, QueueDepth | None]:
        return await self.inner.depths(queues)

    @override
    def statistics(self) -> BrokerStatistics:
        return self.inner.statistics()


class WatchedConsumer(Consumer):
    def __init__(self, inner: Consumer, broker: WatchedBroker) -> None:
        self._inner = inner
        self._broker = broker

    @property
    @override
    def unsettled(self) -> int:
        return self._inner.unsettled

    @override
    async def receive(self) -> Sequence[Delivery]:
        return await self._inner.receive()

    @override
    def ack(self, deliveries: Iterable[Delivery]) -> None:
        deliveries = list(deliveries)
        self._check(deliveries)
        self._broker.acked += [TaskId(delivery.message_id) for delivery in deliveries]
        self._inner.ack(deliveries)

    @override
    def requeue(self, deliveries: Iterable[Delivery]) -> None:
        deliveries = list(deliveries)
        self._broker.requeued += [TaskId(delivery.message_id) for delivery in deliveries]
        self._inner.requeue(deliveries)

    @override
    def reject(self, deliveries: Iterable[Delivery], *, requeue: bool) -> None:
        deliveries = list(deliveries)
        self._broker.rejected += [TaskId(delivery.message_id) for delivery in deliveries]
        if not requeue:
            self._check(deliveries)
        self._inner.reject(deliveries, requeue=requeue)

    @override
    async def stop(self) -> None:
        await self._inner.stop()

    def _check(self, deliveries: Iterable[Delivery]) -> None:
        for delivery in deliveries:
            task_id = TaskId(delivery.message_id)
            if task_id and task_id not in self._broker.store.confirmed:
                self._broker.early.append(task_id)
