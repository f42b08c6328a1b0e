"""Tasks that were written for other contracts of the model. In virtual time."""

from __future__ import annotations

import anyio
import pytest
import trio.testing

from hub.task import Task
from hub.types import Fingerprint, TaskState
from tests.model.fakes import (
    ECHO,
    BreakableStore,
    Echo,
    WatchedBroker,
    ended,
    ready_in,
    reply_of,
    submit,
    task,
    virtually,
    worker,
)

pytestmark = pytest.mark.usefixtures("no_leaked_tasks")

EARLIER = Fingerprint("e" * 64)
FOREIGN = Fingerprint("a" * 64)


@pytest.fixture(scope="module")
def anyio_backend() -> object:
    return ("trio", {"clock": trio.testing.MockClock(autojump_threshold=0)})


@pytest.fixture
def store() -> BreakableStore:
    return BreakableStore(clock=anyio.current_time)


async def state_of(store: BreakableStore, one: Task) -> TaskState:
    return (await ended(store, one)).state


async def test_a_task_of_an_earlier_contract_that_ours_does_not_break_is_run(
    broker: WatchedBroker, store: BreakableStore
) -> None:
    backlog = [task("one", fingerprint=EARLIER), task("two", fingerprint=EARLIER), task("three")]
    for one in backlog:
        await submit(broker, store, one)
    async with worker(Echo(), broker, store, reads=lambda fingerprint: fingerprint == EARLIER):
        assert [await reply_of(store, one) for one in backlog] == ["one", "two", "three"]


async def test_a_foreign_task_is_held_until_it_is_settled_which_ones_we_can_run(
    broker: WatchedBroker, store: BreakableStore
) -> None:
    accepts: set[Fingerprint] = set()
    admitted = anyio.Event()
    earlier, foreign = task("mine after all", fingerprint=EARLIER), task(fingerprint=FOREIGN)
    await submit(broker, store, earlier)
    await submit(broker, store, foreign)
    async with worker(
        Echo(), broker, store, reads=lambda fingerprint: fingerprint in accepts, settled=admitted.wait
    ) as working:
        await virtually(lambda: working.statistics().in_flight == 2)
        await anyio.sleep(1000)
        assert working.statistics().in_flight == 2
        accepts.add(EARLIER)
        admitted.set()
        assert await reply_of(store, earlier) == "mine after all"
        assert await state_of(store, foreign) is TaskState.DEAD


async def test_an_instance_that_is_not_let_in_gives_foreign_tasks_back_at_once(
    broker: WatchedBroker, store: BreakableStore
) -> None:
    foreign = task(fingerprint=FOREIGN)
    await submit(broker, store, foreign)
    started = anyio.current_time()
    async with worker(Echo(), broker, store, settled=anyio.sleep_forever, drain_grace=100.0) as working:
        await virtually(lambda: working.statistics().in_flight == 1)
    assert anyio.current_time() - started < 50, "the drain did not wait for it"
    assert await ready_in(broker, ECHO) == 1
    assert working.statistics().requeued >= 1
    assert not broker.acked


async def test_a_foreign_task_goes_back_as_long_as_others_can_run_it(
    broker: WatchedBroker, store: BreakableStore
) -> None:
    asked = 0

    async def explain(_: Fingerprint) -> str | None:
        nonlocal asked
        asked += 1
        await anyio.sleep(1)
        return None if asked < 4 else ". Since then: nothing is as it was"

    foreign = task(fingerprint=FOREIGN)
    await submit(broker, store, foreign)
    async with worker(Echo(), broker, store, explain=explain) as working:
        assert await state_of(store, foreign) is TaskState.DEAD
        assert working.statistics().requeued == 3
    assert asked == 4


async def test_a_foreign_task_that_goes_back_is_run_by_who_can(broker: WatchedBroker, store: BreakableStore) -> None:
    async def explain(_: Fingerprint) -> str | None:
        await anyio.sleep(1)
        return None

    foreign = [task(str(number), fingerprint=FOREIGN) for number in range(6)]
    for one in foreign:
        await submit(broker, store, one)
    async with worker(Echo(), broker, store, explain=explain) as old:
        await virtually(lambda: old.statistics().in_flight == 3)
        async with worker(Echo(), broker, store, reads=lambda fingerprint: fingerprint == FOREIGN):
            assert [await reply_of(store, one) for one in foreign] == [str(number) for number in range(6)]
    assert old.statistics().attempts == 0
