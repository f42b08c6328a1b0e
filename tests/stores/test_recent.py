"""Lists of recent tasks, whichever adapter keeps them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace

import pytest
from anyio import fail_after

from hub.ports.result_store import LIST_LENGTH, LISTED_STATES, RecentTasks, ReleasedTask, ResultStore
from hub.stores import StoreOptions
from hub.task import Outcome, Task
from hub.types import ModelName, TaskId, TaskState, new_task_id, wall_clock
from tests.stores.stage import (
    MANY,
    ONE,
    TIMEOUT,
    TWO,
    Stage,
    cancelled,
    death,
    failure,
    record_of,
    said,
    success,
    task,
)
from tests.stores.test_waiting import peer

RUNNING, FAILED, DEAD = [TaskState.RUNNING], [TaskState.FAILED], [TaskState.DEAD]


@pytest.fixture
async def store(stage: Stage) -> AsyncIterator[ResultStore]:
    async with stage.open(StoreOptions(listing=0.01)) as opened:
        yield opened


@pytest.fixture
def model() -> ModelName:
    """A model that no other test has tasks of."""
    return ModelName(f"M{new_task_id()}")


def tasks(model: ModelName, count: int, **options: float) -> list[Task]:
    return [replace(task(**options), model=model) for _ in range(count)]  # type: ignore[arg-type]


async def ids(
    store: ResultStore, states: Sequence[TaskState], model: ModelName | None, *, limit: int = 100
) -> list[TaskId]:
    return [record.id for record in (await store.recent(states, model=model, limit=limit)).records]


async def until_listed(
    store: ResultStore, states: Sequence[TaskState], model: ModelName, wanted: Sequence[Task]
) -> None:
    """Returns when exactly these are listed, the newest first."""
    while await ids(store, states, model) != [one.id for one in wanted]:
        pass


@pytest.mark.parametrize("end", [failure, death, cancelled])
async def test_a_task_that_ends_without_a_response_is_listed_by_its_state(
    store: ResultStore, model: ModelName, end: Callable[[Task], Outcome]
) -> None:
    one, waits, went_well = tasks(model, 3)
    with fail_after(TIMEOUT):
        await store.create([one, waits, went_well])
        await store.finish([replace(end(one), finished_at=wall_clock()), success(went_well)])
        record = await record_of(store, one)
        assert await store.recent([record.state], model=model, limit=5) == RecentTasks([record])
        assert await store.recent(LISTED_STATES, model=model, limit=5) == RecentTasks([record])
        others = [state for state in LISTED_STATES if state is not record.state]
        assert await store.recent(others, model=model, limit=5) == RecentTasks([])
        assert one.id in await ids(store, [record.state], None)


async def test_the_newest_end_comes_first_whatever_was_created_or_stored_first(
    store: ResultStore, model: ModelName
) -> None:
    first, second, third = tasks(model, 3)
    with fail_after(TIMEOUT):
        await store.create([first, second, third])
        await store.finish([replace(failure(third), finished_at=1.7e9 + 2), replace(failure(first), finished_at=1.7e9)])
        await store.finish([replace(death(second), finished_at=1.7e9 + 1)])
        assert await ids(store, LISTED_STATES, model) == [third.id, second.id, first.id]
        assert await ids(store, FAILED, model) == [third.id, first.id]


async def test_pages_have_every_task_once_even_of_one_moment(store: ResultStore, model: ModelName) -> None:
    some = tasks(model, 25)
    with fail_after(TIMEOUT):
        await store.create(some)
        await store.finish([failure(one) if index % 3 else cancelled(one) for index, one in enumerate(some)])
        seen: list[TaskId] = []
        cursor, pages = "", 0
        while pages == 0 or cursor:
            page = await store.recent([*FAILED, TaskState.CANCELLED], model=model, before=cursor, limit=5)
            seen += [record.id for record in page.records]
            cursor, pages = page.cursor, pages + 1
        assert sorted(seen) == sorted(one.id for one in some)
        assert pages == 5, "the last page says that it is the last"


async def test_an_outcome_that_does_not_count_is_not_listed(store: ResultStore, model: ModelName) -> None:
    one, fine = tasks(model, 2)
    with fail_after(TIMEOUT):
        await store.create([one, fine])
        await store.finish([success(fine), cancelled(one)])
        assert await store.finish([failure(fine), failure(one)]) == [False, False]
        assert await ids(store, LISTED_STATES, model) == [one.id]
        assert await ids(store, FAILED, model) == []


async def test_the_same_outcome_once_more_is_listed_once(store: ResultStore, model: ModelName) -> None:
    (one,) = tasks(model, 1)
    with fail_after(TIMEOUT):
        await store.create([one])
        await store.finish([failure(one)])
        await store.finish([failure(one), failure(one)])
        assert await ids(store, FAILED, model) == [one.id]


async def test_a_replayed_task_leaves_the_list_of_the_dead_and_may_come_back(
    store: ResultStore, model: ModelName
) -> None:
    one, other = tasks(model, 2)
    with fail_after(TIMEOUT):
        await store.create([one, other])
        await store.finish([death(one), death(other)])
        await store.reset([one])
        assert await ids(store, DEAD, model) == [other.id]
        await store.finish([death(one)])  # a replay that could not publish it puts the same outcome back
        assert sorted(await ids(store, DEAD, model)) == sorted([one.id, other.id])
        await store.reset([one])
        await store.start([one], ONE, attempts=MANY)
        await store.finish([success(one)])
        assert await ids(store, LISTED_STATES, model) == [other.id]


async def test_a_list_forgets_a_task_with_its_record(stage: Stage, model: ModelName) -> None:
    (one,) = tasks(model, 1, result_ttl=0.02)
    now = [1.7e9]
    with fail_after(TIMEOUT):
        async with stage.open(StoreOptions(clock=lambda: now[0])) as store:
            await store.create([one])
            await store.finish([failure(one)])
            now[0] += 0.02  # the server counts by its own clock, the store in memory by this one
            while await ids(store, FAILED, model):
                pass
            assert one.id not in await ids(store, FAILED, None)


async def test_a_list_has_a_limit_and_keeps_the_newest(store: ResultStore, model: ModelName) -> None:
    some = tasks(model, LIST_LENGTH + 20)
    with fail_after(TIMEOUT):
        await store.create(some)
        for start in range(0, len(some), 255):
            await store.finish(
                [
                    replace(failure(one), finished_at=1.7e9 + start + index)
                    for index, one in enumerate(some[start : start + 255])
                ]
            )
        newest = [one.id for one in reversed(some)]
        assert await ids(store, FAILED, model, limit=LIST_LENGTH + 20) == newest[:LIST_LENGTH]


async def test_a_running_task_is_listed_until_it_runs_no_more(store: ResultStore, model: ModelName) -> None:
    first, second, waits, fails = tasks(model, 4)
    with fail_after(TIMEOUT):
        await store.create([first, second, waits, fails])
        for one in (first, second, fails):
            await store.start([one], ONE, attempts=MANY)
        await until_listed(store, RUNNING, model, [fails, second, first])
        await store.report([said(first, 1)])
        await store.finish([failure(fails)])
        await store.release([ReleasedTask(task_id=second.id, attempt=1)])
        assert await ids(store, RUNNING, model) == [first.id]
        assert await ids(store, [*RUNNING, *FAILED], model) == [first.id, fails.id]
        await store.finish([success(first)])
        assert await ids(store, RUNNING, model) == []


async def test_a_running_task_stands_where_its_present_run_started(store: ResultStore, model: ModelName) -> None:
    killed, other = tasks(model, 2)
    with fail_after(TIMEOUT):
        await store.create([killed, other])
        await store.start([killed], ONE, attempts=MANY)
        await store.start([other], ONE, attempts=MANY)
        await until_listed(store, RUNNING, model, [other, killed])
        await store.start([killed], TWO, attempts=MANY)
        await until_listed(store, RUNNING, model, [killed, other])
        (newest, _) = (await store.recent(RUNNING, model=model, limit=5)).records
        assert (newest.attempt, newest.instance) == (2, TWO)


async def test_what_an_instance_ran_that_was_killed_is_as_its_record_says(stage: Stage, model: ModelName) -> None:
    """A process that is killed removes nothing. Whoever starts the task again, or ends it, takes it off the list."""
    again, ended = tasks(model, 2)
    with fail_after(TIMEOUT):
        async with stage.open(StoreOptions(listing=0.01)) as gateway:
            await gateway.create([again, ended])
            async with peer(stage, gateway) as victim:
                await victim.start([again], ONE, attempts=MANY)
                await victim.start([ended], ONE, attempts=MANY)
                await until_listed(gateway, RUNNING, model, [ended, again])
            assert await ids(gateway, RUNNING, model) == [ended.id, again.id]
            await gateway.finish([cancelled(ended)])
            assert await ids(gateway, RUNNING, model) == [again.id]
            async with peer(stage, gateway) as survivor:
                await survivor.start([again], TWO, attempts=MANY)
                await until_listed(gateway, RUNNING, model, [again])
                await survivor.finish([success(again, by=TWO)])
            assert await ids(gateway, RUNNING, model) == []


async def test_an_empty_list_is_an_empty_page(store: ResultStore, model: ModelName) -> None:
    with fail_after(TIMEOUT):
        assert await store.recent(LISTED_STATES, model=model, limit=10) == RecentTasks([])
        assert await store.recent(LISTED_STATES, model=model, before="x", limit=10) == RecentTasks([])
