"""Cancellation of tasks by clients."""

from __future__ import annotations

import anyio
import pytest

from hub.stores import open_store
from hub.task import Failure, Outcome, Task
from hub.types import TaskId, TaskState, new_task_id
from tests.gateway.fakes import LOST, FaultyStore
from tests.gateway.fixtures import INSTANCE, MODEL_A, LocalGateway, echo_a, open_gateway
from tests.gateway.test_submit import problem
from tests.gateway.test_tasks import submit


def outcome(location: str, state: TaskState) -> Outcome:
    """How the task at this address has ended."""
    failure = None if state is TaskState.SUCCEEDED else Failure(code="some_reason", message="so it was")
    task_id = TaskId(location.removeprefix("/v1/tasks/"))
    return Outcome(task_id=task_id, state=state, body=None if failure else b"", failure=failure, finished_at=1.0)


async def test_a_cancelled_task_is_returned_as_cancelled_and_stays_so(gateway: LocalGateway) -> None:
    await gateway.model()
    task = await submit(gateway)

    first = await gateway.client.delete(task)
    again = await gateway.client.delete(task)
    shown = await gateway.client.get(task)

    assert (first.status_code, again.status_code) == (200, 200)
    assert first.json() == again.json() == shown.json()
    assert (shown.json()["state"], shown.json()["failure"]["code"]) == ("cancelled", "cancelled")
    assert first.headers["etag"] == shown.headers["etag"]


async def test_a_task_that_was_cancelled_in_the_queue_never_runs(gateway: LocalGateway) -> None:
    await gateway.model()
    await gateway.client.delete(await submit(gateway))
    other = await submit(gateway)

    await gateway.model(answer=echo_a)

    assert (await gateway.client.get(other, params={"wait": 5})).json()["state"] == "succeeded"
    depth = (await gateway.broker.depths([MODEL_A]))[MODEL_A]
    assert depth is not None
    assert depth.ready == 0
    cancelled, ran = gateway.received
    assert f"/v1/tasks/{ran.id}" == other
    assert (await gateway.client.get(f"/v1/tasks/{cancelled.id}")).json()["attempt"] == 0


async def test_the_instance_that_runs_a_task_is_notified_of_its_cancellation(gateway: LocalGateway) -> None:
    await gateway.model()
    location = await submit(gateway)
    async with gateway.broker.consume(MODEL_A, prefetch=1) as consumer:
        (delivery,) = await consumer.receive()
        task = Task.decode(delivery.body)
        await gateway.store.start([task], INSTANCE, attempts=5)

        reply = await gateway.client.delete(location)

        assert (reply.json()["state"], reply.json()["attempt"], reply.json()["instance"]) == ("cancelled", 1, INSTANCE)
        assert list(await gateway.store.next_ended(INSTANCE)) == [task.id]


async def test_a_task_that_has_ended_otherwise_is_a_409_that_says_how(gateway: LocalGateway) -> None:
    await gateway.model(answer=echo_a)
    task = await submit(gateway)
    await gateway.client.get(task, params={"wait": 5})

    reply = await gateway.client.delete(task)

    assert problem(reply) == (409, "task_already_finished")
    assert (reply.json()["state"], reply.headers["location"]) == ("succeeded", task)
    assert (await gateway.client.get(task)).json()["state"] == "succeeded"


async def test_of_an_outcome_and_a_cancellation_at_once_the_first_counts() -> None:
    with anyio.fail_after(10):
        async with open_store("memory://") as memory:
            store = FaultyStore(memory)
            async with open_gateway(store=store) as gateway:
                await gateway.model()
                task = await submit(gateway)
                store.before_finish = lambda: memory.finish([outcome(task, TaskState.SUCCEEDED)])
                assert problem(await gateway.client.delete(task)) == (409, "task_already_finished")
                assert (await gateway.client.get(task)).json()["state"] == "succeeded"


async def test_of_two_cancellations_at_once_both_succeed() -> None:
    with anyio.fail_after(10):
        async with open_store("memory://") as memory:
            store = FaultyStore(memory)
            async with open_gateway(store=store) as gateway:
                await gateway.model()
                task = await submit(gateway)
                store.before_finish = lambda: memory.finish([outcome(task, TaskState.CANCELLED)])
                assert (await gateway.client.delete(task)).json()["state"] == "cancelled"


@pytest.mark.parametrize("task_id", ["nonsense", str(new_task_id())], ids=["nonsense", "fresh"])
async def test_an_unknown_task_cannot_be_cancelled(gateway: LocalGateway, task_id: str) -> None:
    assert problem(await gateway.client.delete(f"/v1/tasks/{task_id}")) == (404, "unknown_task")


async def test_a_store_out_of_reach_is_a_503_and_the_task_goes_on() -> None:
    with anyio.fail_after(10):
        async with open_store("memory://") as memory:
            store = FaultyStore(memory)
            async with open_gateway(store=store) as gateway:
                await gateway.model()
                task = await submit(gateway)
                store.finish_error = LOST
                assert problem(await gateway.client.delete(task)) == (503, "connection_lost")
                assert (await gateway.client.get(task)).json()["state"] == "queued"
                store.finish_error = None
                assert (await gateway.client.delete(task)).json()["state"] == "cancelled"


async def test_a_wait_for_a_task_ends_when_it_is_cancelled(gateway: LocalGateway) -> None:
    await gateway.model()
    task = await submit(gateway)
    states: list[str] = []

    async def hold() -> None:
        states.append((await gateway.client.get(task, params={"wait": 50})).json()["state"])

    async with anyio.create_task_group() as tg:
        tg.start_soon(hold)
        await anyio.wait_all_tasks_blocked()
        await gateway.client.delete(task)
    assert states == ["cancelled"]


async def test_a_call_whose_task_is_cancelled_by_another_is_a_409(gateway: LocalGateway) -> None:
    await gateway.model()
    replies: list[tuple[int, str]] = []

    async def call() -> None:
        reply = await gateway.client.post("/v1/models/ModelA", json={}, headers={"Prefer": "wait=50"})
        replies.append(problem(reply))

    async with anyio.create_task_group() as tg:
        tg.start_soon(call)
        async with gateway.broker.consume(MODEL_A, prefetch=1) as consumer:
            (delivery,) = await consumer.receive()
            await gateway.client.delete(f"/v1/tasks/{delivery.message_id}")
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
    gateway: LocalGateway, state: TaskState, expected: tuple[int, str]
) -> None:
    await gateway.model()
    task = await submit(gateway)
    await gateway.store.finish([outcome(task, state)])

    reply = await gateway.client.get(f"{task}/result")

    assert problem(reply) == expected
    assert (reply.json()["state"], reply.json()["failure"]["code"]) == (state, "some_reason")
    assert reply.headers["location"] == task
