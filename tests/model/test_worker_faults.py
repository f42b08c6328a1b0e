"""Nothing is acked that is not stored, and nothing is lost, whatever breaks when. In virtual time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

import anyio
import pytest
import trio.testing
from hypothesis import HealthCheck, given, settings, strategies as st
from structlog.testing import capture_logs

from hub.types import InstanceId, TaskState
from tests.model.fakes import ECHO, BreakableStore, Echo, WatchedBroker, ended, reply_of, submit, task, worker
from tests.support.examples import examples

TICK = 2**-10
"""Virtual seconds."""


@pytest.fixture(scope="module")
def anyio_backend() -> object:
    return ("trio", {"clock": trio.testing.MockClock(autojump_threshold=0)})


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await anyio.sleep(TICK)


async def test_outcomes_wait_for_a_store_that_is_away_and_are_not_acked_meanwhile() -> None:
    store = BreakableStore()
    broker = WatchedBroker(store)
    one = task("kept")
    with anyio.fail_after(1000):
        await submit(broker, store, one)

        async def behaviour(text: str) -> str:
            store.down = True
            return text

        async with worker(Echo(behaviour), broker, store, store_timeout=100) as working:
            await until(lambda: working.statistics().saving == 1)
            await anyio.sleep(50)
            assert broker.acked == []
            assert working.statistics().saving == 1
            store.down = False
            assert await reply_of(store, one) == "kept"
            await until(lambda: broker.acked == [one.id])
    assert broker.early == []


async def test_a_store_that_stays_away_gets_no_outcome_and_the_message_goes_back() -> None:
    store = BreakableStore()
    broker = WatchedBroker(store)
    one = task("again")
    runs: list[str] = []
    with anyio.fail_after(1000):
        await submit(broker, store, one)

        async def behaviour(text: str) -> str:
            runs.append(text)
            store.down = len(runs) == 1
            return text

        async with worker(Echo(behaviour), broker, store, store_timeout=10) as working:
            await until(lambda: working.statistics().requeued == 1)
            assert broker.acked == []
            assert (broker.requeued, broker.rejected) == ([], [one.id])
            store.down = False
            assert (await ended(store, one)).attempt == 2
    assert runs == ["again", "again"]
    assert broker.early == []


async def test_an_outcome_whose_confirmation_was_lost_is_sent_again_before_the_ack() -> None:
    store = BreakableStore()
    broker = WatchedBroker(store)
    one = task("twice")
    store.not_consuming = True
    with anyio.fail_after(1000):
        await submit(broker, store, one)
        async with worker(Echo(), broker, store) as working:
            await ended(store, one)
            await anyio.sleep(1)
            assert broker.acked == []
            store.not_consuming = False
            await until(lambda: broker.acked == [one.id])
            assert working.statistics().stored == {TaskState.SUCCEEDED: 1}
            assert working.statistics().dropped == 0
    assert broker.early == []


async def test_a_task_that_cannot_be_started_waits_and_then_goes_back() -> None:
    store = BreakableStore()
    broker = WatchedBroker(store)
    one = task("late")
    model = Echo()
    with anyio.fail_after(1000):
        await submit(broker, store, one)
        store.down = True
        async with worker(model, broker, store, store_timeout=10):
            await anyio.sleep(60)
            assert model.seen == []
            store.down = False
            assert (await ended(store, one)).attempt == 1
    assert broker.early == []


@dataclass(frozen=True)
class Fault:
    """`what` breaks `after` seconds from the fault before, for `long` seconds."""

    what: str
    after: float
    long: float


seconds = st.floats(0, 4, allow_nan=False)
faults = st.lists(
    st.builds(Fault, what=st.sampled_from(["store", "not_consuming", "broker", "worker"]), after=seconds, long=seconds),
    max_size=6,
)
durations = st.lists(st.sampled_from(["0", "0.5", "3", "fail"]), min_size=1, max_size=8)


class Scene:
    """A store and a broker that break as told, and one worker after the other."""

    def __init__(self, timeout: float) -> None:
        self.store = BreakableStore()
        self.broker = WatchedBroker(self.store)
        self.timeout = timeout
        self.restart = anyio.Event()

    async def suffer(self, faults: list[Fault]) -> None:
        for fault in faults:
            await anyio.sleep(fault.after)
            match fault.what:
                case "store":
                    self.store.down = True
                    await anyio.sleep(fault.long)
                    self.store.down = False
                case "not_consuming":
                    self.store.not_consuming = True
                    await anyio.sleep(fault.long)
                    self.store.not_consuming = False
                case "broker":
                    with self.broker.inner.outage():
                        await anyio.sleep(fault.long)
                case _:
                    self.restart.set()

    async def work(self) -> None:
        for start in count(1):
            self.restart = anyio.Event()
            model = Echo(behave)
            async with worker(
                model,
                self.broker,
                self.store,
                instance=InstanceId(f"instance-{start}"),
                start_timeout=1000,
                store_timeout=self.timeout,
                drain_grace=1,
            ):
                await self.restart.wait()
            assert model.most_running <= model.concurrency


async def behave(text: str) -> str:
    duration = text.split()[1]
    if duration == "fail":
        raise ValueError(text)
    await anyio.sleep(float(duration))
    return text


@settings(max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(durations=durations, faults=faults, store_timeout=st.sampled_from([1.0, 5.0]))
async def test_whatever_breaks_each_task_ends_once_and_is_acked_after_that(
    durations: list[str], faults: list[Fault], store_timeout: float
) -> None:
    scene = Scene(store_timeout)
    store, broker = scene.store, scene.broker
    tasks = [task(f"{number} {duration}") for number, duration in enumerate(durations)]
    with anyio.fail_after(100_000), capture_logs():  # rendering thousands of tracebacks would take most of the time
        await submit(broker, store, *tasks)
        async with anyio.create_task_group() as tg:
            tg.start_soon(scene.work, name="hub.test workers")
            await scene.suffer(faults)
            first = [await ended(store, each) for each in tasks]
            tg.cancel_scope.cancel()
        async with worker(Echo(behave), broker, store):  # what was stored but not acked is still on the queue
            await anyio.sleep(10)
        depth = (await broker.depths([ECHO]))[ECHO]
        assert depth is not None
        assert (depth.ready, broker.inner.statistics().unacked) == (0, 0)
        assert broker.early == []
        assert {each.id for each in tasks} <= set(broker.acked)
        for each, then in zip(tasks, first, strict=True):
            assert (await ended(store, each)).outcome == then.outcome
            assert then.state is (TaskState.FAILED if b"fail" in each.body else TaskState.SUCCEEDED)
