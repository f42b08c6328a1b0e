"""How often a task is run, and what becomes of one that cannot be. In virtual time."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import ClassVar

import anyio
import pytest
import trio.testing

import hub
from hub.ports.broker import Publication
from hub.task import Failure, Outcome, Task, TaskRecord
from hub.types import Fingerprint, InstanceId, TaskState
from tests.model.fakes import (
    ECHO,
    INSTANCE,
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


@pytest.fixture(scope="module")
def anyio_backend() -> object:
    return ("trio", {"clock": trio.testing.MockClock(autojump_threshold=0)})


@pytest.fixture
def store() -> BreakableStore:
    return BreakableStore(clock=anyio.current_time)


class Killed(BaseException):
    """Ends the whole worker, as a kill -9 ends an instance: nothing is handed back, nothing is stored."""


class Choosy(Echo):
    """Retries what is worth it."""

    name = "Echo"
    retry: ClassVar[hub.Retry | None] = hub.Retry(on=(ConnectionError,), limit=3, first=10, cap=15, jitter=0)


class Quick(Echo):
    """Retries after a second or two."""

    name = "Echo"
    retry: ClassVar[hub.Retry | None] = hub.Retry(on=(ConnectionError,), limit=3, first=1, cap=1, jitter=0)


async def die_once(broker: WatchedBroker, store: BreakableStore, *, attempt_limit: int = 5) -> None:
    """One instance takes what is there, and dies of it."""

    async def kill() -> None:
        raise Killed

    store.after_start = kill
    with pytest.raises(BaseExceptionGroup) as caught:
        async with worker(Echo(), broker, store, attempt_limit=attempt_limit):
            await anyio.sleep_forever()
    store.after_start = None
    assert caught.group_contains(Killed)


async def letters(broker: WatchedBroker) -> list[dict[str, object]]:
    async with broker.dead_letters(ECHO, limit=100) as found:
        return [dict(delivery.headers) for delivery in found.deliveries]


def _cancelled(each: Task) -> Outcome:
    failure = Failure(code="cancelled", message="a client cancelled it")
    return Outcome(task_id=each.id, state=TaskState.CANCELLED, failure=failure, finished_at=1.0)


async def dead(store: BreakableStore, each: Task) -> TaskRecord:
    record = await ended(store, each)
    assert record.state is TaskState.DEAD
    assert record.outcome is not None
    assert record.outcome.failure is not None
    return record


async def test_a_task_that_kills_its_instance_runs_five_times_and_is_dead(
    broker: WatchedBroker, store: BreakableStore
) -> None:
    poison = task("poison")
    await submit(broker, store, poison)
    for attempt in range(1, 6):
        await die_once(broker, store)
        [record] = await store.fetch([poison.id])
        assert isinstance(record, TaskRecord)
        assert (record.state, record.attempt) == (TaskState.RUNNING, attempt)
    model = Echo()
    async with worker(model, broker, store):
        record = await dead(store, poison)
        await virtually(lambda: broker.acked == [poison.id])
    assert model.seen == []
    assert record.attempt == 5
    assert record.outcome is not None
    assert record.outcome.failure is not None
    assert record.outcome.failure.code == "attempts_exhausted"
    assert "hub dead replay" in record.outcome.failure.message
    assert await ready_in(broker, ECHO) == 0
    [headers] = await letters(broker)
    assert headers["hub-code"] == "attempts_exhausted"
    assert headers["hub-attempt"] == 5
    assert headers["hub-instance"] == INSTANCE


async def test_the_last_attempt_may_still_succeed(broker: WatchedBroker, store: BreakableStore) -> None:
    one = task("fine in the end")
    await submit(broker, store, one)
    for _ in range(2):
        await die_once(broker, store, attempt_limit=3)
    async with worker(Echo(), broker, store, attempt_limit=3):
        assert await reply_of(store, one) == "fine in the end"
    assert (await ended(store, one)).attempt == 3


async def test_a_drain_is_no_failed_attempt(broker: WatchedBroker, store: BreakableStore) -> None:
    one = task("1000")

    async def slowly(text: str) -> str:
        await anyio.sleep(float(text))
        return text

    await submit(broker, store, one)
    for attempt in range(1, 8):
        async with worker(Echo(slowly), broker, store, attempt_limit=2, drain_grace=1) as working:
            await virtually(lambda working=working: working.statistics().attempts == 1)  # type: ignore[misc]
        [record] = await store.fetch([one.id])
        assert isinstance(record, TaskRecord)
        assert (record.state, record.attempt) == (TaskState.QUEUED, attempt)
    async with worker(Echo(), broker, store, attempt_limit=2):
        assert await reply_of(store, one) == "1000"


async def test_an_error_that_a_drain_causes_is_not_the_outcome_of_the_task(
    broker: WatchedBroker, store: BreakableStore
) -> None:
    async def touchy(_: str) -> str:
        try:
            await anyio.sleep_forever()
        finally:
            raise RuntimeError("cut off")

    one = task("again")
    await submit(broker, store, one)
    async with worker(Echo(touchy), broker, store, drain_grace=1) as working:
        await virtually(lambda: working.statistics().attempts == 1)
        await anyio.sleep(1)
    async with worker(Echo(), broker, store):
        assert await reply_of(store, one) == "again"


async def test_a_failure_is_final_unless_the_model_says_otherwise(broker: WatchedBroker, store: BreakableStore) -> None:
    async def behaviour(_: str) -> str:
        raise ConnectionError("gone")

    one = task()
    model = Echo(behaviour)
    await submit(broker, store, one)
    async with worker(model, broker, store):
        assert (await ended(store, one)).state is TaskState.FAILED
        await anyio.sleep(1_000)
    assert len(model.seen) == 1


async def test_a_retry_waits_on_the_broker_longer_each_time_while_the_instance_works_on(
    broker: WatchedBroker, store: BreakableStore
) -> None:
    times: list[float] = []

    async def behaviour(text: str) -> str:
        if text == "flaky":
            times.append(anyio.current_time())
            if len(times) < 4:
                raise ConnectionResetError("try again")
        return text

    flaky, other = task("flaky"), task("other")
    await submit(broker, store, flaky)
    async with worker(Choosy(behaviour), broker, store, clock=anyio.current_time) as working:
        await virtually(lambda: len(times) == 1 and working.statistics().in_flight == 0)
        [record] = await store.fetch([flaky.id])
        assert isinstance(record, TaskRecord)
        assert record.state is TaskState.QUEUED
        assert record.retries == 1
        assert record.retry_at == pytest.approx(times[0] + 10, abs=0.1)
        await submit(broker, store, other)
        assert await reply_of(store, other) == "other"
        assert len(times) == 1
        assert await reply_of(store, flaky) == "flaky"
        assert working.statistics().retried == 3
    first, second, third = (later - earlier for earlier, later in pairwise(times))
    assert 10 <= first <= 20.1
    assert 15 <= second <= 30.1
    assert 15 <= third <= 30.1
    record = await ended(store, flaky)
    assert (record.attempt, record.retries, record.retry_at) == (4, 3, None)


async def test_retries_end_with_the_last_error(broker: WatchedBroker, store: BreakableStore) -> None:
    runs: list[str] = []

    async def behaviour(text: str) -> str:
        runs.append(text)
        raise ConnectionError(f"number {len(runs)}")

    one = task()
    await submit(broker, store, one)
    async with worker(Choosy(behaviour), broker, store, attempt_limit=2):
        record = await ended(store, one)
    assert record.state is TaskState.FAILED
    assert record.outcome is not None
    assert record.outcome.failure is not None
    assert record.outcome.failure.message == "number 4"


async def test_an_error_that_the_model_does_not_name_is_not_retried(
    broker: WatchedBroker, store: BreakableStore
) -> None:
    async def behaviour(_: str) -> str:
        raise ValueError("hopeless")

    one = task()
    model = Choosy(behaviour)
    await submit(broker, store, one)
    async with worker(model, broker, store):
        assert (await ended(store, one)).state is TaskState.FAILED
    assert len(model.seen) == 1


async def test_a_retry_that_would_come_too_late_is_not_made(broker: WatchedBroker, store: BreakableStore) -> None:
    async def behaviour(_: str) -> str:
        raise ConnectionError("gone")

    one = replace(task(), deadline=anyio.current_time() + 9)
    await submit(broker, store, one)
    async with worker(Choosy(behaviour), broker, store, clock=anyio.current_time):
        record = await ended(store, one)
    assert record.state is TaskState.FAILED
    assert anyio.current_time() < (one.deadline or 0)


async def test_a_task_that_is_cancelled_while_it_waits_for_its_retry_does_not_run_again(
    broker: WatchedBroker, store: BreakableStore
) -> None:
    async def behaviour(_: str) -> str:
        raise ConnectionError("gone")

    one = task()
    model = Choosy(behaviour)
    await submit(broker, store, one)
    async with worker(model, broker, store) as working:
        await virtually(lambda: working.statistics().retried == 1 and working.statistics().in_flight == 0)
        acked = len(broker.acked)
        await store.finish([_cancelled(one)])
        await virtually(lambda: len(broker.acked) == acked + 1)
    assert len(model.seen) == 1
    assert (await ended(store, one)).state is TaskState.CANCELLED


async def test_a_broker_that_is_away_loses_no_retry(broker: WatchedBroker, store: BreakableStore) -> None:
    runs: list[float] = []

    async def behaviour(text: str) -> str:
        runs.append(anyio.current_time())
        if len(runs) == 1:
            raise ConnectionError("gone")
        return text

    one = task("back")
    await submit(broker, store, one)
    async with worker(Choosy(behaviour), broker, store) as working:
        await virtually(lambda: working.statistics().retried == 1)
        with broker.inner.outage():
            await anyio.sleep(30)
        assert await reply_of(store, one) == "back"


async def test_a_retry_that_arrives_before_its_message_is_confirmed_runs(
    broker: WatchedBroker, store: BreakableStore
) -> None:
    runs: list[float] = []

    async def behaviour(text: str) -> str:
        runs.append(anyio.current_time())
        if len(runs) == 1:
            broker.confirms_after = 4
            raise ConnectionError("gone")
        return text

    one = task("back")
    await submit(broker, store, one)
    async with worker(Quick(behaviour), broker, store, clock=anyio.current_time):
        with anyio.fail_after(1_000):
            assert await reply_of(store, one) == "back"
    assert len(runs) == 2


async def test_a_replay_that_arrives_before_the_dead_letter_is_confirmed_runs(
    broker: WatchedBroker, store: BreakableStore
) -> None:
    one = task("again")
    await submit(broker, store, one)
    await die_once(broker, store)
    broker.confirms_after = 4
    async with worker(Echo(), broker, store, attempt_limit=1):
        await dead(store, one)
        assert await store.reset([one]) == [True]
        await broker.inner.publish([Publication(queue=ECHO, body=one.encode(), message_id=one.id, timestamp=0)])
        with anyio.fail_after(1_000):
            assert await reply_of(store, one) == "again"


async def test_a_foreign_contract_is_explained(broker: WatchedBroker, store: BreakableStore) -> None:
    async def explain(fingerprint: Fingerprint) -> str:
        return f". Since then: field 'text' of {fingerprint[:3]} was renamed to 'messages'"

    foreign = task(fingerprint=Fingerprint("a" * 64))
    model = Echo()
    await submit(broker, store, foreign)
    async with worker(model, broker, store, explain=explain):
        record = await dead(store, foreign)
        await virtually(lambda: broker.acked == [foreign.id])
    assert model.seen == []
    assert record.outcome is not None
    assert record.outcome.failure is not None
    assert record.outcome.failure.code == "wrong_contract"
    assert "field 'text' of aaa was renamed to 'messages'" in record.outcome.failure.message
    [headers] = await letters(broker)
    assert headers["hub-reason"] == record.outcome.failure.message


async def test_a_task_of_an_unknown_contract_is_refused(broker: WatchedBroker, store: BreakableStore) -> None:
    async def explain(_: Fingerprint) -> str:
        await anyio.sleep_forever()
        return "never"

    foreign = task(fingerprint=Fingerprint("a" * 64))
    await submit(broker, store, foreign)
    async with worker(Echo(), broker, store, explain=explain):
        await dead(store, foreign)


async def test_a_message_that_is_no_task_is_kept_with_the_reason(broker: WatchedBroker, store: BreakableStore) -> None:
    garbage = Publication(queue=ECHO, body=b"\xff\xff\xff", message_id="who knows", timestamp=0.0)
    await broker.declare(ECHO)
    await broker.publish([garbage])
    store.confirmed.add("who knows")  # type: ignore[arg-type]  # it is no task id, and need not be stored
    async with worker(Echo(), broker, store) as working:
        await virtually(lambda: len(broker.acked) == 1)
        assert working.statistics().undecodable == 1
    async with broker.dead_letters(ECHO, limit=10) as found:
        [letter] = found.deliveries
        assert (letter.body, letter.message_id) == (garbage.body, "who knows")
        assert letter.headers["hub-code"] == "undecodable"


async def test_an_instance_that_dies_between_verdict_and_burial_loses_no_letter(
    broker: WatchedBroker, store: BreakableStore
) -> None:
    foreign = task(fingerprint=Fingerprint("a" * 64))
    await submit(broker, store, foreign)
    broker.refuse_letters = True
    async with worker(Echo(), broker, store, store_timeout=2):
        await dead(store, foreign)
        await anyio.sleep(1)
        assert broker.acked == []
    broker.refuse_letters = False
    async with worker(Echo(), broker, store, instance=InstanceId("instance-2")):
        await virtually(lambda: broker.acked == [foreign.id])
    assert len(await letters(broker)) == 1
