"""Since when a task runs, whichever adapter keeps it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from anyio import fail_after

from hub.ports.result_store import ReleasedTask, ResultStore
from hub.stores import StoreOptions
from hub.types import TaskState
from tests.stores.stage import MANY, ONE, TIMEOUT, TWO, Stage, cancelled, death, record_of, said, success, task

T0 = 1_764_200_000.25


@asynccontextmanager
async def at(stage: Stage) -> AsyncGenerator[tuple[ResultStore, Callable[[float], None]]]:
    """A store, and what moves its clock to so many seconds after `T0`."""
    now = [T0]
    with fail_after(TIMEOUT):
        async with stage.open(StoreOptions(clock=lambda: now[0])) as store:
            yield store, lambda seconds: now.__setitem__(0, T0 + seconds)


async def test_a_task_that_runs_tells_since_when_whatever_it_reports(stage: Stage) -> None:
    one = task()
    async with at(stage) as (store, move):
        await store.create([one])
        assert (await record_of(store, one)).started_at is None
        move(3)
        await store.start([one], ONE, attempts=MANY)
        assert (await record_of(store, one)).started_at == T0 + 3
        move(9)
        await store.report([said(one, 1)])
        record = await record_of(store, one)
        assert (record.started_at, record.updated_at) == (T0 + 3, T0 + 9)


@pytest.mark.parametrize("retry_at", [None, 2e9], ids=["drain", "retry"])
async def test_a_task_that_waits_for_another_run_has_not_started(stage: Stage, retry_at: float | None) -> None:
    one = task()
    async with at(stage) as (store, move):
        await store.create([one])
        await store.start([one], ONE, attempts=MANY)
        await store.release([ReleasedTask(task_id=one.id, attempt=1, retry_at=retry_at)])
        assert (await record_of(store, one)).started_at is None
        move(7)
        await store.start([one], TWO, attempts=MANY)
        assert (await record_of(store, one)).started_at == T0 + 7


async def test_a_redelivered_task_started_with_its_present_run(stage: Stage) -> None:
    one = task()
    async with at(stage) as (store, move):
        await store.create([one])
        await store.start([one], ONE, attempts=MANY)
        move(5)
        await store.start([one], TWO, attempts=MANY)
        record = await record_of(store, one)
        assert (record.attempt, record.instance, record.started_at) == (2, TWO, T0 + 5)


async def test_a_start_that_is_refused_moves_nothing(stage: Stage) -> None:
    exhausted, ended = task(), task()
    async with at(stage) as (store, move):
        await store.create([exhausted, ended])
        await store.start([exhausted, ended], ONE, attempts=1)
        await store.finish([cancelled(ended)])
        move(5)
        assert [start.attempt for start in await store.start([exhausted, ended], TWO, attempts=1)] == [1, 1]
        assert [(await record_of(store, one)).started_at for one in (exhausted, ended)] == [T0, T0]


async def test_an_outcome_that_tells_when_its_run_started_is_believed(stage: Stage) -> None:
    one = task()
    async with at(stage) as (store, move):
        await store.create([one])
        await store.start([one], ONE, attempts=MANY)
        move(1)
        await store.start([one], TWO, attempts=MANY)
        await store.finish([success(one)])  # of the first run
        record = await record_of(store, one)
        assert record.outcome is not None
        assert record.started_at == record.outcome.started_at == success(one).started_at


@pytest.mark.parametrize("running", [True, False])
async def test_a_task_that_somebody_else_ended_started_if_it_ran(stage: Stage, running: bool) -> None:
    given_up, cut_short = task(), task()
    async with at(stage) as (store, move):
        await store.create([given_up, cut_short])
        await store.start([given_up, cut_short], ONE, attempts=MANY)
        if not running:
            await store.release([ReleasedTask(task_id=one.id, attempt=1) for one in (given_up, cut_short)])
        move(5)
        await store.finish([death(given_up), cancelled(cut_short)])
        for one in (given_up, cut_short):
            assert (await record_of(store, one)).started_at == (T0 if running else None)


async def test_a_revived_task_has_not_started(stage: Stage) -> None:
    one = task()
    async with at(stage) as (store, move):
        await store.create([one])
        await store.start([one], ONE, attempts=MANY)
        await store.finish([replace(death(one), started_at=T0)])
        await store.reset([one])
        record = await record_of(store, one)
        assert (record.state, record.attempt, record.started_at) == (TaskState.QUEUED, 1, None)
        move(5)
        await store.start([one], ONE, attempts=MANY)
        assert (await record_of(store, one)).started_at == T0 + 5
