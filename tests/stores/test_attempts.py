"""Attempts are counted, limited, and handed back, whichever adapter keeps the count."""

from __future__ import annotations

import pytest
from anyio import create_task_group, fail_after

from hub.ports.result_store import ReleasedTask, ResultStore, Start
from hub.task import TaskRecord
from hub.types import TaskState, new_task_id
from tests.stores.helpers import (
    MANY,
    ONE,
    TIMEOUT,
    TWO,
    Adapter,
    cancelled,
    death,
    failure,
    record_of,
    said,
    success,
    task,
    timeless,
)
from tests.stores.test_waiting import peer, until_waiting


async def test_a_task_whose_attempts_are_used_up_is_left_as_it_is(store: ResultStore) -> None:
    one = task()
    with fail_after(TIMEOUT):
        await store.create([one])
        assert await store.start([one], ONE, attempts=2) == [Start(TaskState.RUNNING, 1)]
        assert await store.start([one], TWO, attempts=2) == [Start(TaskState.RUNNING, 2)]
        before = await record_of(store, one)
        assert await store.start([one], ONE, attempts=2) == [Start(TaskState.QUEUED, 2)]
        assert await record_of(store, one) == before
        assert await store.start([one], ONE, attempts=3) == [Start(TaskState.RUNNING, 3)]


async def test_a_run_that_was_handed_back_is_not_counted_against_the_attempts(store: ResultStore) -> None:
    one = task()
    with fail_after(TIMEOUT):
        await store.create([one])
        for attempt in (1, 2, 3):
            assert await store.start([one], ONE, attempts=1) == [Start(TaskState.RUNNING, attempt)]
            assert await store.start([one], ONE, attempts=1) == [Start(TaskState.QUEUED, attempt)]
            assert await store.release([ReleasedTask(task_id=one.id, attempt=attempt)]) == [True]
        assert await store.start([one], ONE, attempts=1) == [Start(TaskState.RUNNING, 4)]


async def test_a_run_that_is_handed_back_leaves_a_queued_task(store: ResultStore) -> None:
    one = task(deadline=1.8e9)
    with fail_after(TIMEOUT):
        await store.create([one])
        await store.start([one], ONE, attempts=MANY)
        await store.report([said(one, 1)])
        assert await store.release([ReleasedTask(task_id=one.id, attempt=1)]) == [True]
        assert timeless(await record_of(store, one)) == TaskRecord(
            id=one.id,
            model=one.model,
            state=TaskState.QUEUED,
            revision=4,
            attempt=1,
            instance=ONE,
            fingerprint=one.fingerprint,
            created_at=one.created_at,
            updated_at=0.0,
            deadline=1.8e9,
            expires_at=0.0,
            outcome=None,
        )


async def test_a_run_released_for_a_retry_counts_as_one_and_has_its_time(store: ResultStore) -> None:
    one = task()
    with fail_after(TIMEOUT):
        await store.create([one])
        await store.start([one], ONE, attempts=1)
        assert await store.release([ReleasedTask(task_id=one.id, attempt=1, retry_at=1.7e9 + 0.125)]) == [True]
        record = await record_of(store, one)
        assert (record.state, record.retries, record.retry_at) == (TaskState.QUEUED, 1, 1.7e9 + 0.125)
        assert await store.start([one], TWO, attempts=1) == [Start(TaskState.RUNNING, 2, 1)]
        record = await record_of(store, one)
        assert (record.state, record.retries, record.retry_at) == (TaskState.RUNNING, 1, None)
        assert await store.release([ReleasedTask(task_id=one.id, attempt=2)]) == [True]
        record = await record_of(store, one)
        assert (record.state, record.retries, record.retry_at) == (TaskState.QUEUED, 1, None)
        assert await store.start([one], ONE, attempts=1) == [Start(TaskState.RUNNING, 3, 1)]
        assert await store.start([one], ONE, attempts=1) == [Start(TaskState.QUEUED, 3, 1)]


async def test_a_retry_that_is_cancelled_while_it_waits_is_to_run_no_more(store: ResultStore) -> None:
    one = task()
    with fail_after(TIMEOUT):
        await store.create([one])
        await store.start([one], ONE, attempts=1)
        await store.release([ReleasedTask(task_id=one.id, attempt=1, retry_at=1.7e9)])
        assert await store.finish([cancelled(one)]) == [True]
        record = await record_of(store, one)
        assert (record.state, record.retries, record.retry_at) == (TaskState.CANCELLED, 1, None)
        assert await store.start([one], ONE, attempts=1) == [Start(TaskState.CANCELLED, 1, 1)]


async def test_handing_back_once_more_changes_nothing(store: ResultStore) -> None:
    one = task()
    run = ReleasedTask(task_id=one.id, attempt=1, retry_at=1.7e9)
    with fail_after(TIMEOUT):
        await store.create([one])
        await store.start([one], ONE, attempts=1)
        assert await store.release([run]) == [True]
        before = await record_of(store, one)
        assert await store.release([run]) == [True]
        assert await record_of(store, one) == before
        await store.start([one], ONE, attempts=1)
        assert await store.start([one], ONE, attempts=1) == [Start(TaskState.QUEUED, 2, 1)]


async def test_a_later_run_is_not_disturbed_by_one_that_is_handed_back(store: ResultStore) -> None:
    one = task()
    with fail_after(TIMEOUT):
        await store.create([one])
        await store.start([one], ONE, attempts=MANY)
        await store.start([one], TWO, attempts=MANY)
        before = await record_of(store, one)
        assert await store.release([ReleasedTask(task_id=one.id, attempt=1, retry_at=1.7e9)]) == [False]
        assert await record_of(store, one) == before
        assert await store.release([ReleasedTask(task_id=one.id, attempt=2)]) == [True]
        # The later run answers for the message that is on its way, so the earlier one still does not.
        assert await store.release([ReleasedTask(task_id=one.id, attempt=1)]) == [False]


@pytest.mark.parametrize("outcome", [success, failure, cancelled, death])
async def test_a_task_that_has_ended_is_not_handed_back(store: ResultStore, outcome: object) -> None:
    one = task()
    assert callable(outcome)
    with fail_after(TIMEOUT):
        await store.create([one])
        await store.start([one], ONE, attempts=MANY)
        await store.finish([outcome(one)])
        before = await record_of(store, one)
        assert await store.release([ReleasedTask(task_id=one.id, attempt=1)]) == [False]
        assert await record_of(store, one) == before


async def test_a_task_without_a_record_waits_for_another_run(store: ResultStore) -> None:
    """The store may have lost its data; the message is still there, and must not be thrown away."""
    with fail_after(TIMEOUT):
        assert await store.release([ReleasedTask(task_id=new_task_id(), attempt=1)]) == [True]


async def test_a_withdrawn_task_waits_for_no_run(store: ResultStore) -> None:
    one = task()
    with fail_after(TIMEOUT):
        await store.withdraw([one])
        assert await store.release([ReleasedTask(task_id=one.id, attempt=1)]) == [False]


async def test_a_waiting_call_returns_when_a_run_is_released(adapter: Adapter, store: ResultStore) -> None:
    one = task()
    heard: list[object] = []

    async def wait() -> None:
        heard.append(await store.wait_for_change(one.id, after=2))

    with fail_after(TIMEOUT):
        async with peer(adapter, store) as other, create_task_group() as tg:
            await other.create([one])
            await other.start([one], ONE, attempts=MANY)
            tg.start_soon(wait)
            await until_waiting(store, 1)
            await other.release([ReleasedTask(task_id=one.id, attempt=1)])
        assert heard == [await record_of(store, one)]


async def test_runs_are_handed_back_in_groups(store: ResultStore) -> None:
    tasks = [task() for _ in range(150)]
    with fail_after(TIMEOUT):
        await store.create(tasks)
        await store.start(tasks, ONE, attempts=1)
        await store.finish([success(tasks[70])])
        told = await store.release([ReleasedTask(task_id=one.id, attempt=1) for one in tasks])
        assert told == [one is not tasks[70] for one in tasks]
