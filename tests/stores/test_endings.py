"""Instances hear that tasks which they run have ended without them, whichever adapter tells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import anyio
import pytest
from anyio import create_task_group, fail_after, move_on_after
from anyio.abc import TaskGroup

from hub.ports.result_store import ReleasedTask, ResultStore, Start
from hub.stores.memory.store import MemoryStore
from hub.stores.redis.store import RedisStore
from hub.stores.running import LIMIT, RunningTasks
from hub.task import Outcome, Task
from hub.types import InstanceId, TaskId, TaskState, new_task_id
from tests.stores.helpers import (
    MANY,
    ONE,
    TIMEOUT,
    TWO,
    Adapter,
    CancelledAt,
    cancelled,
    death,
    failure,
    record_of,
    success,
    task,
    until,
)
from tests.stores.test_waiting import peer

Ended = dict[InstanceId, list[TaskId]]


def listen(tg: TaskGroup, store: ResultStore, instance: InstanceId, told: Ended) -> None:
    """Collects in `told` what `instance` is told, until `tg` is cancelled."""
    told[instance] = []

    async def hear() -> None:
        while True:
            told[instance] += await store.next_ended(instance)

    tg.start_soon(hear)


async def settled(*stores: ResultStore) -> None:
    """Returns when whatever was published before has been heard, by each store.

    A task of their own is ended and heard of: messages come in the order in which they were sent.
    """
    for store in stores:
        probe, prober = task(), InstanceId(f"prober {new_task_id()}")
        await store.start([probe], prober, attempts=MANY)
        await store.finish([cancelled(probe)])
        assert await store.next_ended(prober) == [probe.id]


def remembered(store: ResultStore) -> int:
    own = store if isinstance(store, RedisStore) else vars(store).get("statistics", store.statistics).__self__
    assert isinstance(own, (MemoryStore, RedisStore))  # a remote one has the statistics of the one in memory
    return len(own._running)


async def test_the_cancellation_of_a_task_is_reported_to_its_instance(adapter: Adapter, store: ResultStore) -> None:
    one = task()
    with fail_after(TIMEOUT):
        async with peer(adapter, store) as gateway:
            await gateway.create([one])
            await store.start([one], ONE, attempts=MANY)
            await gateway.finish([cancelled(one)])
            assert await store.next_ended(ONE) == [one.id]
            assert remembered(store) == 0


async def test_a_call_that_waits_is_woken(adapter: Adapter, store: ResultStore) -> None:
    one, told = task(), Ended()
    with fail_after(TIMEOUT):
        async with peer(adapter, store) as gateway, create_task_group() as tg:
            listen(tg, store, ONE, told)
            await anyio.wait_all_tasks_blocked()
            await gateway.create([one])
            await store.start([one], ONE, attempts=MANY)
            await gateway.finish([cancelled(one)])
            await until(lambda: told[ONE] == [one.id])
            tg.cancel_scope.cancel()


async def test_an_ending_by_an_instance_is_not_reported_to_it(adapter: Adapter, store: ResultStore) -> None:
    tasks = [task(reply_channel=store.channel) for _ in range(3)]
    told = Ended()
    with fail_after(TIMEOUT):
        async with peer(adapter, store) as other, create_task_group() as tg:
            listen(tg, store, ONE, told)
            await store.create(tasks)
            await store.start(tasks, ONE, attempts=MANY)
            assert await store.finish([success(tasks[0])]) == [True]
            assert await store.finish([success(tasks[0])]) == [True]
            assert await store.finish([success(tasks[0], b"other")]) == [False]
            assert await store.finish([death(tasks[1])]) == [True]
            await other.finish([cancelled(tasks[2])])
            await until(lambda: bool(told[ONE]))
            await settled(store)
            assert told[ONE] == [tasks[2].id]
            assert remembered(store) == 0
            tg.cancel_scope.cancel()


async def test_an_ending_by_another_instance_of_the_process_is_reported(store: ResultStore) -> None:
    """As in `hub up`, where the gateway and the instances share one store."""
    tasks = [task(reply_channel=store.channel), task()]
    with fail_after(TIMEOUT):
        await store.create(tasks)
        await store.start(tasks, ONE, attempts=MANY)
        assert await store.finish([cancelled(one) for one in tasks]) == [True, True]
        told: list[TaskId] = []
        while len(told) < 2:
            told += await store.next_ended(ONE)
        assert told == [one.id for one in tasks]


@pytest.mark.parametrize("shared", [False, True], ids=["own stores", "one store"])
async def test_an_ending_is_reported_to_all_other_runs_of_the_task(
    adapter: Adapter, store: ResultStore, shared: bool
) -> None:
    one, other_one = task(), task()
    told, told_too = Ended(), Ended()
    with fail_after(TIMEOUT):
        async with peer(adapter, store) as other, create_task_group() as tg:
            second = store if shared else other
            listen(tg, store, ONE, told)
            listen(tg, second, TWO, told_too)
            await store.create([one, other_one])
            await store.start([one, other_one], ONE, attempts=MANY)
            await second.start([one, other_one], TWO, attempts=MANY)
            await second.finish([success(one, by=TWO)])
            await store.finish([success(other_one, by=ONE)])
            await until(lambda: bool(told[ONE] and told_too[TWO]))
            await settled(store, second)
            assert (told, told_too) == ({ONE: [one.id]}, {TWO: [other_one.id]})
            assert remembered(store) == remembered(second) == 0
            tg.cancel_scope.cancel()


async def test_a_cancellation_is_reported_to_both_runs_of_a_task(adapter: Adapter, store: ResultStore) -> None:
    one = task()
    with fail_after(TIMEOUT):
        async with peer(adapter, store) as second, peer(adapter, store) as gateway:
            await gateway.create([one])
            await store.start([one], ONE, attempts=MANY)
            await second.start([one], TWO, attempts=MANY)
            await gateway.finish([cancelled(one)])
            assert await store.next_ended(ONE) == [one.id]
            assert await second.next_ended(TWO) == [one.id]


async def test_endings_of_other_tasks_are_not_reported_to_an_instance(adapter: Adapter, store: ResultStore) -> None:
    one, other_one = task(), task()
    told = Ended()
    with fail_after(TIMEOUT):
        async with peer(adapter, store) as gateway, create_task_group() as tg:
            listen(tg, store, ONE, told)
            listen(tg, store, TWO, told)
            await gateway.create([one, other_one])
            await store.start([one], ONE, attempts=MANY)
            await store.start([other_one], TWO, attempts=MANY)
            await gateway.finish([cancelled(one)])
            await until(lambda: bool(told[ONE]))
            await settled(store)
            assert told[TWO] == []
            tg.cancel_scope.cancel()


async def test_many_endings_are_reported_together(adapter: Adapter, store: ResultStore) -> None:
    tasks = [task() for _ in range(200)]
    with fail_after(TIMEOUT):
        async with peer(adapter, store) as gateway:
            await gateway.create(tasks)
            await store.start(tasks, ONE, attempts=MANY)
            await gateway.finish([cancelled(one) for one in tasks])
            told: list[TaskId] = []
            while len(told) < 200:
                told += await store.next_ended(ONE)
            assert told == [one.id for one in tasks]


async def test_the_ending_of_a_task_that_was_not_started_is_not_reported(adapter: Adapter, store: ResultStore) -> None:
    ended, withdrawn, exhausted, other_body = task(), task(), task(), task(key="order-7")
    told = Ended()
    with fail_after(TIMEOUT):
        async with peer(adapter, store) as gateway, create_task_group() as tg:
            listen(tg, store, ONE, told)
            tasks = [ended, withdrawn, exhausted, other_body]
            await gateway.create(tasks)
            await gateway.finish([cancelled(ended)])
            await gateway.withdraw([withdrawn])
            await gateway.start([exhausted], TWO, attempts=1)
            tasks[3] = replace(other_body, body=b"another")
            starts = await store.start(tasks, ONE, attempts=1)
            assert [start.state for start in starts] == [TaskState.CANCELLED, None, TaskState.QUEUED, None]
            assert remembered(store) == (0 if adapter.shared else 1)
            await gateway.finish([cancelled(exhausted), cancelled(other_body)])
            await settled(store)
            assert told[ONE] == []
            tg.cancel_scope.cancel()


async def test_what_was_handed_back_is_forgotten(adapter: Adapter, store: ResultStore) -> None:
    first, second = task(), task()
    told = Ended()
    with fail_after(TIMEOUT):
        async with peer(adapter, store) as gateway, create_task_group() as tg:
            listen(tg, store, ONE, told)
            await gateway.create([first, second])
            await store.start([first, second], ONE, attempts=MANY)
            await store.release([ReleasedTask(task_id=one.id, attempt=1) for one in (first, second)])
            assert remembered(store) == 0
            await gateway.finish([cancelled(first), cancelled(second)])
            await settled(store)
            assert told[ONE] == []
            tg.cancel_scope.cancel()


async def test_only_the_run_that_was_handed_back_is_forgotten(store: ResultStore) -> None:
    one = task()
    with fail_after(TIMEOUT):
        await store.create([one])
        await store.start([one], ONE, attempts=MANY)
        await store.start([one], TWO, attempts=MANY)
        assert await store.release([ReleasedTask(task_id=one.id, attempt=1)]) == [False]
        assert remembered(store) == 1
        await store.finish([cancelled(one)])
        assert await store.next_ended(TWO) == [one.id]


async def test_an_ending_is_not_reported_again_after_a_reset(store: ResultStore) -> None:
    """The ending was not read before the task was reset and started again here."""
    one, told = task(), Ended()
    with fail_after(TIMEOUT):
        await store.create([one])
        await store.start([one], ONE, attempts=MANY)
        await store.finish([replace(death(one), instance=TWO)])
        await settled(store)
        await store.reset([one])
        assert await store.start([one], ONE, attempts=MANY) == [Start(TaskState.RUNNING, 2)]
        async with create_task_group() as tg:
            listen(tg, store, ONE, told)
            await settled(store)
            assert told[ONE] == []
            tg.cancel_scope.cancel()


async def test_a_cancellation_that_races_with_the_start_is_never_missed(adapter: Adapter, store: ResultStore) -> None:
    """Whichever comes first: the task is not started, or its instance is told."""
    with fail_after(TIMEOUT):
        async with peer(adapter, store) as gateway:
            for nth in range(60):
                one = task()
                await gateway.create([one])
                starts: list[Start] = []

                async def start(one: Task = one, starts: list[Start] = starts) -> None:
                    starts.extend(await store.start([one], ONE, attempts=MANY))

                async with create_task_group() as tg:
                    if nth % 2:
                        tg.start_soon(start)
                    tg.start_soon(gateway.finish, [cancelled(one)])
                    if not nth % 2:
                        tg.start_soon(start)
                if starts[0].state is TaskState.RUNNING:
                    assert await store.next_ended(ONE) == [one.id]
                assert remembered(store) == 0


async def test_a_cancellation_that_races_with_the_outcome_leaves_one_winner(
    adapter: Adapter, store: ResultStore
) -> None:
    told = Ended()
    with fail_after(TIMEOUT):
        async with peer(adapter, store) as gateway, create_task_group() as listening:
            listen(listening, store, ONE, told)
            for nth in range(60):
                one = task(reply_channel=gateway.channel)
                await gateway.create([one])
                await store.start([one], ONE, attempts=MANY)
                counted: dict[TaskState, bool] = {}

                async def finish(by: ResultStore, outcome: Outcome, counted: dict[TaskState, bool] = counted) -> None:
                    (counted[outcome.state],) = await by.finish([outcome])

                async with create_task_group() as tg:
                    racers: Sequence[tuple[ResultStore, Outcome]] = ((store, success(one)), (gateway, cancelled(one)))
                    for by, outcome in racers if nth % 2 else reversed(racers):
                        tg.start_soon(finish, by, outcome)
                winner = (await record_of(store, one)).state
                assert counted == {state: state is winner for state in (TaskState.SUCCEEDED, TaskState.CANCELLED)}
                await settled(store)
                assert remembered(store) == 0
                # Told of it or not, an instance whose outcome was dropped knows; one whose outcome counts hears nothing.
                assert winner is TaskState.CANCELLED or one.id not in told[ONE]
            listening.cancel_scope.cancel()


async def test_handing_back_races_with_a_start_elsewhere(adapter: Adapter, store: ResultStore) -> None:
    with fail_after(TIMEOUT):
        async with peer(adapter, store) as other:
            for nth in range(40):
                one = task()
                await store.create([one])
                await store.start([one], ONE, attempts=MANY)
                waits: list[bool] = []

                async def release(one: Task = one, waits: list[bool] = waits) -> None:
                    waits.extend(await store.release([ReleasedTask(task_id=one.id, attempt=1)]))

                async def start(one: Task = one) -> None:
                    assert await other.start([one], TWO, attempts=MANY) == [Start(TaskState.RUNNING, 2)]

                async with create_task_group() as tg:
                    for racer in (release, start) if nth % 2 else (start, release):
                        tg.start_soon(racer)
                record = await record_of(store, one)
                assert (record.state, record.attempt, record.instance) == (TaskState.RUNNING, 2, TWO)
                assert record.revision == (4 if waits == [True] else 3)
                await other.finish([cancelled(one)])
                assert await other.next_ended(TWO) == [one.id]


async def test_an_ended_call_cancelled_anywhere_loses_nothing(adapter: Adapter, store: ResultStore) -> None:
    with fail_after(TIMEOUT):
        async with peer(adapter, store) as gateway:
            nth, more = 0, True
            while more:
                nth += 1
                one = task()
                await gateway.create([one])
                await store.start([one], ONE, attempts=MANY)
                heard: list[TaskId] = []

                async def hear(heard: list[TaskId] = heard) -> None:
                    heard.extend(await store.next_ended(ONE))

                async with create_task_group() as tg:
                    tg.start_soon(gateway.finish, [cancelled(one)])
                    with move_on_after(5) as scope:
                        call = CancelledAt(hear(), nth, scope)
                        await call
                more = call.waits >= nth
                if not heard:
                    heard.extend(await store.next_ended(ONE))
                assert heard == [one.id]


async def test_a_start_cancelled_anywhere_leaves_nothing_behind(store: ResultStore) -> None:
    with fail_after(TIMEOUT):
        nth, more = 0, True
        while more:
            nth += 1
            one = task()
            await store.create([one])
            with move_on_after(5) as scope:
                call = CancelledAt(store.start([one], ONE, attempts=MANY), nth, scope)
                await call
            more = call.waits >= nth
            assert remembered(store) == (0 if scope.cancelled_caught else 1)
            await store.finish([success(one)])
        assert remembered(store) == 0


async def test_a_finish_cancelled_anywhere_keeps_its_run_in_mind(adapter: Adapter, store: ResultStore) -> None:
    """Whether it was carried out is unknown, so the end is reported to the run, whatever caused it."""
    with fail_after(TIMEOUT):
        async with peer(adapter, store) as gateway:
            nth, more = 0, True
            while more:
                nth += 1
                one = task()
                await store.create([one])
                await store.start([one], ONE, attempts=MANY)
                with move_on_after(5) as scope:
                    call = CancelledAt(store.finish([success(one)]), nth, scope)
                    await call
                more = call.waits >= nth
                if scope.cancelled_caught:
                    await gateway.finish([cancelled(one)])
                    assert await store.next_ended(ONE) == [one.id]
                assert remembered(store) == 0


def test_a_run_that_never_ends_does_not_stay_for_ever() -> None:
    started = RunningTasks[None]()
    ids = [new_task_id() for _ in range(LIMIT + 10)]
    with started.starting(ids) as call:
        started.begun(ONE, [(task_id, None) for task_id in ids], [Start(TaskState.RUNNING, 1)] * len(ids), call, 1.7e9)
    assert len(started) == LIMIT
    for task_id in ids:
        started.ended(task_id)
    assert len(started) == 0
    assert started.pop_ended(ONE) == ids[10:]
    for _ in range(2):
        with started.starting(ids) as call:
            for task_id in ids:
                started.ended(task_id)
            started.begun(
                ONE, [(task_id, None) for task_id in ids], [Start(TaskState.RUNNING, 1)] * len(ids), call, 1.7e9
            )
    assert len(started.pop_ended(ONE)) == LIMIT
    assert len(started) == 0


async def test_each_way_in_which_a_task_ends_elsewhere_is_reported(adapter: Adapter, store: ResultStore) -> None:
    """Expired, dead, failed elsewhere: the run is not needed any more."""
    tasks = [task() for _ in range(3)]
    with fail_after(TIMEOUT):
        async with peer(adapter, store) as other:
            await store.create(tasks)
            await store.start(tasks, ONE, attempts=MANY)
            expired = replace(cancelled(tasks[0]), state=TaskState.EXPIRED)
            await other.finish([expired, replace(death(tasks[1]), instance=TWO), failure(tasks[2])])
            told: list[TaskId] = []
            while len(told) < 3:
                told += await store.next_ended(ONE)
            assert told == [one.id for one in tasks]
