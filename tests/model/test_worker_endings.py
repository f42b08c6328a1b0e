"""Runs of ended tasks are cancelled, and late tasks are not started. In virtual time."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import anyio
import pytest
import trio.testing

from hub.errors import ConnectionLost
from hub.ports.result_store import Missing
from hub.task import Failure, Outcome, Task
from hub.types import InstanceId, TaskState
from tests.model.fakes import (
    ECHO,
    BreakableStore,
    Echo,
    WatchedBroker,
    ended,
    publication,
    ready_in,
    reply_of,
    submit,
    task,
    virtually,
    worker,
)

SECOND = InstanceId("instance-2")

pytestmark = pytest.mark.usefixtures("no_leaked_tasks")


@pytest.fixture(scope="module")
def anyio_backend() -> object:
    return ("trio", {"clock": trio.testing.MockClock(autojump_threshold=0)})


@pytest.fixture
def store() -> BreakableStore:
    return BreakableStore(clock=anyio.current_time)


class Log:
    """What the model has seen: which requests began, and which were cancelled, and when."""

    def __init__(self) -> None:
        self.began: list[str] = []
        self.cancelled: dict[str, float] = {}

    async def __call__(self, text: str) -> str:
        name, _, seconds = text.partition(" ")
        self.began.append(name)
        try:
            await anyio.sleep(float(seconds))
        except anyio.get_cancelled_exc_class():
            self.cancelled[name] = anyio.current_time()
            raise
        return name


def due(text: str, seconds: float) -> Task:
    """A task with a deadline so many virtual seconds from now."""
    return replace(task(text), deadline=anyio.current_time() + seconds)


async def cancel(store: BreakableStore, *tasks: Task) -> list[bool]:
    """What a gateway does when a client cancels."""
    failure = Failure(code="cancelled", message="a client cancelled it")
    return list(
        await store.finish(
            [Outcome(task_id=each.id, state=TaskState.CANCELLED, failure=failure, finished_at=1.0) for each in tasks]
        )
    )


async def test_a_cancelled_task_is_stopped_within_a_second_and_acked(
    broker: WatchedBroker, store: BreakableStore
) -> None:
    log = Log()
    one = task("long 1000")
    await submit(broker, store, one)
    async with worker(Echo(log), broker, store) as working:
        await virtually(lambda: log.began == ["long"])
        began = anyio.current_time()
        assert await cancel(store, one) == [True]
        await virtually(lambda: broker.acked == [one.id])
        assert log.cancelled["long"] - began < 1
        assert working.statistics().stopped == 1
        assert working.statistics().in_flight == 0
    record = await ended(store, one)
    assert record.state is TaskState.CANCELLED
    assert await ready_in(broker, ECHO) == 0


async def test_a_task_that_is_cancelled_in_the_queue_never_runs(broker: WatchedBroker, store: BreakableStore) -> None:
    log = Log()
    one, two = task("never 1"), task("other 1")
    await submit(broker, store, one, two)
    await cancel(store, one)
    async with worker(Echo(log), broker, store) as working:
        assert await reply_of(store, two) == "other"
        await virtually(lambda: set(broker.acked) == {one.id, two.id})
        assert working.statistics().skipped == 1
    assert log.began == ["other"]


async def test_only_the_cancelled_task_is_stopped(broker: WatchedBroker, store: BreakableStore) -> None:
    log = Log()
    tasks = [task(f"{number} 5") for number in range(3)]
    await submit(broker, store, *tasks)
    async with worker(Echo(log), broker, store):
        await virtually(lambda: len(log.began) == 3)
        await cancel(store, tasks[1])
        assert await reply_of(store, tasks[0]) == "0"
        assert await reply_of(store, tasks[2]) == "2"
    assert list(log.cancelled) == ["1"]


async def test_a_cancellation_between_delivery_and_start_is_not_missed(
    broker: WatchedBroker, store: BreakableStore
) -> None:
    log = Log()
    one = task("early 1000")
    await submit(broker, store, one)
    store.after_start = lambda: cancel(store, one)
    async with worker(Echo(log), broker, store):
        await virtually(lambda: broker.acked == [one.id])
    assert log.began in ([], ["early"])
    assert len(log.cancelled) == len(log.began)


async def test_what_a_cancelled_model_returns_all_the_same_does_not_count(
    broker: WatchedBroker, store: BreakableStore
) -> None:
    stubborn = anyio.Event()

    async def behaviour(text: str) -> str:
        try:
            await anyio.sleep_forever()
        finally:
            stubborn.set()
            return f"{text} all the same"  # noqa: B012 - what a model should not do

    one = task("mine")
    await submit(broker, store, one)
    async with worker(Echo(behaviour), broker, store) as working:
        await virtually(lambda: working.statistics().attempts == 1)
        await anyio.sleep(1)
        await cancel(store, one)
        await stubborn.wait()
        await virtually(lambda: broker.acked == [one.id])
    assert (await ended(store, one)).state is TaskState.CANCELLED


async def test_the_slower_of_two_runs_of_one_task_is_stopped_when_the_faster_has_ended(
    broker: WatchedBroker, store: BreakableStore
) -> None:
    slow, quick = Log(), Log()
    one = task("twin 1000")
    await submit(broker, store, one)

    async def at_once(text: str) -> str:
        quick.began.append(text)
        return "quick"

    async with worker(Echo(slow), broker, store):
        await virtually(lambda: slow.began == ["twin"])
        await broker.publish(publication(one))  # as after a partition: the broker believes the first instance dead
        broker_of_second = WatchedBroker(store)
        async with broker_of_second.inner:
            await broker_of_second.declare(ECHO)
            await broker_of_second.publish(publication(one))
            async with worker(Echo(at_once), broker_of_second, store, instance=SECOND):
                assert await reply_of(store, one) == "quick"
                await virtually(lambda: "twin" in slow.cancelled)
    assert len(broker.acked) == 2


async def test_losing_the_store_loses_no_cancellation(broker: WatchedBroker, store: BreakableStore) -> None:
    log = Log()
    one = task("long 1000")
    await submit(broker, store, one)
    async with worker(Echo(log), broker, store):
        await virtually(lambda: log.began == ["long"])
        store.endings_fail = ConnectionLost("store", "out of reach")
        await cancel(store, one)
        await anyio.sleep(20)
        store.endings_fail = None
        await virtually(lambda: "long" in log.cancelled)


async def test_a_running_task_is_stopped_at_its_deadline_and_expires(
    broker: WatchedBroker, store: BreakableStore
) -> None:
    log = Log()
    one = due("slow 1000", 10)
    await submit(broker, store, one)
    async with worker(Echo(log), broker, store, clock=anyio.current_time) as working:
        record = await ended(store, one)
        await virtually(lambda: broker.acked == [one.id])
        assert working.statistics().stored == {TaskState.EXPIRED: 1}
    assert one.deadline is not None
    assert log.cancelled["slow"] == pytest.approx(one.deadline, abs=0.1)
    assert record.state is TaskState.EXPIRED
    assert record.outcome is not None
    assert record.outcome.failure is not None
    assert record.outcome.failure.code == "deadline_exceeded"
    assert record.outcome.attempt == 1


async def test_a_task_whose_deadline_has_passed_never_runs(broker: WatchedBroker, store: BreakableStore) -> None:
    log = Log()
    late, timely = due("late 1", 10), due("timely 1", 100)
    await submit(broker, store, late, timely)
    await anyio.sleep(11)
    async with worker(Echo(log), broker, store, clock=anyio.current_time):
        record = await ended(store, late)
        assert await reply_of(store, timely) == "timely"
        await virtually(lambda: set(broker.acked) == {late.id, timely.id})
    assert log.began == ["timely"]
    assert record.state is TaskState.EXPIRED
    assert record.attempt == 0
    assert record.outcome is not None
    assert record.outcome.started_at is None


async def test_a_task_that_becomes_late_while_the_store_takes_its_time_does_not_begin(
    broker: WatchedBroker, store: BreakableStore
) -> None:
    log = Log()
    one = due("late 1", 3)
    await submit(broker, store, one)
    store.after_start = lambda: anyio.sleep(4)
    async with worker(Echo(log), broker, store, clock=anyio.current_time):
        record = await ended(store, one)
    assert log.began == []
    assert (record.state, record.attempt) == (TaskState.EXPIRED, 1)


async def test_an_answer_within_the_deadline_counts(broker: WatchedBroker, store: BreakableStore) -> None:
    one = due("quick 9", 10)
    await submit(broker, store, one)
    async with worker(Echo(Log()), broker, store, clock=anyio.current_time):
        assert await reply_of(store, one) == "quick"


async def test_a_run_ends_before_the_broker_takes_its_instance_for_dead(
    broker: WatchedBroker, store: BreakableStore
) -> None:
    log = Log()
    one = task("endless inf")
    await submit(broker, store, one)
    async with worker(Echo(log), broker, store, run_limit=60):
        record = await ended(store, one)
    assert "endless" in log.cancelled
    assert record.state is TaskState.FAILED
    assert record.outcome is not None
    assert record.outcome.failure is not None
    assert record.outcome.failure.code == "run_too_long"
    assert "HUB_CONSUMER_TIMEOUT" in record.outcome.failure.message


async def test_a_deadline_that_comes_before_the_run_limit_expires_and_one_that_comes_after_it_does_not(
    broker: WatchedBroker, store: BreakableStore
) -> None:
    soon, far = due("soon inf", 30), due("far inf", 90)
    await submit(broker, store, soon, far)
    async with worker(Echo(Log()), broker, store, run_limit=60, clock=anyio.current_time):
        assert (await ended(store, soon)).state is TaskState.EXPIRED
        assert (await ended(store, far)).state is TaskState.FAILED


async def test_a_drain_still_lets_deadlines_and_cancellations_through(
    broker: WatchedBroker, store: BreakableStore
) -> None:
    log = Log()
    late, unwanted, fine = due("late inf", 10), task("unwanted inf"), task("fine 20")
    await submit(broker, store, late, unwanted, fine)
    async with worker(Echo(log), broker, store, drain_grace=100, clock=anyio.current_time) as working:
        await virtually(lambda: len(log.began) == 3)
        working.stop()
        await cancel(store, unwanted)
        await virtually(lambda: "unwanted" in log.cancelled)
    assert (await ended(store, late)).state is TaskState.EXPIRED
    assert await reply_of(store, fine) == "fine"
    assert set(broker.acked) == {late.id, unwanted.id, fine.id}


@pytest.mark.parametrize("moment", [0.0, 0.5, 1.0, 2.0, 3.0, 4.9999, 5.0, 5.0001, 6.0, inf])
async def test_whenever_a_task_is_cancelled_it_has_one_outcome_and_its_message_is_gone(
    broker: WatchedBroker, store: BreakableStore, moment: float
) -> None:
    """Not taken yet, about to start, running, just ended, long ended."""
    log = Log()
    one = task("task 2")
    await submit(broker, store, one)
    cancelled: list[bool] = []

    async def cancel_then() -> None:
        await anyio.sleep(moment)
        cancelled.extend(await cancel(store, one))

    async with anyio.create_task_group() as tg:
        if moment < inf:
            tg.start_soon(cancel_then, name="hub.test cancel")
        await anyio.sleep(3)
        async with worker(Echo(log), broker, store):
            record = await ended(store, one)
            await virtually(lambda: broker.acked == [one.id])
            await anyio.sleep(10)
    after = await ended(store, one)
    assert after == record
    assert record.state is (TaskState.CANCELLED if cancelled == [True] else TaskState.SUCCEEDED)
    assert (moment < 5) is (cancelled == [True]) or moment == pytest.approx(5, abs=0.01)
    assert await ready_in(broker, ECHO) == 0
    assert not isinstance((await store.fetch([one.id]))[0], Missing)
