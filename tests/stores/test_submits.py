"""Submits that share an idempotency key: which of them made the record, and whether its message is confirmed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from anyio import create_task_group, fail_after

from hub.ports.result_store import Missing, ReleasedTask, ResultStore, Start
from hub.task import Task, TaskRecord
from hub.types import TaskState
from tests.stores.helpers import (
    MANY,
    ONE,
    TIMEOUT,
    Adapter,
    cancelled,
    record_of,
    success,
    task,
    timeless,
)
from tests.stores.test_waiting import peer, until_waiting


def keyed() -> Task:
    return task(key="order-7")


def again(of: Task, *, body: bytes = b"request") -> Task:
    """A later submit with the same key."""
    return replace(of, created_at=of.created_at + 1, body=body)


async def test_the_record_of_a_task_with_a_key_is_pending_until_it_is_accepted(store: ResultStore) -> None:
    one = keyed()
    with fail_after(TIMEOUT):
        assert await store.create([one]) == [None]
        record = await record_of(store, one)
        assert (record.state, record.pending, record.revision, record.digest) == (TaskState.QUEUED, True, 1, one.digest)
        await store.confirm([one])
        accepted = await record_of(store, one)
        assert timeless(accepted) == timeless(replace(record, pending=False, revision=2))


async def test_a_task_without_a_key_is_never_pending(store: ResultStore) -> None:
    one = task()
    with fail_after(TIMEOUT):
        await store.create([one])
        before = await record_of(store, one)
        assert (before.pending, before.digest) == (False, "")
        await store.confirm([one])
        assert await record_of(store, one) == before


async def test_a_second_submit_of_a_key_returns_the_first(store: ResultStore) -> None:
    one = keyed()
    with fail_after(TIMEOUT):
        await store.create([one])
        pending = await record_of(store, one)
        assert await store.create([again(one), again(one, body=b"another")]) == [pending, pending]
        await store.confirm([one])
        assert await store.create([again(one)]) == [await record_of(store, one)]
        assert await record_of(store, one) == replace(await record_of(store, one), created_at=one.created_at)


async def test_accepting_once_more_changes_nothing(store: ResultStore) -> None:
    one = keyed()
    with fail_after(TIMEOUT):
        await store.create([one])
        await store.confirm([one])
        before = await record_of(store, one)
        await store.confirm([one])
        assert await record_of(store, one) == before


async def test_what_has_begun_or_ended_is_pending_no_more(store: ResultStore) -> None:
    started, released, ended = (keyed() for _ in range(3))
    tasks = [started, released, ended]
    with fail_after(TIMEOUT):
        await store.create(tasks)
        assert await store.start(tasks[:2], ONE, attempts=MANY) == [Start(TaskState.RUNNING, 1)] * 2
        await store.release([ReleasedTask(task_id=released.id, attempt=1)])
        await store.finish([cancelled(ended)])
        found = await store.fetch([one.id for one in tasks])
        assert [record.pending for record in found if isinstance(record, TaskRecord)] == [False] * 3
        await store.confirm(tasks)
        assert await store.fetch([one.id for one in tasks]) == found, "the late word of a confirm is no change"


async def test_a_submit_accepts_no_record_of_another_body(store: ResultStore) -> None:
    one = keyed()
    with fail_after(TIMEOUT):
        await store.create([one])
        before = await record_of(store, one)
        await store.confirm([again(one, body=b"another")])
        assert await record_of(store, one) == before


@pytest.mark.parametrize("key", ["", "order-7"])
async def test_an_accepted_task_whose_record_vanished_gets_a_new_one(store: ResultStore, key: str) -> None:
    one = task(key=key, deadline=1.8e9)
    with fail_after(TIMEOUT):
        await store.confirm([one])
        assert timeless(await record_of(store, one)) == TaskRecord(
            id=one.id,
            model=one.model,
            state=TaskState.QUEUED,
            revision=2,
            attempt=0,
            instance=None,
            fingerprint=one.fingerprint,
            created_at=one.created_at,
            updated_at=0.0,
            deadline=1.8e9,
            expires_at=0.0,
            outcome=None,
            digest=one.digest,
        )
        assert await store.start([one], ONE, attempts=1) == [Start(TaskState.RUNNING, 1)]


async def test_an_accepted_task_that_has_ended_and_expired_stays_gone(store: ResultStore) -> None:
    one = replace(keyed(), result_ttl=0.005)
    with fail_after(TIMEOUT):
        await store.create([one])
        await store.finish([cancelled(one)])
        while isinstance((await store.fetch([one.id]))[0], TaskRecord):
            pass
        await store.confirm([one])
        assert await store.fetch([one.id]) == [Missing.GONE]


async def test_a_submit_withdraws_only_what_it_wrote_itself(store: ResultStore) -> None:
    one = keyed()
    with fail_after(TIMEOUT):
        await store.create([one])
        before = await record_of(store, one)
        await store.withdraw([again(one)])
        assert await record_of(store, one) == before
        await store.withdraw([one])
        assert await store.fetch([one.id]) == [Missing.UNKNOWN]
        assert await store.create([again(one)]) == [None]
        assert await store.start([again(one)], ONE, attempts=1) == [Start(TaskState.RUNNING, 1)]


async def test_a_record_that_was_accepted_cannot_be_withdrawn(store: ResultStore) -> None:
    """By a submit that wrote over one that is confirmed after all: its client was told that the task is accepted."""
    one = keyed()
    with fail_after(TIMEOUT):
        await store.create([again(one)])
        await store.confirm([one])
        before = await record_of(store, one)
        await store.withdraw([again(one)])
        assert await record_of(store, one) == before


async def test_an_accepted_task_that_another_submit_withdrew_is_queued_again(store: ResultStore) -> None:
    one = keyed()
    with fail_after(TIMEOUT):
        await store.create([again(one)])
        await store.withdraw([again(one)])
        await store.confirm([one])
        assert (await record_of(store, one)).state is TaskState.QUEUED
        assert await store.start([one], ONE, attempts=1) == [Start(TaskState.RUNNING, 1)]


@pytest.mark.parametrize("begun", [False, True])
async def test_a_task_that_was_written_for_another_body_is_not_started(store: ResultStore, begun: bool) -> None:
    one = keyed()
    with fail_after(TIMEOUT):
        await store.create([one])
        if begun:
            await store.start([one], ONE, attempts=MANY)
        before = await record_of(store, one)
        assert await store.start([again(one, body=b"another")], ONE, attempts=MANY) == [Start(None, 0)]
        assert await record_of(store, one) == before
        assert await store.start([again(one)], ONE, attempts=MANY) == [Start(TaskState.RUNNING, 2 if begun else 1)]


async def test_a_task_with_a_key_whose_record_vanished_keeps_its_digest(store: ResultStore) -> None:
    one = keyed()
    with fail_after(TIMEOUT):
        await store.start([one], ONE, attempts=MANY)
        record = await record_of(store, one)
        assert (record.digest, record.pending) == (one.digest, False)
        await store.finish([success(one)])
        assert (await store.create([again(one)]))[0] == await record_of(store, one)


async def test_a_waiting_submit_returns_when_the_first_one_is_accepted_or_withdrawn(
    adapter: Adapter, store: ResultStore
) -> None:
    accepted, withdrawn = keyed(), keyed()
    heard: dict[object, object] = {}

    async def wait(one: Task) -> None:
        heard[one.id] = await store.wait_for_change(one.id, after=1)

    with fail_after(TIMEOUT):
        async with peer(adapter, store) as other, create_task_group() as tg:
            await other.create([accepted, withdrawn])
            tg.start_soon(wait, accepted)
            tg.start_soon(wait, withdrawn)
            await until_waiting(store, 2)
            await other.confirm([accepted])
            await other.withdraw([withdrawn])
        assert heard == {accepted.id: await record_of(store, accepted), withdrawn.id: Missing.UNKNOWN}


async def test_of_racing_submits_of_one_key_exactly_one_writes_and_the_others_see_its_record(
    adapter: Adapter, store: ResultStore
) -> None:
    with fail_after(TIMEOUT):
        async with peer(adapter, store) as other:
            for _ in range(10):
                one = keyed()
                submits = [replace(one, created_at=one.created_at + nth) for nth in range(8)]
                written: list[Task] = []
                seen: list[TaskRecord] = []

                async def submit(
                    by: ResultStore, of: Task, written: list[Task] = written, seen: list[TaskRecord] = seen
                ) -> None:
                    (there,) = await by.create([of])
                    if there is None:
                        written.append(of)
                    else:
                        seen.append(there)

                async with create_task_group() as tg:
                    for index, of in enumerate(submits):
                        tg.start_soon(submit, (store, other)[index % 2], of)
                assert len(written) == 1
                assert seen == [await record_of(store, one)] * 7
                assert seen[0].created_at == written[0].created_at


async def test_accepting_races_with_withdrawing_of_another_submit_and_wins(
    adapter: Adapter, store: ResultStore
) -> None:
    """In either order: what one client was told is accepted is there in the end."""
    with fail_after(TIMEOUT):
        async with peer(adapter, store) as other:
            for _ in range(30):
                one = keyed()
                await store.create([again(one)])
                async with create_task_group() as tg:
                    tg.start_soon(store.confirm, [one])
                    tg.start_soon(other.withdraw, [again(one)])
                record = await record_of(store, one)
                assert (record.state, record.pending) == (TaskState.QUEUED, False)
