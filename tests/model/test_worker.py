"""The worker: from a delivery to a stored outcome and an ack, in this order."""

from __future__ import annotations

from dataclasses import replace

import anyio
import pytest
from anyio import get_cancelled_exc_class

from examples.model_a.v1.model_a_pb2 import ModelAResponse
from hub import current_task
from hub.model.worker import outcomes
from hub.model.worker.run import TaskRun
from hub.ports.broker import Publication
from hub.ports.result_store import Missing
from hub.task import Failure, Task
from hub.types import Fingerprint, ModelName, TaskState
from tests.model.fakes import (
    ECHO,
    INSTANCE,
    TIMEOUT,
    BreakableStore,
    Echo,
    WatchedBroker,
    ended,
    publication,
    reply_of,
    submit,
    task,
    until,
    worker,
)

DEAD = ModelName("Echo.dead")

pytestmark = pytest.mark.usefixtures("no_leaked_tasks")


async def ready_in(broker: WatchedBroker, queue: ModelName) -> int:
    depth = (await broker.depths([queue]))[queue]
    assert depth is not None
    return depth.ready


async def failure_of(store: BreakableStore, each: Task) -> Failure:
    record = await ended(store, each)
    assert record.outcome is not None
    assert record.outcome.failure is not None
    return record.outcome.failure


async def test_a_task_is_run_stored_and_acked(broker: WatchedBroker, store: BreakableStore) -> None:
    one = task("hello")
    with anyio.fail_after(TIMEOUT):
        await submit(broker, store, one)
        async with worker(Echo(), broker, store) as working:
            record = await ended(store, one)
            await until(lambda: broker.acked == [one.id])
            assert working.statistics().in_flight == 0
    assert record.state is TaskState.SUCCEEDED
    assert record.attempt == 1
    assert record.instance == INSTANCE
    assert record.outcome is not None
    assert ModelAResponse.FromString(record.outcome.body or b"").reply == "hello"
    assert record.outcome.started_at is not None
    assert record.outcome.finished_at >= record.outcome.started_at
    assert await ready_in(broker, ECHO) == 0


async def test_what_a_model_raises_becomes_a_typed_failure_and_is_acked(
    broker: WatchedBroker, store: BreakableStore
) -> None:
    async def behaviour(text: str) -> str:
        raise ValueError(f"no {text}")

    one = task("luck")
    with anyio.fail_after(TIMEOUT):
        await submit(broker, store, one)
        async with worker(Echo(behaviour), broker, store):
            failure = await failure_of(store, one)
            await until(lambda: broker.acked == [one.id])
    assert failure == Failure(code="model_error", type="ValueError", message="no luck")


async def test_a_traceback_is_stored_only_in_debug_mode(broker: WatchedBroker, store: BreakableStore) -> None:
    async def behaviour(text: str) -> str:
        raise KeyError(text)

    one = task("secret")
    with anyio.fail_after(TIMEOUT):
        await submit(broker, store, one)
        async with worker(Echo(behaviour), broker, store, debug=True):
            failure = await failure_of(store, one)
    assert "behaviour" in failure.traceback
    assert "KeyError: 'secret'" in failure.traceback


async def test_a_lone_error_of_a_models_own_task_group_is_shown_as_itself(
    broker: WatchedBroker, store: BreakableStore
) -> None:
    async def fail() -> None:
        raise ArithmeticError("inside")

    async def behaviour(text: str) -> str:
        async with anyio.create_task_group() as tg:  # noqa: ASYNC112 - a group around one task is what is tested
            tg.start_soon(fail)
        return text

    one = task()
    with anyio.fail_after(TIMEOUT):
        await submit(broker, store, one)
        async with worker(Echo(behaviour), broker, store):
            failure = await failure_of(store, one)
    assert failure.type == "ArithmeticError"


async def test_an_error_that_cannot_be_shown_still_ends_its_task(broker: WatchedBroker, store: BreakableStore) -> None:
    class Mute(Exception):
        def __str__(self) -> str:  # type: ignore[explicit-override]
            raise RuntimeError("no words")

    async def behaviour(text: str) -> str:
        raise Mute if text == "mute" else ValueError("\ud800 lone surrogate")

    mute, odd = task("mute"), task("odd")
    with anyio.fail_after(TIMEOUT):
        await submit(broker, store, mute, odd)
        async with worker(Echo(behaviour), broker, store):
            assert "could not be shown" in (await failure_of(store, mute)).message
            assert "lone surrogate" in (await failure_of(store, odd)).message


async def test_a_cancellation_that_hub_did_not_request_is_a_failure(
    broker: WatchedBroker, store: BreakableStore, anyio_backend_name: str
) -> None:
    async def behaviour(text: str) -> str:
        if anyio_backend_name == "asyncio":
            raise get_cancelled_exc_class()
        return text  # trio makes no Cancelled without a cancelled scope

    one, two = task(), task()
    with anyio.fail_after(TIMEOUT):
        await submit(broker, store, one)
        async with worker(Echo(behaviour), broker, store) as working:
            record = await ended(store, one)
            await submit(broker, store, two)
            await ended(store, two)
            await until(lambda: working.statistics().in_flight == 0)
    expected = TaskState.FAILED if anyio_backend_name == "asyncio" else TaskState.SUCCEEDED
    assert record.state is expected


async def test_a_task_written_for_another_contract_is_dead_and_never_runs(
    broker: WatchedBroker, store: BreakableStore
) -> None:
    foreign = task(fingerprint=Fingerprint("a" * 64))
    model = Echo()
    with anyio.fail_after(TIMEOUT):
        await submit(broker, store, foreign)
        async with worker(model, broker, store):
            record = await ended(store, foreign)
        assert await ready_in(broker, DEAD) == 1
        assert await ready_in(broker, ECHO) == 0
    assert record.state is TaskState.DEAD
    assert record.outcome is not None
    assert record.outcome.failure is not None
    assert record.outcome.failure.code == "wrong_contract"
    assert "aaaaaaaaaaaa" in record.outcome.failure.message
    assert model.seen == []


async def test_a_task_of_another_model_is_dead(broker: WatchedBroker, store: BreakableStore) -> None:
    stray = task(model=ModelName("Other"))
    with anyio.fail_after(TIMEOUT):
        await submit(broker, store, stray)
        async with worker(Echo(), broker, store):
            failure = await failure_of(store, stray)
    assert failure.code == "wrong_contract"
    assert "'Other'" in failure.message


async def test_a_message_that_is_no_task_goes_to_the_dead_letters_and_the_rest_runs(
    broker: WatchedBroker, store: BreakableStore
) -> None:
    one = task("fine")
    garbage = Publication(queue=ECHO, body=b"\xff\xff\xff", message_id="", timestamp=0.0)
    with anyio.fail_after(TIMEOUT):
        await broker.declare(ECHO)
        await broker.publish([garbage])
        await submit(broker, store, one)
        async with worker(Echo(), broker, store) as working:
            assert await reply_of(store, one) == "fine"
            assert working.statistics().undecodable == 1
        assert await ready_in(broker, DEAD) == 1


async def test_a_request_that_cannot_be_decoded_makes_its_task_dead(
    broker: WatchedBroker, store: BreakableStore
) -> None:
    one = replace(task(), body=b"\xff\xff\xff")
    with anyio.fail_after(TIMEOUT):
        await submit(broker, store, one)
        async with worker(Echo(), broker, store):
            record = await ended(store, one)
        assert await ready_in(broker, DEAD) == 1
    assert record.state is TaskState.DEAD
    assert record.outcome is not None
    assert record.outcome.failure is not None
    assert record.outcome.failure.code == "undecodable"
    assert record.attempt == 1


async def test_a_task_that_has_ended_is_acked_without_a_run(broker: WatchedBroker, store: BreakableStore) -> None:
    one = task("once")
    model = Echo()
    with anyio.fail_after(TIMEOUT):
        await submit(broker, store, one)
        async with worker(model, broker, store) as working:
            await ended(store, one)
            await until(lambda: broker.acked == [one.id])
            await broker.publish(publication(one))
            await until(lambda: broker.acked == [one.id] * 2)
            assert working.statistics().skipped == 1
    assert model.seen == ["once"]


async def test_a_withdrawn_task_is_acked_without_a_run(broker: WatchedBroker, store: BreakableStore) -> None:
    one = task("gone")
    model = Echo()
    with anyio.fail_after(TIMEOUT):
        await submit(broker, store, one)
        await store.withdraw([one])
        async with worker(model, broker, store):
            await until(lambda: broker.acked == [one.id])
    assert model.seen == []
    assert await store.fetch([one.id]) == [Missing.UNKNOWN]


async def test_a_message_that_was_published_twice_runs_once(broker: WatchedBroker, store: BreakableStore) -> None:
    release = anyio.Event()

    async def behaviour(text: str) -> str:
        await release.wait()
        return text

    one = task("twin")
    model = Echo(behaviour)
    with anyio.fail_after(TIMEOUT):
        await submit(broker, store, one)
        async with worker(model, broker, store) as working:
            await broker.publish(publication(one))
            await until(lambda: working.statistics().skipped == 1)
            release.set()
            assert (await ended(store, one)).attempt == 1
            await until(lambda: broker.acked == [one.id] * 2)
    assert model.seen == ["twin"]


async def test_a_model_knows_the_task_that_it_works_on(broker: WatchedBroker, store: BreakableStore) -> None:
    async def behaviour(_: str) -> str:
        now = current_task()
        return f"{now.id} {now.attempt} {now.model} {now.instance} {now.deadline}"

    one = replace(task(), deadline=2_000_000_000.0)
    with anyio.fail_after(TIMEOUT):
        await submit(broker, store, one)
        async with worker(Echo(behaviour), broker, store):
            assert await reply_of(store, one) == f"{one.id} 1 Echo {INSTANCE} 2000000000.0"


async def test_no_more_tasks_run_at_once_than_the_model_allows(broker: WatchedBroker, store: BreakableStore) -> None:
    async def behaviour(text: str) -> str:
        await anyio.lowlevel.checkpoint()
        return text

    tasks = [task(str(number)) for number in range(50)]
    model = Echo(behaviour)
    with anyio.fail_after(TIMEOUT):
        await submit(broker, store, *tasks)
        async with worker(model, broker, store):
            for each in tasks:
                assert await reply_of(store, each)
    assert model.most_running == model.concurrency


async def test_outcomes_that_are_ready_together_are_written_together(
    broker: WatchedBroker, store: BreakableStore
) -> None:
    class Wide(Echo):
        name = "Echo"
        concurrency = 40

    tasks = [task(str(number)) for number in range(40)]
    with anyio.fail_after(TIMEOUT):
        await submit(broker, store, *tasks)
        async with worker(Wide(), broker, store):
            for each in tasks:
                await ended(store, each)
    assert sum(store.groups) == 40
    assert len(store.groups) < 10
    assert store.starts < 10


async def test_the_second_of_two_outcomes_is_dropped_and_counted(broker: WatchedBroker, store: BreakableStore) -> None:
    release = anyio.Event()

    async def slow(text: str) -> str:
        await release.wait()
        return text

    one = task("first wins")
    with anyio.fail_after(TIMEOUT):
        await submit(broker, store, one)
        async with worker(Echo(slow), broker, store) as slow_worker:
            await until(lambda: slow_worker.statistics().attempts == 1)
            [start] = await store.start([one], INSTANCE, attempts=5)  # as another instance that got it too would
            assert start.attempt == 2
            await store.finish([outcomes.dead(TaskRun(one), code="x", message="first", instance=INSTANCE, now=1.0)])
            release.set()
            await until(lambda: slow_worker.statistics().dropped == 1)
            await until(lambda: broker.acked == [one.id])
    assert (await ended(store, one)).state is TaskState.DEAD


async def test_a_failure_of_ours_that_is_no_exception_ends_the_worker_and_the_task_comes_again(
    broker: WatchedBroker, store: BreakableStore
) -> None:
    class Doom(BaseException):
        pass

    async def doom() -> None:
        raise Doom

    store.after_start = doom
    one = task()
    with anyio.fail_after(TIMEOUT):
        await submit(broker, store, one)
        with pytest.raises(BaseExceptionGroup) as caught:
            async with worker(Echo(), broker, store):
                await anyio.sleep_forever()
        assert caught.group_contains(Doom)
        assert broker.acked == []
        assert await ready_in(broker, ECHO) == 1
