"""What a store knows of a task, whichever adapter keeps it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from anyio import fail_after

from hub.ports.result_store import Missing, ResultStore, Start
from hub.stores import StoreOptions
from hub.task import TaskRecord
from hub.types import TaskState, new_task_id
from tests.stores.helpers import MANY, ONE, TIMEOUT, TWO, Adapter, failure, record_of, success, task, timeless


async def test_a_created_task_is_queued(adapter: Adapter) -> None:
    one = task(deadline=1.8e9, result_ttl=3600.0)
    with fail_after(TIMEOUT):
        async with adapter.open(StoreOptions(clock=lambda: 1234567890.123456)) as store:
            assert await store.create([one]) == [None]
            assert await store.fetch([one.id]) == [
                TaskRecord(
                    id=one.id,
                    model=one.model,
                    state=TaskState.QUEUED,
                    revision=1,
                    attempt=0,
                    instance=None,
                    fingerprint=one.fingerprint,
                    created_at=one.created_at,
                    updated_at=1234567890.123456,
                    deadline=1.8e9,
                    expires_at=1234567890.123456 + 3600.0,
                    outcome=None,
                )
            ]


async def test_a_record_is_never_written_over(store: ResultStore) -> None:
    one = task()
    with fail_after(TIMEOUT):
        await store.create([one])
        await store.start([one], ONE, attempts=MANY)
        before = await record_of(store, one)
        assert await store.create([replace(one, body=b"another", deadline=1.9e9)]) == [before]
        assert await record_of(store, one) == before


async def test_a_group_is_answered_in_its_order(store: ResultStore) -> None:
    tasks = [task() for _ in range(150)]
    there = tasks[70]
    with fail_after(TIMEOUT):
        await store.create([there])
        created = await store.create(tasks)
        assert [found is None for found in created] == [one is not there for one in tasks]
        assert await store.start(tasks, ONE, attempts=MANY) == [Start(TaskState.RUNNING, 1)] * 150
        outcomes = [success(one, str(index).encode()) for index, one in enumerate(tasks)]
        assert await store.finish(outcomes) == [True] * 150
        found = await store.fetch([one.id for one in tasks])
        assert [record.outcome for record in found if isinstance(record, TaskRecord)] == outcomes


async def test_one_id_may_stand_twice_in_a_group(store: ResultStore) -> None:
    one = task()
    with fail_after(TIMEOUT):
        first, second = await store.create([one, one])
        assert (first, second) == (None, await record_of(store, one))
        assert await store.finish([success(one, b"first"), success(one, b"second")]) == [True, False]


async def test_an_empty_group_is_no_call(store: ResultStore) -> None:
    with fail_after(TIMEOUT):
        assert await store.create([]) == []
        assert await store.fetch([]) == []
        assert await store.finish([]) == []
        assert await store.start([], ONE, attempts=MANY) == []
        await store.withdraw([])


async def test_each_start_counts_an_attempt(store: ResultStore) -> None:
    one = task()
    with fail_after(TIMEOUT):
        await store.create([one])
        assert await store.start([one], ONE, attempts=MANY) == [Start(TaskState.RUNNING, 1)]
        assert await store.start([one], TWO, attempts=MANY) == [Start(TaskState.RUNNING, 2)]
        record = await record_of(store, one)
        assert (record.state, record.attempt, record.instance, record.revision) == (TaskState.RUNNING, 2, TWO, 3)


async def test_the_first_terminal_outcome_wins(store: ResultStore) -> None:
    one = task()
    with fail_after(TIMEOUT):
        await store.create([one])
        await store.start([one], ONE, attempts=MANY)
        assert await store.finish([failure(one)]) == [True]
        before = await record_of(store, one)
        assert await store.finish([success(one)]) == [False]
        assert await record_of(store, one) == before
        assert (before.state, before.revision, before.outcome) == (TaskState.FAILED, 3, failure(one))
        assert store.statistics().dropped_outcomes == 1


async def test_the_same_outcome_once_more_still_counts(store: ResultStore) -> None:
    one = task()
    with fail_after(TIMEOUT):
        await store.create([one])
        assert await store.finish([success(one)]) == [True]
        before = await record_of(store, one)
        assert await store.finish([success(one)]) == [True]
        assert await record_of(store, one) == before
        assert store.statistics().dropped_outcomes == 0


@pytest.mark.parametrize(
    "body", [b"", b"\x00\xff\r\n$-1\r\n", "größer".encode(), bytes(2_000_000)], ids=["empty", "binary", "text", "2 MB"]
)
async def test_an_outcome_comes_back_byte_by_byte(store: ResultStore, body: bytes) -> None:
    one = task()
    with fail_after(TIMEOUT):
        await store.create([one])
        await store.finish([success(one, body)])
        assert (await record_of(store, one)).outcome == success(one, body)


async def test_a_task_that_has_ended_is_not_started(store: ResultStore) -> None:
    one = task()
    with fail_after(TIMEOUT):
        await store.create([one])
        await store.start([one], ONE, attempts=MANY)
        await store.finish([failure(one)])
        before = await record_of(store, one)
        assert await store.start([one], TWO, attempts=MANY) == [Start(TaskState.FAILED, 1)]
        assert await record_of(store, one) == before


async def test_a_withdrawn_task_is_unknown_and_is_not_started(store: ResultStore) -> None:
    one, other = task(), task()
    with fail_after(TIMEOUT):
        await store.create([one, other])
        await store.withdraw([one])
        await store.withdraw([one])
        assert (await store.fetch([one.id, other.id]))[0] is Missing.UNKNOWN
        assert await store.start([one, other], ONE, attempts=MANY) == [Start(None, 0), Start(TaskState.RUNNING, 1)]
        assert await store.finish([success(one)]) == [False]
        assert await store.fetch([one.id]) == [Missing.UNKNOWN]


async def test_a_task_whose_record_was_never_written_can_be_withdrawn(store: ResultStore) -> None:
    one = task()
    with fail_after(TIMEOUT):
        await store.withdraw([one])
        assert await store.start([one], ONE, attempts=MANY) == [Start(None, 0)]


async def test_a_withdrawn_task_can_be_created_again(store: ResultStore) -> None:
    one = task()
    with fail_after(TIMEOUT):
        await store.create([one])
        await store.withdraw([one])
        assert await store.create([one]) == [None]
        assert await store.start([one], ONE, attempts=MANY) == [Start(TaskState.RUNNING, 1)]


@pytest.mark.parametrize("ended", [False, True])
async def test_what_is_not_queued_any_more_cannot_be_withdrawn(store: ResultStore, ended: bool) -> None:
    one = task()
    with fail_after(TIMEOUT):
        await store.create([one])
        await store.start([one], ONE, attempts=MANY)
        if ended:
            await store.finish([success(one)])
        before = await record_of(store, one)
        await store.withdraw([one])
        assert await record_of(store, one) == before


async def test_a_task_whose_record_vanished_gets_a_new_one_when_it_starts(store: ResultStore) -> None:
    one = task(deadline=1.8e9)
    with fail_after(TIMEOUT):
        assert await store.start([one], ONE, attempts=MANY) == [Start(TaskState.RUNNING, 1)]
        record = await record_of(store, one)
        assert timeless(record) == TaskRecord(
            id=one.id,
            model=one.model,
            state=TaskState.RUNNING,
            revision=2,
            attempt=1,
            instance=ONE,
            fingerprint=one.fingerprint,
            created_at=one.created_at,
            updated_at=0.0,
            deadline=1.8e9,
            expires_at=0.0,
            outcome=None,
        )
        assert await store.finish([success(one)]) == [True]


async def test_an_outcome_of_an_unknown_task_is_dropped(store: ResultStore) -> None:
    one = task()
    with fail_after(TIMEOUT):
        assert await store.finish([success(one)]) == [False]
        assert await store.fetch([one.id, new_task_id()]) == [Missing.UNKNOWN, Missing.UNKNOWN]


async def test_an_expired_record_is_gone_and_its_task_does_not_run_again(store: ResultStore) -> None:
    one = task(result_ttl=0.005)
    with fail_after(TIMEOUT):
        await store.create([one])
        await store.finish([failure(one)])
        while isinstance((await store.fetch([one.id]))[0], TaskRecord):
            pass
        assert await store.fetch([one.id]) == [Missing.GONE]
        assert await store.start([one], ONE, attempts=MANY) == [Start(TaskState.FAILED, 0)]
        assert await store.finish([success(one)]) == [False]
        assert await store.fetch([one.id]) == [Missing.GONE]


async def test_a_task_that_has_not_ended_outlives_the_time_its_outcome_is_kept(store: ResultStore) -> None:
    queued, running, ended = (task(result_ttl=0.005) for _ in range(3))
    with fail_after(TIMEOUT):
        await store.create([queued, running, ended])
        await store.start([running], ONE, attempts=MANY)
        await store.finish([success(ended)])
        while isinstance((await store.fetch([ended.id]))[0], TaskRecord):
            pass
        assert (await record_of(store, queued)).state is TaskState.QUEUED
        assert (await record_of(store, running)).state is TaskState.RUNNING


async def test_every_change_moves_the_expiry_forward(adapter: Adapter) -> None:
    one = task(result_ttl=100.0)
    now = 1000.0
    seen: list[tuple[int, float, float]] = []
    with fail_after(TIMEOUT):
        async with adapter.open(StoreOptions(clock=lambda: now)) as store:
            await store.create([one])
            for step in (0, 1, 2):
                record = await record_of(store, one)
                seen.append((record.revision, record.updated_at, record.expires_at))
                now += 10.0
                if step == 0:
                    await store.start([one], ONE, attempts=MANY)
                else:
                    await store.finish([success(one)])
    assert seen == [(1, 1000.0, 1100.0), (2, 1010.0, 1110.0), (3, 1020.0, 1120.0)]


async def test_two_processes_see_the_same_records(adapter: Adapter, store: ResultStore) -> None:
    one = task()
    with fail_after(TIMEOUT):
        async with adapter.open() as other:
            await store.create([one])
            expected: object = await record_of(store, one) if adapter.shared else Missing.UNKNOWN
            assert await other.fetch([one.id]) == [expected]
            assert store.channel != other.channel
