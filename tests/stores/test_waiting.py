"""Waiting for a task, whichever adapter wakes."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace

import anyio
import pytest
from anyio import create_task_group, fail_after, move_on_after
from anyio.abc import TaskGroup

from hub.ports.result_store import Missing, ResultStore
from hub.stores.waiters import MAX_EXPECTED
from hub.task import Failure, Outcome, Task, TaskRecord
from hub.types import TaskState, new_task_id
from tests.stores.helpers import MANY, ONE, TIMEOUT, Adapter, CancelledAt, record_of, success, task

LARGEST_PUBLISHED = 4096
"""Bytes of an outcome that `finish.lua` publishes with its record."""

Heard = dict[object, TaskRecord | Missing]


def hear(
    tg: TaskGroup, store: ResultStore, heard: Heard, key: object, of: Task, *, until_terminal: bool = True
) -> None:
    """Waits in `tg` for a change after the first revision."""

    async def wait() -> None:
        heard[key] = await store.wait_for_change(of.id, after=1, until_terminal=until_terminal)

    tg.start_soon(wait)


async def until_waiting(store: ResultStore, count: int) -> None:
    """Returns when `count` calls wait and have read their records, so that only a wake-up can end them."""
    while store.statistics().waiting != count:
        await anyio.wait_all_tasks_blocked()
    before = None
    while before != (before := store.statistics().commands):
        await store.fetch([new_task_id()])  # answered after every earlier command on the same link
        await anyio.wait_all_tasks_blocked()
        before = store.statistics().commands


@asynccontextmanager
async def peer(adapter: Adapter, store: ResultStore) -> AsyncGenerator[ResultStore]:
    """Another process with the same records; in memory there is no other process."""
    if adapter.shared:
        async with adapter.open() as other:
            yield other
    else:
        yield store


async def test_a_change_that_has_happened_is_answered_at_once(store: ResultStore) -> None:
    one = task()
    with fail_after(TIMEOUT):
        await store.create([one])
        await store.start([one], ONE, attempts=MANY)
        assert await store.wait_for_change(one.id, after=1) == await record_of(store, one)
        await store.finish([success(one)])
        assert await store.wait_for_change(one.id, after=1, until_terminal=True) == await record_of(store, one)
        assert store.statistics().waiting == 0


async def test_what_is_not_there_is_answered_at_once(store: ResultStore) -> None:
    withdrawn = task()
    with fail_after(TIMEOUT):
        await store.create([withdrawn])
        await store.withdraw([withdrawn])
        assert await store.wait_for_change(withdrawn.id, after=0) is Missing.UNKNOWN
        assert await store.wait_for_change(new_task_id(), after=0, until_terminal=True) is Missing.UNKNOWN


async def test_a_waiting_call_is_woken_by_another_process(adapter: Adapter, store: ResultStore) -> None:
    one, heard = task(), Heard()
    with fail_after(TIMEOUT):
        async with peer(adapter, store) as other, create_task_group() as tg:
            await other.create([one])
            hear(tg, store, heard, "any", one, until_terminal=False)
            hear(tg, store, heard, "end", one)
            await until_waiting(store, 2)
            await other.start([one], ONE, attempts=MANY)
            while "any" not in heard:
                await anyio.wait_all_tasks_blocked()
            assert "end" not in heard
            await other.finish([success(one)])
        first, last = heard["any"], heard["end"]
        assert isinstance(first, TaskRecord)
        assert (first.state, first.revision) == (TaskState.RUNNING, 2)
        assert last == await record_of(store, one)


async def test_the_reply_channel_of_a_task_is_notified_from_the_first_change_on(
    adapter: Adapter, store: ResultStore
) -> None:
    one, heard = task(reply_channel=store.channel), Heard()
    with fail_after(TIMEOUT):
        async with peer(adapter, store) as other, create_task_group() as tg:
            await other.create([one])
            hear(tg, store, heard, "end", one)
            await other.start([one], ONE, attempts=MANY)
            await other.finish([success(one)])
        assert heard["end"] == await record_of(store, one)


@pytest.mark.parametrize(("size", "reads"), [(10, 0), (LARGEST_PUBLISHED + 1, 1)], ids=["small", "larger"])
async def test_a_small_outcome_comes_with_the_notification_and_a_larger_one_is_read_once(
    adapter: Adapter, store: ResultStore, size: int, reads: int
) -> None:
    one, heard = task(reply_channel=store.channel), Heard()
    with fail_after(TIMEOUT):
        async with peer(adapter, store) as other, create_task_group() as tg:
            await store.create([one])
            hear(tg, store, heard, "end", one)
            await until_waiting(store, 1)
            await other.start([one], ONE, attempts=MANY)
            await other.finish([replace(success(one), body=bytes(range(256)) * (size // 256 + 1))])
        assert heard["end"] == await record_of(store, one)
    if adapter.shared:
        watched = store.statistics().calls.get("watch")
        assert (sum(watched.sizes.counts) if watched else 0) == reads


async def test_an_outcome_that_came_before_the_call_waits_is_not_read(adapter: Adapter, store: ResultStore) -> None:
    one = task(reply_channel=store.channel)
    with fail_after(TIMEOUT):
        async with peer(adapter, store) as other:
            await store.create([one])
            await other.start([one], ONE, attempts=MANY)
            await other.finish([success(one)])
            for _ in range(10):
                await store.fetch([one.id])  # the notification has come by then
            found = await store.wait_for_change(one.id, after=0, until_terminal=True)
            assert found == await record_of(store, one)
    if adapter.shared:
        assert "watch" not in store.statistics().calls


async def test_a_dead_task_that_was_reset_is_not_taken_for_the_outcome_that_came_before(
    adapter: Adapter, store: ResultStore
) -> None:
    one, heard = task(reply_channel=store.channel), Heard()
    with fail_after(TIMEOUT):
        async with peer(adapter, store) as other:
            await store.create([one])
            await other.start([one], ONE, attempts=MANY)
            dead = Outcome(
                task_id=one.id, state=TaskState.DEAD, failure=Failure(code="dead", message=""), finished_at=1.0
            )
            await other.finish([dead])
            await other.reset([one])
            for _ in range(10):
                await store.fetch([one.id])
            async with create_task_group() as tg:
                hear(tg, store, heard, "end", one)
                await until_waiting(store, 1)
                assert "end" not in heard
                await other.start([one], ONE, attempts=MANY)
                await other.finish([success(one)])
        assert heard["end"] == await record_of(store, one)


async def test_changes_between_a_submit_and_the_call_that_waits_for_it_are_not_missed(
    adapter: Adapter, store: ResultStore
) -> None:
    tasks = [task(reply_channel=store.channel) for _ in range(2 * MAX_EXPECTED)]
    with fail_after(TIMEOUT):
        async with peer(adapter, store) as other:
            await store.create(tasks)
            for one in (tasks[0], tasks[-1]):  # the changes of the first one are noted no longer
                await other.start([one], ONE, attempts=MANY)
                await other.finish([success(one)])
                for _ in range(10):
                    await store.fetch([one.id])
                assert await store.wait_for_change(one.id, after=0, until_terminal=True) == await record_of(store, one)


async def test_a_task_that_others_have_created_before_is_read_at_once(adapter: Adapter, store: ResultStore) -> None:
    one = task(key="order-7")
    with fail_after(TIMEOUT):
        async with peer(adapter, store) as other:
            await other.create([one])
            await other.confirm([one])
            await other.start([one], ONE, attempts=MANY)
            await other.finish([success(one)])
            again = replace(one, reply_channel=store.channel)
            assert await store.create([again]) == [await record_of(store, one)]
            assert await store.wait_for_change(one.id, after=0, until_terminal=True) == await record_of(store, one)


async def test_several_gateways_may_wait_for_one_task(adapter: Adapter, store: ResultStore) -> None:
    one, heard = task(reply_channel=store.channel), Heard()
    with fail_after(TIMEOUT):
        async with peer(adapter, store) as second, peer(adapter, store) as third, create_task_group() as tg:
            stores = (store, second, third)
            await store.create([one])
            for index, waiting in enumerate(stores):
                hear(tg, waiting, heard, index, one)
            for waiting in stores:
                await until_waiting(waiting, 1 if adapter.shared else 3)
            await third.finish([success(one)])
        assert list(heard.values()) == [await record_of(store, one)] * 3


async def test_a_waiting_call_returns_on_a_withdrawal(adapter: Adapter, store: ResultStore) -> None:
    one, heard = task(), Heard()
    with fail_after(TIMEOUT):
        async with peer(adapter, store) as other, create_task_group() as tg:
            await store.create([one])
            hear(tg, store, heard, "end", one)
            await until_waiting(store, 1)
            await other.withdraw([one])
        assert heard == {"end": Missing.UNKNOWN}


async def test_a_change_before_the_read_and_one_after_it_are_both_noticed(adapter: Adapter, store: ResultStore) -> None:
    """The change races with the call that waits for it, at every offset."""
    with fail_after(TIMEOUT):
        async with peer(adapter, store) as other:
            for _ in range(60):
                one, heard = task(), Heard()
                await store.create([one])
                async with create_task_group() as tg:
                    hear(tg, store, heard, "end", one)
                    tg.start_soon(other.finish, [success(one)])
                assert heard["end"] == await record_of(store, one)


async def test_many_wake_ups_cost_few_round_trips(adapter: Adapter, store: ResultStore) -> None:
    tasks = [task(reply_channel=store.channel) for _ in range(200)]
    heard = Heard()
    with fail_after(TIMEOUT):
        async with peer(adapter, store) as other, create_task_group() as tg:
            await other.create(tasks)
            for one in tasks:
                hear(tg, store, heard, one.id, one)
            await until_waiting(store, 200)
            before = store.statistics().flushes
            await other.finish([success(one) for one in tasks])
        assert len(heard) == 200
        assert store.statistics().flushes - before <= 20
        assert store.statistics().waiting == 0


async def test_no_call_is_woken_for_a_revision_that_is_not_new(store: ResultStore) -> None:
    one = task()
    with fail_after(TIMEOUT):
        await store.create([one])
        await store.start([one], ONE, attempts=MANY)
        with move_on_after(0.05):
            await store.wait_for_change(one.id, after=2)
            raise AssertionError("revision 2 is not higher than 2")
        assert store.statistics().waiting == 0


async def test_a_cancelled_wait_leaves_nothing_behind(adapter: Adapter, store: ResultStore) -> None:
    """Cancelled at its 1st, 2nd, 3rd ... checkpoint; other calls get their own answers all the while."""
    with fail_after(TIMEOUT):
        nth, cancelled = 0, True
        while cancelled:
            nth += 1
            one = task()
            await store.create([one])
            cancelled = await cancelled_wait(store, one, nth)
            assert store.statistics().waiting == 0
            assert (await record_of(store, one)).id == one.id
            async with peer(adapter, store) as other, create_task_group() as tg:
                heard = Heard()
                hear(tg, store, heard, "end", one)
                await other.finish([success(one)])
            assert heard["end"] == await record_of(store, one)
        assert nth > 2 or not adapter.shared


async def cancelled_wait(store: ResultStore, one: Task, nth: int) -> bool:
    """Whether the wait had an n-th checkpoint to be cancelled at, before the one at which only a wake-up helps."""
    with move_on_after(5) as scope:
        waiting = CancelledAt(store.wait_for_change(one.id, after=1), nth, scope)
        async with create_task_group() as tg:
            tg.start_soon(end_when_asleep, store, waiting, nth, scope)
            await waiting
            tg.cancel_scope.cancel()
    return waiting.waits >= nth


async def end_when_asleep(store: ResultStore, waiting: CancelledAt, nth: int, scope: anyio.CancelScope) -> None:
    await until_waiting(store, 1)
    if waiting.waits < nth:
        scope.cancel()
