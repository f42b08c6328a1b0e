"""A client does not want its task any more."""

from __future__ import annotations

import anyio
import pytest

from hub.stores import open_store
from hub.task import Failure, Outcome, Task
from hub.types import TaskId, TaskState, new_task_id
from tests.gateway.faults import LOST, FaultyStore
from tests.gateway.stage import INSTANCE, MODEL_A, Stage, echo_a, open_stage
from tests.gateway.test_submit import problem
from tests.gateway.test_tasks import submit


def outcome(location: str, state: TaskState) -> Outcome:
    """How the task at this address has ended."""
    failure = None if state is TaskState.SUCCEEDED else Failure(code="some_reason", message="so it was")
    task_id = TaskId(location.removeprefix("/v1/tasks/"))
    return Outcome(task_id=task_id, state=state, body=None if failure else b"", failure=failure, finished_at=1.0)


async def test_a_cancelled_task_is_answered_with_its_end_and_stays_so(stage: Stage) -> None:
    await stage.model()
    task = await submit(stage)

    first = await stage.client.delete(task)
    again = await stage.client.delete(task)
    shown = await stage.client.get(task)

    assert (first.status_code, again.status_code) == (200, 200)
    assert first.json() == again.json() == shown.json()
    assert (shown.json()["state"], shown.json()["failure"]["code"]) == ("cancelled", "cancelled")
    assert first.headers["etag"] == shown.headers["etag"]


async def test_a_task_that_was_cancelled_in_the_queue_never_runs(stage: Stage) -> None:
    await stage.model()
    await stage.client.delete(await submit(stage))
    other = await submit(stage)

    await stage.model(answer=echo_a)

    assert (await stage.client.get(other, params={"wait": 5})).json()["state"] == "succeeded"
    depth = (await stage.broker.depths([MODEL_A]))[MODEL_A]
    assert depth is not None
    assert depth.ready == 0
    cancelled, ran = stage.tasks
    assert f"/v1/tasks/{ran.id}" == other
    assert (await stage.client.get(f"/v1/tasks/{cancelled.id}")).json()["attempt"] == 0


async def test_the_instance_that_runs_a_task_is_told_that_it_is_cancelled(stage: Stage) -> None:
    await stage.model()
    location = await submit(stage)
    async with stage.broker.consume(MODEL_A, prefetch=1) as consumer:
        (delivery,) = await consumer.receive()
        task = Task.decode(delivery.body)
        await stage.store.start([task], INSTANCE, attempts=5)

        reply = await stage.client.delete(location)

        assert (reply.json()["state"], reply.json()["attempt"], reply.json()["instance"]) == ("cancelled", 1, INSTANCE)
        assert list(await stage.store.ended(INSTANCE)) == [task.id]


async def test_a_task_that_has_ended_otherwise_is_a_409_that_says_how(stage: Stage) -> None:
    await stage.model(answer=echo_a)
    task = await submit(stage)
    await stage.client.get(task, params={"wait": 5})

    reply = await stage.client.delete(task)

    assert problem(reply) == (409, "task_already_finished")
    assert (reply.json()["state"], reply.headers["location"]) == ("succeeded", task)
    assert (await stage.client.get(task)).json()["state"] == "succeeded"


async def test_of_an_outcome_and_a_cancellation_at_once_the_first_counts() -> None:
    with anyio.fail_after(10):
        async with open_store("memory://") as memory:
            store = FaultyStore(memory)
            async with open_stage(store=store) as stage:
                await stage.model()
                task = await submit(stage)
                store.before_finish = lambda: memory.finish([outcome(task, TaskState.SUCCEEDED)])
                assert problem(await stage.client.delete(task)) == (409, "task_already_finished")
                assert (await stage.client.get(task)).json()["state"] == "succeeded"


async def test_of_two_cancellations_at_once_both_succeed() -> None:
    with anyio.fail_after(10):
        async with open_store("memory://") as memory:
            store = FaultyStore(memory)
            async with open_stage(store=store) as stage:
                await stage.model()
                task = await submit(stage)
                store.before_finish = lambda: memory.finish([outcome(task, TaskState.CANCELLED)])
                assert (await stage.client.delete(task)).json()["state"] == "cancelled"


@pytest.mark.parametrize("task_id", ["nonsense", str(new_task_id())], ids=["nonsense", "fresh"])
async def test_a_task_that_never_was_cannot_be_cancelled(stage: Stage, task_id: str) -> None:
    assert problem(await stage.client.delete(f"/v1/tasks/{task_id}")) == (404, "unknown_task")


async def test_a_store_out_of_reach_is_a_503_and_the_task_goes_on() -> None:
    with anyio.fail_after(10):
        async with open_store("memory://") as memory:
            store = FaultyStore(memory)
            async with open_stage(store=store) as stage:
                await stage.model()
                task = await submit(stage)
                store.finish_error = LOST
                assert problem(await stage.client.delete(task)) == (503, "connection_lost")
                assert (await stage.client.get(task)).json()["state"] == "queued"
                store.finish_error = None
                assert (await stage.client.delete(task)).json()["state"] == "cancelled"


async def test_who_waits_for_a_task_hears_at_once_that_it_was_cancelled(stage: Stage) -> None:
    await stage.model()
    task = await submit(stage)
    states: list[str] = []

    async def hold() -> None:
        states.append((await stage.client.get(task, params={"wait": 50})).json()["state"])

    async with anyio.create_task_group() as tg:
        tg.start_soon(hold)
        await anyio.wait_all_tasks_blocked()
        await stage.client.delete(task)
    assert states == ["cancelled"]


async def test_a_call_whose_task_is_cancelled_by_another_is_a_409(stage: Stage) -> None:
    await stage.model()
    replies: list[tuple[int, str]] = []

    async def call() -> None:
        reply = await stage.client.post("/v1/models/ModelA", json={}, headers={"Prefer": "wait=50"})
        replies.append(problem(reply))

    async with anyio.create_task_group() as tg:
        tg.start_soon(call)
        async with stage.broker.consume(MODEL_A, prefetch=1) as consumer:
            (delivery,) = await consumer.receive()
            await stage.client.delete(f"/v1/tasks/{delivery.message_id}")
    assert replies == [(409, "task_cancelled")]


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (TaskState.FAILED, (502, "task_failed")),
        (TaskState.DEAD, (502, "task_failed")),
        (TaskState.EXPIRED, (504, "task_expired")),
        (TaskState.CANCELLED, (409, "task_cancelled")),
    ],
)
async def test_how_a_task_ended_decides_the_status_of_its_result(
    stage: Stage, state: TaskState, expected: tuple[int, str]
) -> None:
    await stage.model()
    task = await submit(stage)
    await stage.store.finish([outcome(task, state)])

    reply = await stage.client.get(f"{task}/result")

    assert problem(reply) == expected
    assert (reply.json()["state"], reply.json()["failure"]["code"]) == (state, "some_reason")
    assert reply.headers["location"] == task
