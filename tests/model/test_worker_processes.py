"""A worker over a model in processes: what becomes of the tasks, on real processes and in real time."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import anyio
import pytest

from hub.model.worker.options import WorkerOptions
from hub.model.worker.worker import Worker
from hub.ports.result_store import Missing
from hub.task import Failure, Outcome, Task
from hub.types import TaskState
from tests.model.fakes import CONTRACT, INSTANCE, BreakableStore, WatchedBroker, ended, reply_of, submit, task
from tests.model.process_models import Working

TIMEOUT: Final = 60.0

pytestmark = pytest.mark.usefixtures("no_leaked_tasks")


@pytest.fixture
def store() -> BreakableStore:
    return BreakableStore()


@pytest.fixture
def broker(store: BreakableStore) -> WatchedBroker:
    return WatchedBroker(store)


def worker(broker: WatchedBroker, store: BreakableStore, *, drain_grace: float = 30.0) -> Worker:
    options = WorkerOptions(drain_grace=drain_grace, attempt_limit=2, debug=True)
    return Worker(Working(), contract=CONTRACT, instance=INSTANCE, broker=broker, store=store, options=options)


async def failure_of(store: BreakableStore, each: Task) -> Failure:
    outcome = (await ended(store, each)).outcome
    assert outcome is not None
    assert outcome.failure is not None
    return outcome.failure


async def until_it_has_begun(store: BreakableStore, each: Task) -> None:
    """Waits for its first report."""
    revision = 0
    while True:
        record = await store.wait_for_change(each.id, after=revision)
        assert not isinstance(record, Missing)
        if record.progress is not None:
            return
        revision = record.revision


async def test_a_task_is_answered_and_knows_itself(broker: WatchedBroker, store: BreakableStore) -> None:
    one = task("task")
    with anyio.fail_after(TIMEOUT):
        await submit(broker, store, one)
        async with worker(broker, store):
            assert (await reply_of(store, one)).partition(" ")[2] == f"{one.id} 1 None Echo {INSTANCE}"


async def test_an_error_of_the_model_is_the_failure_of_the_task(broker: WatchedBroker, store: BreakableStore) -> None:
    one = task("fail no such luck")
    with anyio.fail_after(TIMEOUT):
        await submit(broker, store, one)
        async with worker(broker, store):
            failure = await failure_of(store, one)

    assert (failure.code, failure.type, failure.message) == ("model_error", "ConnectionRefusedError", "no such luck")
    assert "in Obedient.fail\n    raise ConnectionRefusedError(text)" in failure.traceback


async def test_a_task_that_kills_its_process_is_dead_after_its_last_attempt_and_others_go_on(
    broker: WatchedBroker, store: BreakableStore
) -> None:
    poison, good = task("leave 1"), task("echo good")
    with anyio.fail_after(TIMEOUT):
        await submit(broker, store, poison, good)
        async with worker(broker, store):
            assert (await failure_of(store, poison)).code == "attempts_exhausted"
            assert (await reply_of(store, good)).endswith("good")
        record = await ended(store, poison)

    assert (record.state, record.attempt) == (TaskState.DEAD, 2)


async def test_a_cancelled_task_is_interrupted_and_its_process_takes_the_next_one(
    broker: WatchedBroker, store: BreakableStore, tmp_path: Path
) -> None:
    first, cancelled, last = task("echo"), task(f"clean_up {tmp_path / 'cleaned'}"), task("echo")
    with anyio.fail_after(TIMEOUT):
        await submit(broker, store, first, cancelled)
        async with worker(broker, store):
            pid = await reply_of(store, first)
            await until_it_has_begun(store, cancelled)
            await store.finish([outcome_of_a_cancellation(cancelled)])
            await submit(broker, store, last)
            assert await reply_of(store, last) == pid

    assert (tmp_path / "cleaned").read_text() == "cancelled: True"


async def test_a_running_task_finishes_in_its_process_while_the_worker_drains(
    broker: WatchedBroker, store: BreakableStore, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "door.fifo")
    one = task(f"meet {tmp_path / 'door.fifo'}")
    with anyio.fail_after(TIMEOUT):
        await submit(broker, store, one)
        with anyio.CancelScope() as scope:
            async with worker(broker, store) as working, anyio.create_task_group() as tg:
                await until_there(tmp_path / "door.first")
                scope.cancel()
                assert not working.statistics().stored

                async def open_the_door() -> None:
                    with anyio.CancelScope(shield=True):
                        await anyio.Path(tmp_path / "door.fifo").write_text("now")

                tg.start_soon(open_the_door)
        assert (await reply_of(store, one)).endswith("met")


async def test_what_the_drain_cuts_short_is_handed_back(broker: WatchedBroker, store: BreakableStore) -> None:
    one = task("spin")
    with anyio.fail_after(TIMEOUT):
        await submit(broker, store, one)
        async with worker(broker, store, drain_grace=0):
            await until_it_has_begun(store, one)
        (record,) = await store.fetch([one.id])

    assert not isinstance(record, Missing)
    assert record.state is TaskState.QUEUED


async def until_there(path: Path) -> None:
    while not await anyio.Path(path).exists():
        await anyio.sleep(0.01)


def outcome_of_a_cancellation(each: Task) -> Outcome:
    failure = Failure(code="cancelled", message="cancelled by its client")
    return Outcome(
        task_id=each.id,
        state=TaskState.CANCELLED,
        failure=failure,
        attempt=1,
        instance=None,
        finished_at=1_700_000_001.0,
    )
