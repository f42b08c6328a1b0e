"""Replaying: whatever happens, each task is on its queue or among the dead letters, and its record says which."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Never

import anyio
import pytest
from anyio.lowlevel import checkpoint
from structlog.testing import capture_logs

from hub.brokers import BrokerOptions
from hub.brokers.memory.broker import MemoryBroker
from hub.dead_letters import Replayed
from hub.dead_letters.replay import STEP
from hub.errors import ConnectionLost
from hub.ports.result_store import Missing
from hub.stores.memory.store import MemoryStore
from hub.stores.options import StoreOptions
from hub.task import Failure, Outcome, Task
from hub.types import ModelName, TaskState
from tests.amqp.cancellation_sweep import ROUNDS, cancelled_after
from tests.dead_letters.helpers import (
    DIED,
    INSTANCE,
    NOW,
    REASON,
    TIMEOUT,
    bury,
    dead_tasks,
    death_of,
    hub_headers,
    leave,
    new_task,
    queued_tasks,
    record_of,
    replay_all,
)


@pytest.fixture
async def broker() -> AsyncIterator[MemoryBroker]:
    async with MemoryBroker() as opened:
        yield opened


@pytest.fixture
async def store() -> AsyncIterator[MemoryStore]:
    async with MemoryStore(StoreOptions(clock=lambda: NOW)) as opened:
        yield opened


async def test_a_replayed_task_waits_on_its_queue_and_is_no_dead_letter_any_more(
    broker: MemoryBroker, store: MemoryStore
) -> None:
    task = new_task(b"body")
    await bury(broker, store, task)

    assert await replay_all(broker, store) == [Replayed(task.id)]

    assert await queued_tasks(broker) == [task]
    assert await dead_tasks(broker) == []
    assert (await record_of(store, task)).state is TaskState.QUEUED


async def test_a_replayed_task_is_run_as_if_it_had_never_been(broker: MemoryBroker, store: MemoryStore) -> None:
    task = new_task()
    await bury(broker, store, task)
    await replay_all(broker, store)

    (start,) = await store.start([task], INSTANCE, attempts=1)

    assert start.state is TaskState.RUNNING


async def test_a_replayed_task_has_no_deadline_unless_it_is_to_keep_it(
    broker: MemoryBroker, store: MemoryStore
) -> None:
    loose, strict = new_task(deadline=NOW - 1), new_task(deadline=NOW + 60)
    await bury(broker, store, loose)
    await replay_all(broker, store)
    await bury(broker, store, strict)
    await replay_all(broker, store, keep_deadline=True)

    assert [each.deadline for each in await queued_tasks(broker)] == [None, NOW + 60]
    assert (await record_of(store, loose)).deadline is None
    assert (await record_of(store, strict)).deadline == NOW + 60


async def test_a_task_that_the_store_has_forgotten_is_replayed(broker: MemoryBroker, store: MemoryStore) -> None:
    task = new_task()
    await leave(broker, task.encode(), headers=hub_headers())

    assert await replay_all(broker, store) == [Replayed(task.id)]

    assert (await record_of(store, task)).state is TaskState.QUEUED


@pytest.mark.parametrize("state", [TaskState.QUEUED, TaskState.RUNNING, TaskState.SUCCEEDED])
async def test_a_task_that_is_not_dead_any_more_is_left_alone_and_told(
    state: TaskState, broker: MemoryBroker, store: MemoryStore
) -> None:
    task = new_task()
    await leave(broker, task.encode(), headers=hub_headers())
    await put_into(state, task, store)

    (told,) = await replay_all(broker, store)

    assert state in told.problem
    assert await queued_tasks(broker) == []
    assert [letter.id for letter in await dead_tasks(broker)] == [task.id]
    assert (await record_of(store, task)).state is state


async def put_into(state: TaskState, task: Task, store: MemoryStore) -> None:
    await store.create([task])
    if state is TaskState.RUNNING:
        await store.start([task], INSTANCE, attempts=5)
    elif state is not TaskState.QUEUED:
        await store.finish([Outcome(task_id=task.id, state=state, body=b"", finished_at=NOW)])


async def test_a_task_that_a_killed_replay_left_queued_is_published_when_that_is_asked_for(
    broker: MemoryBroker, store: MemoryStore
) -> None:
    task = new_task()
    await bury(broker, store, task)
    await store.reset([task])  # and there the replay was killed

    (told,) = await replay_all(broker, store)
    assert "--again" in told.problem

    assert await replay_all(broker, store, again=True) == [Replayed(task.id)]
    assert await queued_tasks(broker) == [task]
    assert await dead_tasks(broker) == []


async def test_a_body_that_is_no_task_is_told_and_does_not_stop_the_others(
    broker: MemoryBroker, store: MemoryStore
) -> None:
    task = new_task()
    await leave(broker, b"\xff\xff", headers=hub_headers("undecodable"), message_id="message-7")
    await bury(broker, store, task)

    told = await replay_all(broker, store)

    assert [each.id for each in told if each.problem] == ["message-7"]
    assert await queued_tasks(broker) == [task]
    assert [letter.id for letter in await dead_tasks(broker)] == ["message-7"]


async def test_two_letters_of_one_task_make_one_message(broker: MemoryBroker, store: MemoryStore) -> None:
    task = new_task()
    await bury(broker, store, task)
    await leave(broker, task.encode(), headers=hub_headers())

    assert await replay_all(broker, store) == [Replayed(task.id)]

    assert await queued_tasks(broker) == [task]
    assert await dead_tasks(broker) == []


async def test_more_letters_than_one_step_takes_are_all_replayed(broker: MemoryBroker, store: MemoryStore) -> None:
    tasks = [new_task() for _ in range(STEP + 2)]
    await bury(broker, store, *tasks)

    told = await replay_all(broker, store)

    assert told == [Replayed(task.id) for task in tasks]
    assert await queued_tasks(broker) == tasks


async def test_a_task_from_the_wrong_queue_goes_to_the_queue_of_its_own_model(
    broker: MemoryBroker, store: MemoryStore
) -> None:
    other = ModelName("Other")
    await broker.declare(other)
    task = new_task(model=other)
    await bury(broker, store, task)

    assert await replay_all(broker, store) == [Replayed(task.id)]

    assert await queued_tasks(broker, other) == [task]
    assert await queued_tasks(broker) == []


async def test_a_task_that_the_broker_refuses_is_dead_as_before(broker: MemoryBroker, store: MemoryStore) -> None:
    task = new_task(model=ModelName("Nowhere"))
    await bury(broker, store, task)
    before = (await record_of(store, task)).outcome

    (told,) = await replay_all(broker, store)

    assert "Nowhere" in told.problem
    assert [letter.id for letter in await dead_tasks(broker)] == [task.id]
    record = await record_of(store, task)
    assert (record.state, record.outcome) == (TaskState.DEAD, before)


async def test_a_forgotten_task_that_the_broker_refuses_is_dead_for_the_reason_on_its_letter(
    broker: MemoryBroker, store: MemoryStore
) -> None:
    task = new_task(model=ModelName("Nowhere"))
    await leave(broker, task.encode(), headers=hub_headers())

    await replay_all(broker, store)

    outcome = (await record_of(store, task)).outcome
    assert outcome is not None
    assert outcome.failure == Failure(code="wrong_contract", message=REASON)
    assert (outcome.attempt, outcome.instance, outcome.finished_at) == (2, INSTANCE, DIED)


async def test_a_full_queue_refuses_only_what_it_has_no_room_for(store: MemoryStore) -> None:
    tasks = [new_task() for _ in range(3)]
    async with MemoryBroker(BrokerOptions(max_length=2)) as broker:
        await bury(broker, store, *tasks)

        told = await replay_all(broker, store)

        assert [bool(each.problem) for each in told] == [False, False, True]
        assert await queued_tasks(broker) == tasks[:2]
        assert [letter.id for letter in await dead_tasks(broker)] == [tasks[2].id]


async def test_a_name_that_no_queue_can_have_is_told(broker: MemoryBroker, store: MemoryStore) -> None:
    task = new_task(model=ModelName("no model/name"))
    await bury(broker, store, task)

    (told,) = await replay_all(broker, store)

    assert "no model/name" in told.problem
    assert (await record_of(store, task)).state is TaskState.DEAD


async def test_nothing_is_lost_wherever_a_replay_is_cancelled() -> None:
    cancelled = 0
    with anyio.fail_after(TIMEOUT):
        for rounds in range(ROUNDS):
            async with MemoryBroker() as broker, MemoryStore(StoreOptions()) as store:
                tasks = [new_task(b"%d" % number) for number in range(3)]
                await bury(broker, store, *tasks[:2])
                await leave(broker, tasks[2].encode(), headers=hub_headers())  # the store has forgotten it
                told: list[Replayed] = []

                through = await cancelled_after(partial(replaying, broker, store, told), rounds)
                await assert_nothing_is_lost(tasks, told, broker, store)
                if through:
                    break
                cancelled += 1
        else:
            pytest.fail("the replay never got through")
    assert cancelled > 5


async def replaying(broker: MemoryBroker, store: MemoryStore, told: list[Replayed]) -> None:
    await replay_all(broker, store, told=told)


async def assert_nothing_is_lost(
    tasks: Sequence[Task], told: Sequence[Replayed], broker: MemoryBroker, store: MemoryStore
) -> None:
    queued = {task.id for task in await queued_tasks(broker)}
    dead = {letter.id for letter in await dead_tasks(broker)}
    for task in tasks:
        assert task.id in queued | dead
        (record,) = await store.fetch([task.id])
        if task.id not in queued:
            # A record that says "queued" with no message would make the next replay leave it alone.
            assert isinstance(record, Missing) or record.state is TaskState.DEAD
        if Replayed(task.id) in told:
            assert task.id in queued
            assert not isinstance(record, Missing)
            assert record.state is TaskState.QUEUED


async def test_a_link_that_is_lost_while_publishing_leaves_tasks_dead(
    broker: MemoryBroker, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = new_task()
    told: list[Replayed] = []
    await bury(broker, store, task)
    monkeypatch.setattr(broker, "publish", lose_connection)

    with pytest.raises(ConnectionLost):
        await replay_all(broker, store, told=told)

    assert told == []
    assert [letter.id for letter in await dead_tasks(broker)] == [task.id]
    assert (await record_of(store, task)).outcome == death_of(task)


async def lose_connection(*_: object) -> Never:
    await checkpoint()
    raise ConnectionLost("server", "gone")


async def test_a_task_that_was_queued_already_stays_so_when_the_link_is_lost(
    broker: MemoryBroker, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its message may be on its queue since the replay that was killed."""
    task = new_task()
    await bury(broker, store, task)
    await store.reset([task])
    monkeypatch.setattr(broker, "publish", lose_connection)

    with pytest.raises(ConnectionLost):
        await replay_all(broker, store, again=True)

    assert (await record_of(store, task)).state is TaskState.QUEUED


async def test_a_task_that_another_process_resets_at_that_moment_is_left_alone(
    broker: MemoryBroker, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = new_task()
    await bury(broker, store, task)

    async def too_late(tasks: Sequence[Task]) -> Sequence[bool]:
        await checkpoint()
        return [False for _ in tasks]

    monkeypatch.setattr(store, "reset", too_late)

    (told,) = await replay_all(broker, store)

    assert "list it again" in told.problem
    assert await queued_tasks(broker) == []
    assert [letter.id for letter in await dead_tasks(broker)] == [task.id]


async def test_a_task_that_ended_otherwise_before_its_record_expired_is_left_alone(broker: MemoryBroker) -> None:
    now = NOW
    task = replace(new_task(), result_ttl=60.0)
    async with MemoryStore(StoreOptions(clock=lambda: now)) as store:
        await leave(broker, task.encode(), headers=hub_headers())
        await put_into(TaskState.SUCCEEDED, task, store)
        now += 61

        (told,) = await replay_all(broker, store)

        assert "its record has expired" in told.problem
        assert await queued_tasks(broker) == []
        assert await store.fetch([task.id]) == [Missing.GONE]


async def test_when_the_store_is_lost_as_well_the_log_names_the_repair(
    broker: MemoryBroker, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bury(broker, store, new_task())
    monkeypatch.setattr(broker, "publish", lose_connection)
    monkeypatch.setattr(store, "finish", lose_connection)

    with capture_logs() as logs, pytest.raises(ConnectionLost):
        await replay_all(broker, store)

    assert any("--again" in line["event"] and line["log_level"] == "error" for line in logs)
