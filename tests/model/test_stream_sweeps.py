"""Streams that are cut short at every checkpoint: the generator is left, one outcome, and never a part of a stream as a success."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import pytest
from anyio.lowlevel import checkpoint

from hub.model.worker.options import WorkerOptions
from hub.ports.result_store import ChunkPage
from hub.task import Task, TaskRecord
from hub.types import TaskState
from tests.amqp.cancellation_sweep import sweep
from tests.model.fakes import ECHO, INSTANCE, TIMEOUT, BreakableStore, WatchedBroker, ended, ready_in, submit, task
from tests.model.stream_models import Shared
from tests.model.test_streams import OTHER, cancellation, serving, texts

ENOUGH = 10
"""Checkpoints that a sweep over the life of a stream meets at the very least; one over fewer has seen nothing."""

NUMBERS = [str(number) for number in range(5)]

pytestmark = pytest.mark.usefixtures("no_leaked_tasks")


async def settled(broker: WatchedBroker) -> None:
    """Returns when no message is left on the queue or at an instance."""
    while await ready_in(broker, ECHO) or broker.inner.statistics().unacked:
        await checkpoint()


async def at_any_checkpoint(
    broker: WatchedBroker,
    store: BreakableStore,
    happens: Callable[[Task], Awaitable[bool]],
    check: Callable[[Task, bool], Awaitable[None]],
) -> int:
    """Lets something happen at the 1st, 2nd, 3rd ... checkpoint of a stream until it comes too late."""
    steps = 0
    while True:
        model, one = Shared(), task("count 5")
        await submit(broker, store, one)
        async with serving(model, broker, store):
            for _ in range(steps):
                await checkpoint()
            in_time = await happens(one)
            await check(one, in_time)
            await settled(broker)
        assert model.recorder.entered == model.recorder.left <= 1
        if not in_time:
            return steps
        steps += 1


async def test_a_stream_may_be_cancelled_at_any_checkpoint(broker: WatchedBroker, store: BreakableStore) -> None:
    async def cancel(one: Task) -> bool:
        return (await store.finish([cancellation(one)]))[0]

    async def check(one: Task, cancelled: bool) -> None:
        record = await ended(store, one)
        assert record.state is (TaskState.CANCELLED if cancelled else TaskState.SUCCEEDED)
        found = await texts(store, one)
        assert found == NUMBERS[: len(found)]
        assert cancelled or found == NUMBERS

    with anyio.fail_after(TIMEOUT):
        assert await at_any_checkpoint(broker, store, cancel, check) > ENOUGH


async def test_a_stream_may_be_overtaken_at_any_checkpoint(broker: WatchedBroker, store: BreakableStore) -> None:
    async def overtake(one: Task) -> bool:
        """Begins another run as soon as there is one to overtake; whether it was in time."""
        record = await store.wait_for_change(one.id, after=1)
        assert isinstance(record, TaskRecord)
        (start,) = await store.inner.start([one], OTHER, attempts=5)
        return start.state is TaskState.RUNNING

    async def check(one: Task, overtaken: bool) -> None:
        await settled(broker)
        page = await store.chunks(one.id)
        assert isinstance(page, ChunkPage)
        if overtaken:
            assert (page.state, page.attempt, page.total) == (TaskState.RUNNING, 2, 0)
        else:
            assert (page.state, page.attempt, page.total) == (TaskState.SUCCEEDED, 1, 5)

    with anyio.fail_after(TIMEOUT):
        assert await at_any_checkpoint(broker, store, overtake, check) > ENOUGH


async def test_an_instance_may_be_stopped_at_any_checkpoint_of_a_stream(
    broker: WatchedBroker, store: BreakableStore
) -> None:
    tasks: list[Task] = []
    models: list[Shared] = []

    async def scenario() -> None:
        one, model = task("count 5"), Shared()
        await submit(broker, store, one)
        tasks.append(one)
        models.append(model)
        async with serving(model, broker, store, WorkerOptions(drain_grace=0.0), INSTANCE):
            await ended(store, one)

    async def check() -> None:
        assert all(model.recorder.entered == model.recorder.left for model in models)
        while tasks:
            one = tasks.pop()
            async with serving(Shared(), broker, store, instance=OTHER):
                record = await ended(store, one)
                await settled(broker)
            assert (record.state, record.chunks, record.attempt <= 2) == (TaskState.SUCCEEDED, 5, True)
            assert await texts(store, one) == NUMBERS

    with anyio.fail_after(TIMEOUT):
        assert await sweep(scenario, check) > ENOUGH
