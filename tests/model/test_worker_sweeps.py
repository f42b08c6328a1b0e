"""Cancellation at every checkpoint: one outcome, an empty queue, and no message acknowledged that is not stored elsewhere."""

from __future__ import annotations

from dataclasses import replace

import anyio
import pytest
from anyio.lowlevel import checkpoint

from examples.model_a.v1.model_a_pb2 import ModelAResponse
from hub.task import Failure, Outcome, Task, TaskRecord
from hub.types import InstanceId, TaskState, wall_clock
from tests.amqp.cancellation_sweep import sweep
from tests.model.batch_models import Batch, Small, replies
from tests.model.fakes import ECHO, TIMEOUT, BreakableStore, Echo, WatchedBroker, ended, ready_in, submit, task, worker

ENOUGH = 5
"""Checkpoints that a sweep over the life of a task meets at the very least; one over fewer has seen nothing."""

SECOND = InstanceId("instance-2")

pytestmark = pytest.mark.usefixtures("no_leaked_tasks")


async def some_steps(text: str) -> str:
    for _ in range(5):
        await checkpoint()
    return text


async def cancel(store: BreakableStore, one: Task) -> bool:
    failure = Failure(code="cancelled", message="a client cancelled it")
    [first] = await store.finish([Outcome(task_id=one.id, state=TaskState.CANCELLED, failure=failure, finished_at=1.0)])
    return first


async def see_through(broker: WatchedBroker, store: BreakableStore, one: Task) -> TaskRecord:
    """Lets a fresh instance take what is left; returns the record of the task once its message is gone."""
    async with worker(Echo(), broker, store, instance=SECOND):
        record = await ended(store, one)
        while await ready_in(broker, ECHO) or broker.inner.statistics().unacked:
            await checkpoint()
    return record


async def test_a_task_may_be_cancelled_at_any_checkpoint_of_its_life(
    broker: WatchedBroker, store: BreakableStore
) -> None:
    cancelled = 0
    with anyio.fail_after(TIMEOUT):
        while True:
            one = task("steps")
            model = Echo(some_steps)
            await submit(broker, store, one)
            async with worker(model, broker, store):
                for _ in range(cancelled):
                    await checkpoint()
                first = await cancel(store, one)
                record = await ended(store, one)
                while await ready_in(broker, ECHO) or broker.inner.statistics().unacked:
                    await checkpoint()
            assert record.state is (TaskState.CANCELLED if first else TaskState.SUCCEEDED)
            assert await ended(store, one) == record
            assert len(model.seen) <= 1
            if not first:
                break
            cancelled += 1
    assert cancelled > ENOUGH


@pytest.mark.parametrize("seconds", [None, 1_000.0, -1.0], ids=["no deadline", "deadline ahead", "deadline past"])
async def test_an_instance_may_be_stopped_at_any_checkpoint_of_a_task(
    broker: WatchedBroker, store: BreakableStore, seconds: float | None
) -> None:
    tasks: list[Task] = []

    async def scenario() -> None:
        deadline = None if seconds is None else wall_clock() + seconds
        one = replace(task("steps"), deadline=deadline)
        await submit(broker, store, one)
        tasks.append(one)
        async with worker(Echo(some_steps), broker, store, drain_grace=0):
            await ended(store, one)

    async def invariant() -> None:
        while tasks:
            record = await see_through(broker, store, tasks.pop())
            assert record.state is (TaskState.EXPIRED if seconds == -1.0 else TaskState.SUCCEEDED)
            assert record.attempt <= 2

    with anyio.fail_after(TIMEOUT):
        assert await sweep(scenario, invariant) > ENOUGH


async def test_an_instance_may_be_stopped_at_any_checkpoint_while_its_task_is_cancelled(
    broker: WatchedBroker, store: BreakableStore
) -> None:
    tasks: list[Task] = []

    async def scenario() -> None:
        one = task("steps")
        await submit(broker, store, one)
        tasks.append(one)
        async with worker(Echo(some_steps), broker, store, drain_grace=0) as working:
            while not working.statistics().attempts:
                await checkpoint()
            await cancel(store, one)
            while working.statistics().in_flight:
                await checkpoint()

    async def invariant() -> None:
        while tasks:
            record = await see_through(broker, store, tasks.pop())
            assert record.state in (TaskState.CANCELLED, TaskState.SUCCEEDED)

    with anyio.fail_after(TIMEOUT):
        assert await sweep(scenario, invariant) > ENOUGH


async def test_a_member_of_a_batch_may_be_cancelled_at_any_checkpoint_of_its_life(
    broker: WatchedBroker, store: BreakableStore
) -> None:
    cancelled = 0
    with anyio.fail_after(TIMEOUT):
        while True:
            one, other = task("one"), task("other")
            model = Small(steps_of_batch)
            await submit(broker, store, one, other)
            async with worker(model, broker, store):
                for _ in range(cancelled):
                    await checkpoint()
                first = await cancel(store, one)
                # Without the one, its batch is not full: a third task fills it.
                if first and not model.batches:
                    await submit(broker, store, task("third"))
                assert (await ended(store, other)).state is TaskState.SUCCEEDED
                assert (await ended(store, other)).attempt == 1
                record = await ended(store, one)
            assert record.state is (TaskState.CANCELLED if first else TaskState.SUCCEEDED)
            assert not broker.inner.statistics().unacked
            if not first:
                break
            cancelled += 1
    assert cancelled >= ENOUGH


async def test_an_instance_may_be_stopped_at_any_checkpoint_of_a_batch(
    broker: WatchedBroker, store: BreakableStore
) -> None:
    tasks: list[Task] = []

    async def scenario() -> None:
        those = [task("one"), task("other")]
        await submit(broker, store, *those)
        tasks.extend(those)
        async with worker(Small(steps_of_batch), broker, store, drain_grace=0):
            for each in those:
                await ended(store, each)

    async def invariant() -> None:
        while tasks:
            record = await see_through(broker, store, tasks.pop())
            assert record.state is TaskState.SUCCEEDED
            assert record.attempt <= 2

    with anyio.fail_after(TIMEOUT):
        assert await sweep(scenario, invariant) > ENOUGH


async def steps_of_batch(requests: Batch) -> list[ModelAResponse]:
    for _ in range(5):
        await checkpoint()
    return replies(requests)
