"""How a worker stops, in virtual time."""

from __future__ import annotations

from collections.abc import Callable

import anyio
import pytest
import trio.testing

from hub.brokers.memory.broker import MemoryBroker
from hub.errors import ConnectionLost
from hub.ports.result_store import Missing
from hub.types import InstanceId, TaskState
from tests.model.fakes import ECHO, BreakableStore, Echo, WatchedBroker, ended, reply_of, submit, task, worker

TICK = 2**-10
"""Virtual seconds."""

pytestmark = pytest.mark.usefixtures("no_leaked_tasks")


@pytest.fixture(scope="module")
def anyio_backend() -> object:
    return ("trio", {"clock": trio.testing.MockClock(autojump_threshold=0)})


@pytest.fixture
def store() -> BreakableStore:
    return BreakableStore()


@pytest.fixture
def broker(store: BreakableStore) -> WatchedBroker:
    return WatchedBroker(store)


async def until(condition: Callable[[], bool]) -> None:
    """Lets virtual time pass until it is so; without passing time nothing that sleeps would ever wake."""
    while not condition():
        await anyio.sleep(TICK)


async def slowly(text: str) -> str:
    await anyio.sleep(float(text))
    return text


async def test_running_tasks_may_finish_and_are_acked(broker: WatchedBroker, store: BreakableStore) -> None:
    one = task("4")
    with anyio.fail_after(100):
        await submit(broker, store, one)
        async with worker(Echo(slowly), broker, store, drain_grace=5) as working:
            await until(lambda: working.statistics().attempts == 1)
            began = anyio.current_time()
        assert anyio.current_time() - began == pytest.approx(4, abs=0.1)
        assert await reply_of(store, one) == "4"
    assert broker.acked == [one.id]


async def test_no_new_task_is_taken_while_draining(broker: WatchedBroker, store: BreakableStore) -> None:
    running, late = task("4"), task("0")
    model = Echo(slowly)
    with anyio.fail_after(100):
        await submit(broker, store, running)
        async with worker(model, broker, store) as working:
            await until(lambda: working.statistics().attempts == 1)
            working.stop()
            assert not working.consuming
            await submit(broker, store, late)
    assert model.seen == ["4"]
    assert broker.inner.statistics().unacked == 0
    depth = (await broker.depths([ECHO]))[ECHO]
    assert depth is not None
    assert (depth.ready, depth.consumers) == (1, 0)


async def test_what_does_not_finish_in_time_goes_back_to_the_queue(
    broker: WatchedBroker, store: BreakableStore
) -> None:
    one = task("1000")
    with anyio.fail_after(100):
        await submit(broker, store, one)
        async with worker(Echo(slowly), broker, store, drain_grace=5) as working:
            await until(lambda: working.statistics().attempts == 1)
            began = anyio.current_time()
        assert anyio.current_time() - began == pytest.approx(5, abs=0.1)
        assert working.statistics().requeued == 1
        assert broker.acked == []
        assert (broker.requeued, broker.rejected) == ([one.id], [])  # brokers count the second against a message
        async with worker(Echo(), broker, store, instance=InstanceId("second")):
            record = await ended(store, one)
    assert record.attempt == 2
    assert record.instance == "second"


async def test_a_cancelled_block_drains_all_the_same(broker: WatchedBroker, store: BreakableStore) -> None:
    one = task("4")

    async def work() -> None:
        async with worker(Echo(slowly), broker, store) as working:
            await until(lambda: working.statistics().attempts == 1)
            busy.set()
            await anyio.sleep_forever()

    busy = anyio.Event()
    with anyio.fail_after(100):
        await submit(broker, store, one)
        async with anyio.create_task_group() as tg:
            tg.start_soon(work, name="hub.test worker")
            await busy.wait()
            tg.cancel_scope.cancel()
        assert await reply_of(store, one) == "4"
    assert broker.acked == [one.id]


async def test_a_drain_ends_when_the_link_is_lost_in_it(broker: WatchedBroker, store: BreakableStore) -> None:
    one = task("4")
    with anyio.fail_after(100):
        await submit(broker, store, one)
        async with worker(Echo(slowly), broker, store) as working:
            await until(lambda: working.statistics().attempts == 1)
            working.stop()
            await anyio.sleep(1)
            with broker.inner.outage():
                assert await reply_of(store, one) == "4"  # no ack is possible, and the outcome counts all the same
        assert broker.inner.statistics().consumers == 0
        async with worker(Echo(), broker, store):  # the message is still there, and is not run again
            await until(lambda: broker.acked[-1:] == [one.id])
    record = await store.fetch([one.id])
    assert not isinstance(record[0], Missing)
    assert record[0].attempt == 1


async def test_a_drain_with_the_store_away_hands_outcomes_back(broker: WatchedBroker, store: BreakableStore) -> None:
    one = task("1")
    with anyio.fail_after(100):
        await submit(broker, store, one)
        async with worker(Echo(slowly), broker, store, drain_grace=5, store_timeout=1000) as working:
            await until(lambda: working.statistics().attempts == 1)
            store.down = True
            began = anyio.current_time()
        assert anyio.current_time() - began == pytest.approx(10, abs=0.1)  # the grace, and then what the store gets
        store.down = False
        assert broker.acked == []
        async with worker(Echo(), broker, store):
            assert (await ended(store, one)).attempt == 2


async def test_a_worker_that_stops_without_a_link_does_not_wait_for_one(
    broker: WatchedBroker, store: BreakableStore
) -> None:
    with anyio.fail_after(100):
        async with worker(Echo(), broker, store) as working:
            with broker.inner.outage():
                await until(lambda: not working.consuming)
                await anyio.sleep(30)
                began = anyio.current_time()
                working.stop()
                await anyio.sleep(0.1)
                assert anyio.current_time() - began == pytest.approx(0.1)
        assert anyio.current_time() - began < 1


async def test_a_start_without_a_broker_gives_up_with_what_was_wrong(store: BreakableStore) -> None:
    broker = MemoryBroker()
    with anyio.fail_after(100), broker.outage():
        began = anyio.current_time()
        with pytest.raises(ExceptionGroup) as caught:
            async with worker(Echo(), broker, store, start_timeout=20):
                pytest.fail("began without a link")
        assert caught.group_contains(ConnectionLost)
        assert 17 < anyio.current_time() - began <= 20


async def test_a_start_without_a_broker_can_be_cancelled_at_once(store: BreakableStore) -> None:
    broker = MemoryBroker()
    with broker.outage(), anyio.move_on_after(1) as scope:
        async with worker(Echo(), broker, store, start_timeout=1000):
            pytest.fail("began without a link")
    assert scope.cancelled_caught


async def test_once_linked_a_worker_never_gives_up(broker: WatchedBroker, store: BreakableStore) -> None:
    one = task("0")
    with anyio.fail_after(10_000):
        async with worker(Echo(slowly), broker, store, start_timeout=5) as working:
            with broker.inner.outage():
                await anyio.sleep(3600)
                assert not working.consuming
            await submit(broker, store, one)
            assert (await ended(store, one)).state is TaskState.SUCCEEDED


async def test_a_task_that_runs_while_its_link_is_lost_is_not_started_again(
    broker: WatchedBroker, store: BreakableStore
) -> None:
    one = task("60")
    model = Echo(slowly)
    with anyio.fail_after(1000):
        await submit(broker, store, one)
        async with worker(model, broker, store) as working:
            await until(lambda: working.statistics().attempts == 1)
            with broker.inner.outage():
                await anyio.sleep(1)
            await until(lambda: working.consuming)
            assert (await ended(store, one)).attempt == 1
            await until(lambda: broker.inner.statistics().unacked == 0)
    depth = (await broker.depths([ECHO]))[ECHO]
    assert depth is not None
    assert depth.ready == 0
    assert model.seen == ["60"]


async def test_runs_that_outlive_a_link_count_against_the_concurrency(
    broker: WatchedBroker, store: BreakableStore
) -> None:
    first = [task("60") for _ in range(3)]
    second = [task("1") for _ in range(3)]
    model = Echo(slowly)
    with anyio.fail_after(1000):
        await submit(broker, store, *first)
        async with worker(model, broker, store) as working:
            await until(lambda: working.statistics().in_flight == 3)
            with broker.inner.outage():
                await anyio.sleep(1)
            async with broker.inner.consume(ECHO, prefetch=3) as other:  # faster than the worker's next try
                await other.receive()
                await submit(broker, store, *second)
                for each in second:
                    await ended(store, each)
    assert model.most_running == model.concurrency
