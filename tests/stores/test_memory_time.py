"""Lifetimes of the store in memory, in virtual time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import anyio
import pytest
import trio.testing

from hub.ports.result_store import Missing, ReleasedTask, Start
from hub.stores import StoreOptions
from hub.stores.memory.store import MemoryStore
from hub.stores.options import TOMBSTONE_TTL, UNFINISHED_TTL
from hub.task import TaskRecord
from hub.types import DEFAULT_RESULT_TTL, PENDING_TTL, TaskState
from tests.stores.helpers import MANY, ONE, cancelled, death, record_of, said, success, task


@pytest.fixture(scope="module")
def anyio_backend() -> object:
    return ("trio", {"clock": trio.testing.MockClock(autojump_threshold=0)})


@pytest.fixture
async def store() -> AsyncIterator[MemoryStore]:
    async with MemoryStore(StoreOptions(clock=lambda: 1.7e9 + anyio.current_time())) as opened:
        yield opened


async def test_an_outcome_is_kept_for_a_day_and_known_to_be_gone_for_another(store: MemoryStore) -> None:
    one = task(result_ttl=DEFAULT_RESULT_TTL)
    await store.create([one])
    await anyio.sleep(3600)
    await store.finish([success(one)])
    record = await record_of(store, one)
    assert record.expires_at - record.updated_at == DEFAULT_RESULT_TTL
    await anyio.sleep(DEFAULT_RESULT_TTL - 1)
    assert await record_of(store, one) == record
    await anyio.sleep(1)
    assert await store.fetch([one.id]) == [Missing.GONE]
    assert await store.start([one], ONE, attempts=MANY) == [Start(TaskState.SUCCEEDED, 0)]
    await anyio.sleep(TOMBSTONE_TTL - 1)
    assert await store.fetch([one.id]) == [Missing.GONE]
    await anyio.sleep(1)
    assert await store.fetch([one.id]) == [Missing.UNKNOWN]


async def test_a_queued_task_waits_for_a_week(store: MemoryStore) -> None:
    one = task(result_ttl=1.0)
    await store.create([one])
    await anyio.sleep(UNFINISHED_TTL - 1)
    assert (await record_of(store, one)).state is TaskState.QUEUED
    await anyio.sleep(1)
    assert await store.fetch([one.id]) == [Missing.GONE]
    assert await store.start([one], ONE, attempts=MANY) == [Start(TaskState.RUNNING, 1)]


async def test_a_submit_that_was_left_behind_is_written_over_after_a_while(store: MemoryStore) -> None:
    one = task(key="order-7")
    again = replace(one, body=b"another", created_at=one.created_at + PENDING_TTL)
    await store.create([one])
    await anyio.sleep(PENDING_TTL - 1)
    assert await store.create([again]) == [await record_of(store, one)]
    await anyio.sleep(1)
    assert await store.create([again]) == [None]
    record = await record_of(store, one)
    assert (record.pending, record.digest, record.created_at) == (True, again.digest, again.created_at)
    assert record.revision == 2, "the change is counted, for a call that waits for the first submit"
    assert await store.create([one]) == [record]
    await store.withdraw([one])
    assert await record_of(store, one) == record, "the first submit takes nothing back that is not its own"
    assert await store.start([one], ONE, attempts=1) == [Start(None, 0)]
    await anyio.sleep(PENDING_TTL)
    assert await store.create([one]) == [None], "the second one may be left behind too"


@pytest.mark.parametrize("touch", ["accepted", "started", "handed back", "ended", "reset"])
async def test_only_what_is_pending_is_written_over(store: MemoryStore, touch: str) -> None:
    one = task(key="order-7", result_ttl=DEFAULT_RESULT_TTL)
    await store.create([one])
    match touch:
        case "accepted":
            await store.confirm([one])
        case "started" | "handed back":
            await store.start([one], ONE, attempts=1)
            if touch == "handed back":
                await store.release([ReleasedTask(task_id=one.id, attempt=1)])
        case _:
            await store.finish([death(one)])
            if touch == "reset":
                await store.reset([one])
    await anyio.sleep(2 * PENDING_TTL)
    before = await record_of(store, one)
    assert await store.create([replace(one, created_at=2e9)]) == [before]


async def test_a_wait_for_a_submit_returns_when_another_one_replaces_it(store: MemoryStore) -> None:
    one = task(key="order-7")
    await store.create([one])
    await anyio.sleep(PENDING_TTL)
    heard: list[object] = []

    async def wait() -> None:
        heard.append(await store.wait_for_change(one.id, after=1))

    async with anyio.create_task_group() as tg:
        tg.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        await store.create([replace(one, created_at=2e9)])
    assert heard == [await record_of(store, one)]


async def test_hand_backs_and_reports_keep_a_task_alive(store: MemoryStore) -> None:
    one = task(result_ttl=1.0)
    await store.create([one])
    for attempt in (1, 2, 3):
        await anyio.sleep(UNFINISHED_TTL - 1)
        await store.start([one], ONE, attempts=1)
        await anyio.sleep(UNFINISHED_TTL - 1)
        await store.report([said(one, attempt)])
        await anyio.sleep(UNFINISHED_TTL - 1)
        await store.release([ReleasedTask(task_id=one.id, attempt=attempt)])
    assert (await record_of(store, one)).attempt == 3
    await anyio.sleep(UNFINISHED_TTL)
    assert await store.fetch([one.id]) == [Missing.GONE]
    await anyio.sleep(TOMBSTONE_TTL)
    assert await store.fetch([one.id]) == [Missing.UNKNOWN]


async def test_a_long_wait_for_an_ending_takes_no_time(store: MemoryStore) -> None:
    one = task()
    await store.create([one])
    await store.start([one], ONE, attempts=1)
    heard: list[object] = []

    async def wait() -> None:
        heard.append(await store.next_ended(ONE))

    async with anyio.create_task_group() as tg:
        tg.start_soon(wait)
        await anyio.sleep(5 * 24 * 3600)
        assert heard == []
        await store.finish([cancelled(one)])
    assert heard == [[one.id]]


async def test_a_longer_lifetime_than_a_week_holds_for_what_has_not_ended_too(store: MemoryStore) -> None:
    one = task(result_ttl=2 * UNFINISHED_TTL)
    await store.create([one])
    await anyio.sleep(2 * UNFINISHED_TTL - 1)
    assert (await record_of(store, one)).state is TaskState.QUEUED


async def test_a_withdrawal_is_remembered_as_long_as_a_message_may_wait(store: MemoryStore) -> None:
    one = task()
    await store.create([one])
    await store.withdraw([one])
    await anyio.sleep(UNFINISHED_TTL - 1)
    assert await store.start([one], ONE, attempts=MANY) == [Start(None, 0)]
    assert await store.fetch([one.id]) == [Missing.UNKNOWN]


async def test_what_has_expired_does_not_pile_up(store: MemoryStore) -> None:
    for _ in range(50):
        tasks = [task(result_ttl=60.0) for _ in range(10)]
        await store.create(tasks)
        await store.finish([success(one) for one in tasks])
        await anyio.sleep(UNFINISHED_TTL)
    assert len(store._records) < 60


async def test_a_long_wait_takes_no_time(store: MemoryStore) -> None:
    one = task()
    await store.create([one])
    heard: list[object] = []

    async def wait() -> None:
        heard.append(await store.wait_for_change(one.id, after=1, until_terminal=True))

    async with anyio.create_task_group() as tg:
        tg.start_soon(wait)
        await anyio.sleep(5 * 24 * 3600)
        assert heard == []
        await store.finish([success(one)])
    (record,) = heard
    assert isinstance(record, TaskRecord)
    assert record.state is TaskState.SUCCEEDED
