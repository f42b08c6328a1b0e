"""A task is published with a record and a confirmed message, or leaves neither."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from math import inf

import anyio
import pytest
import trio.testing
from anyio import CancelScope

from hub.brokers import open_broker
from hub.errors import ConnectionLost, QueueFull, Unroutable
from hub.ports.result_store import Missing
from hub.stores import open_store
from hub.submission.errors import AcceptTimeout
from hub.submission.publisher import TaskPublisher
from hub.task import Task
from hub.types import TaskState, new_task_id
from tests.gateway.fakes import LOST, FaultyBroker, FaultyStore
from tests.gateway.fixtures import CONTRACT_A, INSTANCE, MODEL_A
from tests.support.backends import ASYNCIO


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> object:
    """Both backends; on trio time is virtual, so that patience costs none."""
    if request.param == "trio":
        return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}
    return ASYNCIO


class FaultyPublisher:
    def __init__(self, publisher: TaskPublisher, broker: FaultyBroker, store: FaultyStore) -> None:
        self.publisher = publisher
        self.broker = broker
        self.store = store

    async def state(self, task: Task) -> TaskState | Missing:
        (found,) = await self.store.fetch([task.id])
        return found if isinstance(found, Missing) else found.state

    async def messages(self) -> int:
        depth = (await self.broker.depths([MODEL_A]))[MODEL_A]
        return 0 if depth is None else depth.ready


@asynccontextmanager
async def faulty_publisher(*, publish_timeout: float = 1.0) -> AsyncGenerator[FaultyPublisher]:
    with anyio.fail_after(20):
        async with open_broker("memory://") as broker, open_store("memory://") as store:
            await broker.declare(MODEL_A)
            faulty_broker, faulty_store = FaultyBroker(broker), FaultyStore(store)
            async with TaskPublisher(faulty_broker, faulty_store, timeout=publish_timeout) as publisher:
                yield FaultyPublisher(publisher, faulty_broker, faulty_store)


def new_task() -> Task:
    return Task(id=new_task_id(), model=MODEL_A, body=b"", fingerprint=CONTRACT_A.fingerprint, created_at=0.0)


async def test_an_accepted_task_has_a_record_and_a_message() -> None:
    async with faulty_publisher() as b:
        task = new_task()
        await b.publisher.publish(task)
        assert await b.state(task) is TaskState.QUEUED
        assert await b.messages() == 1


@pytest.mark.parametrize("refusal", [QueueFull(MODEL_A, "at its limit"), Unroutable(MODEL_A, "no such queue")])
async def test_a_refused_task_leaves_no_record(refusal: QueueFull | Unroutable) -> None:
    async with faulty_publisher() as b:
        b.broker.refusal = lambda _: refusal
        task = new_task()
        with pytest.raises(type(refusal)):
            await b.publisher.publish(task)
        await b.store.withdrawn.wait()
        assert await b.state(task) is Missing.UNKNOWN


async def test_one_refused_task_affects_no_other() -> None:
    async with faulty_publisher() as b:
        bad, good = new_task(), new_task()
        b.broker.refusal = lambda p: QueueFull(MODEL_A, "at its limit") if p.message_id == bad.id else None

        async def submit_bad() -> None:
            with pytest.raises(QueueFull):
                await b.publisher.publish(bad)

        async with anyio.create_task_group() as tg:
            tg.start_soon(submit_bad)
            tg.start_soon(b.publisher.publish, good)
        await b.store.withdrawn.wait()
        assert (await b.state(bad), await b.state(good)) == (Missing.UNKNOWN, TaskState.QUEUED)


async def test_an_unconfirmed_task_is_withdrawn_and_never_starts() -> None:
    async with faulty_publisher() as b:
        b.broker.error = LOST
        task = new_task()
        with pytest.raises(ConnectionLost):
            await b.publisher.publish(task)
        await b.store.withdrawn.wait()
        # The broker had it after all: the message turns up.
        (start,) = await b.store.start([task], INSTANCE, attempts=5)
        assert start.state is None


async def test_a_lost_store_refuses_the_task_even_if_the_record_was_written() -> None:
    async with faulty_publisher() as b:
        b.store.create_error = LOST
        task = new_task()
        with pytest.raises(ConnectionLost):
            await b.publisher.publish(task)
        await b.store.withdrawn.wait()
        assert (await b.state(task), await b.messages()) == (Missing.UNKNOWN, 0)


async def test_a_task_that_the_broker_does_not_confirm_in_time_is_withdrawn() -> None:
    async with faulty_publisher() as b:
        b.broker.stuck = anyio.Event()
        task = new_task()
        with pytest.raises(AcceptTimeout):
            await b.publisher.publish(task)
        await b.store.withdrawn.wait()
        assert await b.state(task) is Missing.UNKNOWN


async def test_a_record_that_cannot_be_withdrawn_now_is_withdrawn_later() -> None:
    async with faulty_publisher() as b:
        b.broker.error = LOST
        b.store.failing_withdrawals = 2
        task = new_task()
        with pytest.raises(ConnectionLost):
            await b.publisher.publish(task)
        await b.store.withdrawn.wait()
        assert await b.state(task) is Missing.UNKNOWN
        assert b.publisher.statistics().failed == 0


async def test_records_of_refused_tasks_are_gone_when_the_block_ends() -> None:
    task = new_task()
    with anyio.fail_after(20):
        async with open_broker("memory://") as broker, open_store("memory://") as store:
            faulty = FaultyBroker(broker)
            faulty.stuck = anyio.Event()
            async with anyio.create_task_group() as tg:

                async def submit() -> None:
                    async with TaskPublisher(faulty, store, timeout=60) as publisher:
                        await publisher.publish(task)

                tg.start_soon(submit)
                await faulty.publishing.wait()
                tg.cancel_scope.cancel()
            assert await store.fetch([task.id]) == [Missing.UNKNOWN]


async def test_a_disconnect_at_any_moment_leaves_no_record_without_a_message() -> None:
    for steps in range(12):
        async with faulty_publisher(publish_timeout=5) as b:
            task = new_task()
            scope = CancelScope()

            async def submit(b: FaultyPublisher = b, task: Task = task, scope: CancelScope = scope) -> None:
                with scope:
                    await b.publisher.publish(task)

            async with anyio.create_task_group() as tg:
                tg.start_soon(submit)
                for _ in range(steps):
                    await anyio.lowlevel.checkpoint()
                scope.cancel()
            await anyio.wait_all_tasks_blocked()
            if await b.state(task) is TaskState.QUEUED:
                assert await b.messages() == 1


async def test_a_disconnect_while_the_broker_is_slow_withdraws_the_task() -> None:
    async with faulty_publisher(publish_timeout=15) as b:
        b.broker.stuck = anyio.Event()
        task = new_task()
        async with anyio.create_task_group() as tg:
            tg.start_soon(b.publisher.publish, task)
            await b.broker.publishing.wait()
            tg.cancel_scope.cancel()
        b.broker.stuck.set()
        await b.store.withdrawn.wait()
        assert await b.state(task) is Missing.UNKNOWN
        (start,) = await b.store.start([task], INSTANCE, attempts=5)
        assert start.state is None


async def test_a_submit_that_times_out_at_any_moment_is_accepted_or_withdrawn_and_never_both(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    accepted: list[bool] = []
    for steps in (*range(16),) * 4:  # trio takes the tasks of a turn in an order of chance
        async with faulty_publisher() as b:
            task = new_task()

            async def submit(b: FaultyPublisher = b, task: Task = task) -> None:
                try:
                    await b.publisher.publish(task)
                except AcceptTimeout:
                    accepted.append(False)
                else:
                    accepted.append(True)

            async with anyio.create_task_group() as tg:
                tg.start_soon(submit)
                for _ in range(steps):
                    await anyio.lowlevel.checkpoint()
                with monkeypatch.context() as patched:
                    patched.setattr("hub.concurrency.batching.current_time", lambda: inf)
                    b.publisher._submits._expire()
            await anyio.wait_all_tasks_blocked()
            assert (await b.state(task) is TaskState.QUEUED) == accepted[-1]
    assert set(accepted) == {True, False}


async def test_a_repeated_write_that_finds_its_own_record_is_accepted() -> None:
    async with faulty_publisher(publish_timeout=5) as b:
        b.store.repeats_create = True
        for task in (new_task(), replace(new_task(), idempotency_key="order-66")):
            assert await b.publisher.publish(task) is None
        assert await b.messages() == 2
