"""The records of tasks that the broker gave up by itself."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from hub.dead_letters import DeadLetter, settle_broker_deaths
from hub.ports.result_store import Missing
from hub.stores.memory.store import MemoryStore
from hub.stores.options import StoreOptions
from hub.task import Outcome, Task, TaskRecord
from hub.types import TaskState
from tests.dead_letters.helpers import DIED, ECHO, INSTANCE, NOW, delivery, hub_headers, new_task, record_of


class Clock:
    """Says what time it is, as it is told."""

    def __init__(self) -> None:
        self.now = float(DIED - 30)

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def store(clock: Clock) -> AsyncIterator[MemoryStore]:
    async with MemoryStore(StoreOptions(clock=clock)) as opened:
        yield opened


def killed(task: Task) -> DeadLetter:
    """A letter of the broker."""
    death: dict[str, object] = {"queue": ECHO, "reason": "delivery_limit", "time": DIED}
    return DeadLetter.read(delivery(task.encode(), {"x-death": [death]}), ECHO)


async def test_a_task_that_the_broker_gave_up_is_dead_for_its_client_too(store: MemoryStore) -> None:
    waiting, running = new_task(), new_task()
    await store.create([waiting, running])
    await store.start([running], INSTANCE, attempts=5)

    records = await settle_broker_deaths([killed(waiting), killed(running)], store, clock=lambda: NOW)

    for task in (waiting, running):
        record = records[task.id]
        assert isinstance(record, TaskRecord)
        assert record == await record_of(store, task)
        assert record.state is TaskState.DEAD
        assert record.outcome is not None
        assert record.outcome.failure is not None
        assert record.outcome.failure.code == "delivery_limit"
        assert record.outcome.finished_at == DIED
    ended = records[running.id]
    assert isinstance(ended, TaskRecord)
    assert ended.outcome is not None
    assert (ended.outcome.attempt, ended.outcome.instance) == (1, INSTANCE)


async def test_a_task_that_has_come_to_life_after_its_death_is_left_alone(store: MemoryStore, clock: Clock) -> None:
    task = new_task()
    await store.create([task])
    clock.now = DIED + 60
    await store.start([task], INSTANCE, attempts=5)

    records = await settle_broker_deaths([killed(task)], store, clock=clock)

    assert records[task.id] == await record_of(store, task)
    assert (await record_of(store, task)).state is TaskState.RUNNING


async def test_what_an_instance_gave_up_has_an_outcome_from_there(store: MemoryStore) -> None:
    task = new_task()
    await store.create([task])
    letter = DeadLetter.read(delivery(task.encode(), {**hub_headers()}), ECHO)

    await settle_broker_deaths([letter], store)

    assert (await record_of(store, task)).state is TaskState.QUEUED


async def test_an_end_that_is_stored_stays(store: MemoryStore) -> None:
    task = new_task()
    await store.create([task])
    await store.finish([Outcome(task_id=task.id, state=TaskState.SUCCEEDED, body=b"", finished_at=float(DIED))])

    records = await settle_broker_deaths([killed(task)], store)

    assert records[task.id] == await record_of(store, task)
    assert (await record_of(store, task)).state is TaskState.SUCCEEDED


async def test_what_has_no_record_gets_none(store: MemoryStore) -> None:
    task = new_task()
    nameless = DeadLetter.read(delivery(b"\xff", {}), ECHO)

    assert await settle_broker_deaths([killed(task), nameless], store) == {task.id: Missing.UNKNOWN}
