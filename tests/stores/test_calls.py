"""Contract of the `ResultStore` port: how long calls take, and what they carry, is counted by operation."""

from __future__ import annotations

import pytest
from anyio import create_task_group, fail_after

from hub.ports.result_store import ProgressReport, ResultStore
from hub.stores import StoreOptions
from hub.task import Progress
from tests.stores.helpers import MANY, ONE, TIMEOUT, Adapter, success, task

pytestmark = pytest.mark.usefixtures("no_leaked_tasks")


async def test_operations_that_were_not_called_are_not_reported(store: ResultStore) -> None:
    assert store.statistics().calls == {}


async def test_each_call_is_counted_with_the_tasks_that_it_carries(store: ResultStore) -> None:
    tasks = [task(), task(), task()]
    with fail_after(TIMEOUT):
        await store.create(tasks)
        await store.create(tasks[:1])
        await store.confirm(tasks[:2])
        await store.start(tasks, ONE, attempts=MANY)
        await store.report(
            [ProgressReport(task_id=tasks[0].id, attempt=1, progress=Progress(fraction=0.5, message="half", at=1.0))]
        )
        await store.finish([success(each) for each in tasks])
        await store.fetch([each.id for each in tasks])
        await store.withdraw(tasks[:2])
    calls = store.statistics().calls
    carried = {operation: (sum(each.sizes.counts), each.sizes.sum) for operation, each in calls.items()}
    assert {name: carried[name] for name in carried if name != "resync"} == {
        "create": (2, 4.0),
        "confirm": (1, 2.0),
        "start": (1, 3.0),
        "report": (1, 1.0),
        "finish": (1, 3.0),
        "fetch": (1, 3.0),
        "withdraw": (1, 2.0),
    }
    assert all(sum(each.seconds.counts) == sum(each.sizes.counts) for each in calls.values())


async def test_a_call_of_nothing_is_none(store: ResultStore) -> None:
    with fail_after(TIMEOUT):
        await store.fetch([])
        await store.finish([])
    assert all(each.sizes.sum for each in store.statistics().calls.values())


async def test_the_time_of_a_cancelled_call_counts_too(store: ResultStore) -> None:
    with fail_after(TIMEOUT):
        async with create_task_group() as tg:
            tg.cancel_scope.cancel()
            await store.fetch([task().id])
    assert sum(store.statistics().calls["fetch"].seconds.counts) == 1


async def test_times_are_counted_in_the_buckets_that_are_asked_for(adapter: Adapter) -> None:
    with fail_after(TIMEOUT):
        async with adapter.open(StoreOptions(buckets=(0.5, 7.0))) as store:
            await store.create([task()])
            assert store.statistics().calls["create"].seconds.bounds == (0.5, 7.0)
