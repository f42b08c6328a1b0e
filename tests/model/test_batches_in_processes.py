"""A worker over a model that processes batches in a process: what becomes of the tasks, on real processes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

import anyio
import pytest

from hub.ports.result_store import Missing
from hub.task import Task
from hub.types import TaskState
from tests.model.batch_models import cancel, failure_of
from tests.model.batch_process_models import Together, TooFew, Unready
from tests.model.fakes import INSTANCE, BreakableStore, WatchedBroker, ended, reply_of, submit, task, until, worker

TIMEOUT: Final = 60.0

pytestmark = pytest.mark.usefixtures("no_leaked_tasks")


async def words_of(store: BreakableStore, each: Task) -> list[str]:
    return (await reply_of(store, each)).split(" ", 2)


async def begun(store: BreakableStore, each: Task) -> None:
    """Waits for its first report of progress."""
    revision = 0
    while True:
        record = await store.wait_for_change(each.id, after=revision)
        assert not isinstance(record, Missing)
        if record.progress is not None:
            return
        revision = record.revision


async def test_requests_are_processed_together_and_each_knows_its_task(
    broker: WatchedBroker, store: BreakableStore
) -> None:
    those = [task("about") for _ in range(4)]
    with anyio.fail_after(TIMEOUT):
        await submit(broker, store, *those)
        async with worker(Together(), broker, store):
            words = [await words_of(store, each) for each in those]
    assert {tuple(each[:2]) for each in words} == {(words[0][0], "4")}
    assert [each[2] for each in words] == [f"{each.id} 1 Echo {INSTANCE}" for each in those]


async def test_progress_is_that_of_the_task_in_its_place(
    broker: WatchedBroker, store: BreakableStore, tmp_path: Path
) -> None:
    those = [task("about"), task("about"), task(f"wait_for {tmp_path / 'go'}"), task("echo")]
    with anyio.fail_after(TIMEOUT):
        await submit(broker, store, *those)
        async with worker(Together(), broker, store):
            for each in those[:3]:
                await begun(store, each)
            records = await store.fetch([each.id for each in those])
            (tmp_path / "go").touch()
            await reply_of(store, those[3])
    shown = [None if isinstance(each, Missing) or each.progress is None else each.progress.message for each in records]
    assert shown == [f"progress of {those[0].id}", f"progress of {those[1].id}", "begun", None]


async def test_a_failure_in_one_place_is_that_of_one_task(broker: WatchedBroker, store: BreakableStore) -> None:
    those = [task("echo one"), task("fail no such key"), task("wrong"), task("fail_once again")]
    bad = replace(task(), body=b"\xff")
    with anyio.fail_after(TIMEOUT):
        await submit(broker, store, bad, *those[:3])
        async with worker(Unready(), broker, store, debug=True):
            assert (await words_of(store, those[0]))[2] == "one"
            failed, wrong = [await failure_of(store, each) for each in those[1:3]]
            undecodable = await failure_of(store, bad)
            await submit(broker, store, those[3])
            assert (await words_of(store, those[3]))[2] == "again"
            assert (await ended(store, those[3])).attempt == 2
            assert (await ended(store, those[0])).attempt == 1
    assert (failed.code, failed.type, failed.message) == ("model_error", "LookupError", "no such key")
    assert wrong.code == "wrong_response"
    assert "process_batch of Echo returned examples.model_a.v1.ModelARequest" in wrong.message
    assert undecodable.code == "undecodable"


async def test_an_error_of_the_call_fails_all_tasks(broker: WatchedBroker, store: BreakableStore) -> None:
    those = [task("echo one"), task("fail_all no GPU"), task("echo"), task("echo")]
    with anyio.fail_after(TIMEOUT):
        await submit(broker, store, *those)
        async with worker(Together(), broker, store, debug=True):
            failures = [await failure_of(store, each) for each in those]
    assert {(failure.type, failure.message) for failure in failures} == {("LookupError", "no GPU")}
    assert "in Together.fail_all" in failures[0].traceback


async def test_a_wrong_number_of_results_fails_all_tasks(broker: WatchedBroker, store: BreakableStore) -> None:
    those = [task("echo") for _ in range(4)]
    with anyio.fail_after(TIMEOUT):
        await submit(broker, store, *those)
        async with worker(TooFew(), broker, store):
            failures = [await failure_of(store, each) for each in those]
    assert {failure.code for failure in failures} == {"wrong_batch"}
    assert "returned 3 results for 4 requests" in failures[3].message


async def test_after_the_death_of_the_process_each_task_runs_again(
    broker: WatchedBroker, store: BreakableStore
) -> None:
    those = [task("echo"), task("leave_once"), task("echo"), task("echo")]
    with anyio.fail_after(TIMEOUT):
        await submit(broker, store, *those)
        async with worker(Unready(), broker, store, attempt_limit=3) as working:
            assert (await words_of(store, those[1]))[2] == "survived"
            for each in those:
                await reply_of(store, each)
                assert (await ended(store, each)).attempt == 2
            assert working.statistics().requeued == 4


async def test_a_task_that_kills_its_process_takes_others_with_it_once_only(
    broker: WatchedBroker, store: BreakableStore
) -> None:
    poison, those = task("leave"), [task("echo") for _ in range(3)]
    with anyio.fail_after(TIMEOUT):
        await submit(broker, store, poison, *those)
        async with worker(Together(), broker, store, attempt_limit=3):
            words = [await words_of(store, each) for each in those]
            assert (await failure_of(store, poison)).code == "attempts_exhausted"
            assert (await ended(store, poison)).attempt == 3
            attempts = [(await ended(store, each)).attempt for each in those]
    assert [each[1] for each in words] == ["1", "1", "1"]
    assert attempts == [2, 2, 2]


async def test_a_task_that_leaves_does_not_interrupt_the_process(
    broker: WatchedBroker, store: BreakableStore, tmp_path: Path
) -> None:
    those = [task(f"wait_for {tmp_path / 'go'}"), task("echo"), task("echo"), task("echo")]
    with anyio.fail_after(TIMEOUT):
        await submit(broker, store, *those)
        async with worker(Together(), broker, store) as working:
            await begun(store, those[0])
            await cancel(store, those[0])
            await until(lambda: working.statistics().stopped == 1)
            (tmp_path / "go").touch()
            words = [await words_of(store, each) for each in those[1:]]
            assert [each[1] for each in words] == ["4", "4", "4"]
            assert (await ended(store, those[0])).state is TaskState.CANCELLED


async def test_the_process_is_interrupted_when_all_tasks_have_ended_and_takes_the_next_batch(
    broker: WatchedBroker, store: BreakableStore, tmp_path: Path
) -> None:
    those, others = [task(f"spin {tmp_path / 'ended'}"), task("echo")], [task("echo") for _ in range(4)]
    with anyio.fail_after(TIMEOUT):
        await submit(broker, store, *those)
        async with worker(Unready(), broker, store) as working:
            await begun(store, those[0])
            await cancel(store, *those)
            await until(lambda: working.statistics().stopped == 2)
            await submit(broker, store, *others)
            for each in others:
                await reply_of(store, each)
    assert (tmp_path / "ended").read_text() == "cancelled: [True, True]"
