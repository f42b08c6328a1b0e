"""What runs say of themselves while they are under way, whichever adapter passes it on."""

from __future__ import annotations

import pytest
from anyio import create_task_group, fail_after

from hub.ports.result_store import ReleasedTask, ResultStore
from hub.task import Progress, TaskRecord
from hub.types import TaskState, new_task_id
from tests.stores.helpers import MANY, ONE, TIMEOUT, TWO, Adapter, death, record_of, said, success, task
from tests.stores.test_waiting import peer, until_waiting


@pytest.mark.parametrize(
    ("fraction", "message"),
    [(0.5, "half"), (None, ""), (0.0, "-"), (1.0, " two  spaces \n größer"), (0.1 + 0.2, "0.5 1.0 x")],
)
async def test_the_progress_of_a_run_is_in_its_record(store: ResultStore, fraction: float | None, message: str) -> None:
    one = task()
    with fail_after(TIMEOUT):
        await store.create([one])
        await store.start([one], ONE, attempts=MANY)
        await store.report([said(one, 1, fraction=fraction, message=message, at=1.7e9 + 0.1)])
        record = await record_of(store, one)
        assert record.progress == Progress(fraction=fraction, message=message, at=1.7e9 + 0.1)
        assert (record.state, record.revision, record.attempt) == (TaskState.RUNNING, 3, 1)


async def test_the_same_report_once_more_changes_nothing(store: ResultStore) -> None:
    one = task()
    with fail_after(TIMEOUT):
        await store.create([one])
        await store.start([one], ONE, attempts=MANY)
        await store.report([said(one, 1)])
        before = await record_of(store, one)
        await store.report([said(one, 1)])
        assert await record_of(store, one) == before


async def test_the_last_report_of_a_group_is_the_one_that_stays(store: ResultStore) -> None:
    tasks = [task() for _ in range(150)]
    with fail_after(TIMEOUT):
        await store.create(tasks)
        await store.start(tasks, ONE, attempts=MANY)
        await store.report(
            [said(one, 1, message=f"{nth} {index}") for nth in (1, 2) for index, one in enumerate(tasks)]
        )
        found = await store.fetch([one.id for one in tasks])
        said_last = [record.progress.message for record in found if isinstance(record, TaskRecord) and record.progress]
        assert said_last == [f"2 {index}" for index in range(150)]


async def test_a_report_of_a_run_that_is_not_the_present_one_is_dropped(store: ResultStore) -> None:
    never, earlier, later, released, ended = (task() for _ in range(5))
    with fail_after(TIMEOUT):
        await store.create([never, earlier, later, released, ended])
        await store.start([earlier, later, released, ended], ONE, attempts=MANY)
        await store.start([earlier], TWO, attempts=MANY)
        await store.release([ReleasedTask(task_id=released.id, attempt=1)])
        await store.finish([success(ended)])
        tasks = [never, earlier, later, released, ended]
        before = await store.fetch([one.id for one in tasks])
        unknown = task()
        await store.report([said(one, 2 if one is later else 1) for one in (*tasks, unknown)])
        assert await store.fetch([one.id for one in tasks]) == before


async def test_progress_belongs_to_one_run(store: ResultStore) -> None:
    released, died = task(), task()
    with fail_after(TIMEOUT):
        await store.create([released, died])
        await store.start([released, died], ONE, attempts=MANY)
        await store.report([said(released, 1), said(died, 1)])
        await store.release([ReleasedTask(task_id=released.id, attempt=1)])
        assert (await record_of(store, released)).progress is None
        await store.start([released, died], TWO, attempts=MANY)
        assert (await record_of(store, released)).progress is None
        assert (await record_of(store, died)).progress is None


async def test_a_task_that_has_ended_keeps_the_last_progress_of_its_run(store: ResultStore) -> None:
    one = task()
    with fail_after(TIMEOUT):
        await store.create([one])
        await store.start([one], ONE, attempts=MANY)
        await store.report([said(one, 1)])
        await store.finish([death(one)])
        assert (await record_of(store, one)).progress == said(one, 1).progress


async def test_a_waiting_call_returns_on_progress(adapter: Adapter, store: ResultStore) -> None:
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
            await other.report([said(one, 1)])
        assert heard == [await record_of(store, one)]


async def test_a_report_of_an_unknown_task_writes_nothing(store: ResultStore) -> None:
    one = task()
    with fail_after(TIMEOUT):
        before = await store.fetch([one.id, new_task_id()])
        await store.report([said(one, 1)])
        assert await store.fetch([one.id, new_task_id()]) == before
