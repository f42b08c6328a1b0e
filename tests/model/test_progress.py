"""What a model says of its progress reaches the record of its task."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import anyio
import anyio.to_thread
import pytest
from typing_extensions import override

import hub
from examples.model_a.v1.model_a_pb2 import ModelARequest, ModelAResponse
from hub.errors import ConnectionLost
from hub.model.worker.progress import ProgressReports
from hub.model.worker.run import TaskRun
from hub.ports.result_store import ProgressReport
from hub.task import Progress, TaskRecord
from hub.types import wall_clock
from tests.model.fakes import (
    TIMEOUT,
    BreakableStore,
    Echo,
    WatchedBroker,
    ended,
    reply_of,
    submit,
    task,
    until,
    worker,
)

pytestmark = pytest.mark.usefixtures("no_leaked_tasks")


async def progress_of(store: BreakableStore, task_id: str, wanted: Callable[[Progress], bool]) -> Progress:
    """The progress of a task, as soon as it is as wanted."""
    revision = 0
    while True:
        record = await store.wait_for_change(task_id, after=revision)  # type: ignore[arg-type]
        assert isinstance(record, TaskRecord)
        if record.progress is not None and wanted(record.progress):
            return record.progress
        revision = record.revision


async def test_a_report_is_seen_while_the_model_still_works(broker: WatchedBroker, store: BreakableStore) -> None:
    go_on = anyio.Event()

    async def behaviour(text: str) -> str:
        hub.current_task().report(0.25, "a quarter")
        await go_on.wait()
        return text

    one = task("work")
    with anyio.fail_after(TIMEOUT):
        await submit(broker, store, one)
        before = wall_clock()
        async with worker(Echo(behaviour), broker, store):
            progress = await progress_of(store, one.id, lambda progress: progress.fraction is not None)
            assert (progress.fraction, progress.message) == (0.25, "a quarter")
            assert before <= progress.at <= wall_clock()
            go_on.set()
            assert await reply_of(store, one) == "work"


async def test_the_last_of_many_reports_counts_and_few_are_written(
    broker: WatchedBroker, store: BreakableStore
) -> None:
    go_on = anyio.Event()

    async def behaviour(text: str) -> str:
        for step in range(1001):
            hub.current_task().report(step / 1000)
        await go_on.wait()
        return text

    one = task()
    with anyio.fail_after(TIMEOUT):
        await submit(broker, store, one)
        async with worker(Echo(behaviour), broker, store):
            await progress_of(store, one.id, lambda progress: progress.fraction == 1)
            go_on.set()
            await ended(store, one)
    assert 1 <= store.reports < 10


async def test_a_plain_model_reports_from_its_thread(broker: WatchedBroker, store: BreakableStore) -> None:
    class Plain(Echo):
        name = "Echo"

        @override
        def process_request(self, request: ModelARequest) -> ModelAResponse:  # type: ignore[override]
            hub.current_task().report(0.5, "in a thread")
            anyio.from_thread.run(go_on.wait)
            return ModelAResponse(reply="done")

    go_on = anyio.Event()
    one = task()
    with anyio.fail_after(TIMEOUT):
        await submit(broker, store, one)
        async with worker(Plain(), broker, store):
            progress = await progress_of(store, one.id, lambda progress: progress.fraction == 0.5)
            assert progress.message == "in a thread"
            go_on.set()
            assert await reply_of(store, one) == "done"


async def test_a_store_that_is_away_costs_reports_and_nothing_else(
    broker: WatchedBroker, store: BreakableStore
) -> None:
    async def behaviour(text: str) -> str:
        store.down = True
        hub.current_task().report(0.5)
        await until_reported()
        store.down = False
        return text

    async def until_reported() -> None:
        await until(lambda: store.reports > 0)

    one = task("fine")
    with anyio.fail_after(TIMEOUT):
        await submit(broker, store, one)
        async with worker(Echo(behaviour), broker, store):
            assert await reply_of(store, one) == "fine"


@pytest.mark.parametrize("fraction", [-0.1, 1.1, float("nan"), float("inf")])
async def test_a_fraction_that_is_none_is_refused_with_the_repair(
    broker: WatchedBroker, store: BreakableStore, fraction: float
) -> None:
    async def behaviour(_: str) -> str:
        with pytest.raises(ValueError, match="from 0 to 1"):
            hub.current_task().report(fraction)
        return "refused"

    one = task()
    with anyio.fail_after(TIMEOUT):
        await submit(broker, store, one)
        async with worker(Echo(behaviour), broker, store):
            assert await reply_of(store, one) == "refused"


async def test_a_report_of_one_run_waits_for_no_other() -> None:
    written: list[ProgressReport] = []

    class Store(BreakableStore):
        @override
        async def report(self, reports: Sequence[ProgressReport]) -> None:
            written.extend(reports)
            raise ConnectionLost("store", "answer lost")

    reports = ProgressReports(Store(), wall_clock)
    runs = [TaskRun(task(str(number))) for number in range(3)]
    with anyio.fail_after(TIMEOUT):
        async with anyio.create_task_group() as tg:
            tg.start_soon(reports.work, name="hub.test reports")
            await anyio.wait_all_tasks_blocked()
            for run in runs:
                reports.tell(run, 0.1, "")
                reports.tell(run, 0.2, "")
            await until(lambda: len(written) == 3)
            tg.cancel_scope.cancel()
    assert {report.task_id for report in written} == {run.task.id for run in runs}
    assert {report.progress.fraction for report in written} == {0.2}


async def test_a_thread_that_reports_does_not_wait_for_an_event_loop_that_is_held_up(
    broker: WatchedBroker, store: BreakableStore
) -> None:
    reported = threading.Event()

    class Plain(Echo):
        name = "Echo"

        @override
        def process_request(self, request: ModelARequest) -> ModelAResponse:  # type: ignore[override]
            anyio.from_thread.run_sync(started.set)
            held.wait(TIMEOUT)
            hub.current_task().report(0.5)
            reported.set()
            anyio.from_thread.run(go_on.wait)
            return ModelAResponse(reply="done")

    held, started, go_on = threading.Event(), anyio.Event(), anyio.Event()
    one = task()
    with anyio.fail_after(TIMEOUT):
        await submit(broker, store, one)
        async with worker(Plain(), broker, store):
            await started.wait()
            held.set()
            assert reported.wait(TIMEOUT / 2)  # holds the event loop
            await progress_of(store, one.id, lambda progress: progress.fraction == 0.5)
            go_on.set()
            await ended(store, one)
