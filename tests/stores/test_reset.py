"""The one way out of a terminal state."""

from __future__ import annotations

from dataclasses import replace

import pytest
from anyio import create_task_group, fail_after

from hub.ports.result_store import Missing, ReleasedTask, ResultStore, Start
from hub.task import TaskRecord
from hub.types import Fingerprint, TaskState
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


async def test_a_dead_task_is_queued_again_with_all_its_attempts_before_it(store: ResultStore) -> None:
    one = task()
    with fail_after(TIMEOUT):
        await store.create([one])
        await store.start([one], ONE, attempts=2)
        await store.release([ReleasedTask(task_id=one.id, attempt=1, retry_at=1.7e9)])
        for _ in range(2):
            await store.start([one], ONE, attempts=2)
        await store.report([said(one, 3)])
        assert await store.finish([death(one)]) == [True]
        dead = await record_of(store, one)
        assert await store.reset([one]) == [True]
        assert timeless(await record_of(store, one)) == timeless(
            replace(dead, state=TaskState.QUEUED, revision=dead.revision + 1, outcome=None, retries=0, progress=None)
        )
        assert await store.start([one], TWO, attempts=2) == [Start(TaskState.RUNNING, 4)]
        assert await store.start([one], TWO, attempts=2) == [Start(TaskState.RUNNING, 5)]
        assert await store.start([one], TWO, attempts=2) == [Start(TaskState.QUEUED, 5)]
        assert await store.finish([success(one)]) == [True]
        assert (await record_of(store, one)).state is TaskState.SUCCEEDED


async def test_a_reset_task_is_as_in_its_message(store: ResultStore) -> None:
    """A replay may give it more time, or come after a repair of the contract."""
    one = task(key="order-7", deadline=1.71e9)
    repaired = replace(one, deadline=1.8e9, fingerprint=Fingerprint("a" * 64), body=b"repaired", result_ttl=120.0)
    with fail_after(TIMEOUT):
        await store.create([one])
        await store.finish([death(one)])
        assert await store.reset([repaired]) == [True]
        record = await record_of(store, one)
        assert (record.deadline, record.fingerprint, record.digest) == (1.8e9, "a" * 64, repaired.digest)
        assert record.expires_at == record.updated_at + 120.0
        assert not record.pending
        assert await store.start([one, repaired], ONE, attempts=1) == [Start(None, 0), Start(TaskState.RUNNING, 1)]


async def test_a_forgotten_task_is_queued_again(store: ResultStore) -> None:
    one, withdrawn = task(key="order-7"), task()
    with fail_after(TIMEOUT):
        await store.create([withdrawn])
        await store.withdraw([withdrawn])
        assert await store.reset([one, withdrawn]) == [True, True]
        assert timeless(await record_of(store, one)) == TaskRecord(
            id=one.id,
            model=one.model,
            state=TaskState.QUEUED,
            revision=1,
            attempt=0,
            instance=None,
            fingerprint=one.fingerprint,
            created_at=one.created_at,
            updated_at=0.0,
            deadline=None,
            expires_at=0.0,
            outcome=None,
            digest=one.digest,
        )
        assert await store.start([one, withdrawn], ONE, attempts=1) == [Start(TaskState.RUNNING, 1)] * 2


async def test_a_dead_task_whose_record_has_expired_is_queued_again(store: ResultStore) -> None:
    dead, well = task(result_ttl=0.005), task(result_ttl=0.005)
    with fail_after(TIMEOUT):
        await store.create([dead, well])
        await store.finish([death(dead), success(well)])
        for one in (dead, well):
            while isinstance((await store.fetch([one.id]))[0], TaskRecord):
                pass
        assert await store.reset([dead, well]) == [True, False]
        assert await store.fetch([well.id]) == [Missing.GONE]
        assert await store.start([dead, well], ONE, attempts=1) == [
            Start(TaskState.RUNNING, 1),
            Start(TaskState.SUCCEEDED, 0),
        ]


@pytest.mark.parametrize("state", ["queued", "running", "handed back", "succeeded", "failed", "cancelled"])
async def test_what_is_not_dead_is_not_revived(store: ResultStore, state: str) -> None:
    one = task()
    with fail_after(TIMEOUT):
        await store.create([one])
        if state != "queued":
            await store.start([one], ONE, attempts=MANY)
        match state:
            case "handed back":
                await store.release([ReleasedTask(task_id=one.id, attempt=1)])
            case "succeeded":
                await store.finish([success(one)])
            case "failed":
                await store.finish([failure(one)])
            case "cancelled":
                await store.finish([cancelled(one)])
            case _:
                pass
        before = await record_of(store, one)
        assert await store.reset([one]) == [False]
        assert await record_of(store, one) == before


async def test_reviving_once_more_before_the_task_has_begun_changes_nothing(store: ResultStore) -> None:
    """A call that was lost may be repeated: the caller of a reset still has to publish the task."""
    one = task()
    with fail_after(TIMEOUT):
        await store.create([one])
        await store.finish([death(one)])
        assert await store.reset([one]) == [True]
        before = await record_of(store, one)
        assert await store.reset([one]) == [True]
        assert await record_of(store, one) == before
        await store.start([one], ONE, attempts=1)
        assert await store.reset([one]) == [False]
        await store.release([ReleasedTask(task_id=one.id, attempt=1)])
        assert await store.reset([one]) == [False]


async def test_a_task_may_die_and_be_revived_many_times(store: ResultStore) -> None:
    one = task()
    with fail_after(TIMEOUT):
        await store.create([one])
        for nth in range(1, 6):
            assert await store.start([one], ONE, attempts=1) == [Start(TaskState.RUNNING, nth)]
            assert await store.start([one], ONE, attempts=1) == [Start(TaskState.QUEUED, nth)]
            assert await store.finish([replace(death(one), attempt=nth)]) == [True]
            assert await store.reset([one]) == [True]


async def test_a_wait_for_a_dead_task_returns_on_its_reset(adapter: Adapter, store: ResultStore) -> None:
    one = task()
    heard: list[object] = []

    async def wait() -> None:
        heard.append(await store.wait_for_change(one.id, after=2))

    with fail_after(TIMEOUT):
        async with peer(adapter, store) as other, create_task_group() as tg:
            await other.create([one])
            await other.finish([death(one)])
            tg.start_soon(wait)
            await until_waiting(store, 1)
            await other.reset([one])
        assert heard == [await record_of(store, one)]


async def test_of_racing_revivals_all_agree_and_one_changes_the_record(adapter: Adapter, store: ResultStore) -> None:
    one = task()
    told: list[bool] = []

    async def reset(by: ResultStore) -> None:
        told.extend(await by.reset([one]))

    with fail_after(TIMEOUT):
        async with peer(adapter, store) as other:
            await store.create([one])
            await store.finish([death(one)])
            async with create_task_group() as tg:
                for index in range(10):
                    tg.start_soon(reset, (store, other)[index % 2])
        assert told == [True] * 10
        assert (await record_of(store, one)).revision == 3
