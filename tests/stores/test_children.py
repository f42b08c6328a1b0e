"""The end of a task ends the tasks that its model has made, whichever adapter stores them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from anyio import fail_after

from hub.ports.result_store import Adoption, ResultStore
from hub.task import PARENT_ENDED, Ancestor, Outcome, Task
from hub.types import TaskState
from tests.stores.helpers import (
    MANY,
    ONE,
    TIMEOUT,
    TWO,
    cancelled,
    death,
    failure,
    record_of,
    success,
    task,
)

pytestmark = pytest.mark.usefixtures("no_leaked_tasks")


def child_of(parent: Task) -> Task:
    ancestors = (*parent.ancestors, Ancestor(parent.id, parent.model))
    return replace(task(key="1"), body=b"of the child", ancestors=ancestors)


async def adopted(store: ResultStore, parent: Task) -> Task:
    """A child that is queued."""
    child = child_of(parent)
    assert await store.adopt([child]) == [Adoption.ADOPTED]
    assert await store.create([child]) == [None]
    await store.confirm([child])
    return child


@pytest.mark.parametrize("end", [success, failure, cancelled, death])
async def test_the_end_of_a_task_ends_its_children_all_the_way_down(
    store: ResultStore, end: Callable[[Task], Outcome]
) -> None:
    parent = task()
    with fail_after(TIMEOUT):
        await store.create([parent])
        await store.start([parent], ONE, attempts=MANY)
        running, queued = await adopted(store, parent), await adopted(store, parent)
        await store.start([running], TWO, attempts=MANY)
        grandchild = await adopted(store, running)

        assert await store.finish([end(parent)]) == [True]

        for each in (running, queued, grandchild):
            record = await record_of(store, each)
            assert record.state is TaskState.CANCELLED
            assert record.outcome is not None
            assert record.outcome.failure is not None
            assert record.outcome.failure.code == PARENT_ENDED
        assert list(await store.next_ended(TWO)) == [running.id]


async def test_a_child_that_has_ended_before_its_parent_keeps_its_outcome(store: ResultStore) -> None:
    parent = task()
    with fail_after(TIMEOUT):
        await store.create([parent])
        child = await adopted(store, parent)
        await store.start([child], TWO, attempts=MANY)
        await store.finish([success(child, by=TWO)])
        await store.finish([cancelled(parent)])

        assert (await record_of(store, child)).state is TaskState.SUCCEEDED


async def test_an_outcome_that_does_not_count_ends_no_children(store: ResultStore) -> None:
    parent = task()
    with fail_after(TIMEOUT):
        await store.create([parent])
        child = await adopted(store, parent)
        await store.finish([success(parent)])
        late = await record_of(store, child)
        assert await store.finish([failure(parent)]) == [False]

        assert await record_of(store, child) == late


async def test_a_repeated_outcome_ends_what_the_first_call_did_not_reach(store: ResultStore) -> None:
    parent = task()
    with fail_after(TIMEOUT):
        await store.create([parent])
        child = child_of(parent)
        await store.adopt([child])
        await store.finish([success(parent)])  # the record of the child is not there yet
        await store.create([child])
        assert await store.finish([success(parent)]) == [True]

        assert (await record_of(store, child)).state is TaskState.CANCELLED


async def test_a_task_that_has_ended_adopts_nothing(store: ResultStore) -> None:
    parent, withdrawn = task(), task()
    with fail_after(TIMEOUT):
        await store.create([parent, withdrawn])
        await store.finish([success(parent)])
        await store.withdraw([withdrawn])

        assert await store.adopt([child_of(parent), child_of(withdrawn)]) == [Adoption.ENDED, Adoption.ENDED]


async def test_a_task_has_a_bounded_number_of_children(store: ResultStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("redis.commands", "memory.records"):
        monkeypatch.setattr(f"hub.stores.{module}.MAX_CHILDREN", 3)
    parent = task()
    with fail_after(TIMEOUT):
        await store.create([parent])
        children = [child_of(parent) for _ in range(4)]

        assert await store.adopt(children) == [Adoption.ADOPTED] * 3 + [Adoption.FULL]
        assert await store.adopt(children[:1]) == [Adoption.ADOPTED]  # again


async def test_a_task_whose_record_has_vanished_may_have_children(store: ResultStore) -> None:
    with fail_after(TIMEOUT):
        assert await store.adopt([child_of(task())]) == [Adoption.ADOPTED]


async def test_children_survive_a_further_attempt_of_their_parent(store: ResultStore) -> None:
    parent = task()
    with fail_after(TIMEOUT):
        await store.create([parent])
        await store.start([parent], ONE, attempts=MANY)
        child = await adopted(store, parent)
        await store.start([parent], TWO, attempts=MANY)
        assert (await record_of(store, child)).state is TaskState.QUEUED
        await store.finish([failure(parent)])

        assert (await record_of(store, child)).state is TaskState.CANCELLED


async def test_the_record_of_a_child_names_its_parent(store: ResultStore) -> None:
    parent = task()
    with fail_after(TIMEOUT):
        await store.create([parent])
        child = await adopted(store, parent)

        assert (await record_of(store, child)).parent == parent.id
        assert (await record_of(store, parent)).parent is None
