"""A caller that does not wait for its answer, over real connections and through the server of each backend."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio import create_task_group

from hub.http.client import open_client
from hub.stores import open_store
from hub.task import TaskRecord
from hub.types import TaskId, TaskState
from tests.gateway.faults import LOST, FaultyStore
from tests.gateway.stage import MODEL_A, Stage, echo_a, open_stage
from tests.gateway.wire import Exchange, exchange, serving

CALL = "/v1/models/ModelA"
BODY = b'{"messages": "hi"}'
JSON = {"Content-Type": "application/json", "Content-Length": str(len(BODY))}

pytestmark = pytest.mark.usefixtures("no_leaked_tasks")


@asynccontextmanager
async def caller(url: str, path: str, **headers: str) -> AsyncGenerator[Exchange]:
    """A client that has sent its request; leaving the block hangs up."""
    async with exchange(url, "POST", path, {**JSON, **headers}) as opened:
        await opened.write(BODY)
        await opened.end()
        yield opened


async def first_in_queue(stage: Stage) -> TaskId:
    """Waits until there is a task, and leaves it where it is."""
    async with stage.broker.consume(MODEL_A, prefetch=1) as consumer:
        (delivery,) = await consumer.receive()
        return TaskId(delivery.message_id)


async def state(stage: Stage, task: TaskId) -> TaskState:
    (record,) = await stage.store.fetch([task])
    assert isinstance(record, TaskRecord)
    return record.state


async def test_the_task_of_a_caller_that_hangs_up_is_cancelled_while_it_waits_and_never_runs(stage: Stage) -> None:
    await stage.model()
    async with serving(stage) as url:
        async with caller(url, CALL):
            task = await first_in_queue(stage)
        record = await stage.store.changed(task, after=0, until_terminal=True)
        assert isinstance(record, TaskRecord)
        assert record.state is TaskState.CANCELLED
        await stage.model(answer=echo_a)
        async with caller(url, CALL) as other:
            assert await other.head() == 200
    assert [seen.id == task for seen in stage.tasks] == [True, False]
    assert await state(stage, task) is TaskState.CANCELLED


async def test_a_caller_that_waits_is_answered_and_its_task_left_alone(stage: Stage) -> None:
    await stage.model()
    async with serving(stage) as url, caller(url, CALL) as opened:
        task = await first_in_queue(stage)
        await stage.model(answer=echo_a)
        assert await opened.head() == 200
        assert await state(stage, task) is TaskState.SUCCEEDED


async def test_a_connection_that_is_used_again_hangs_up_for_its_last_call_only(stage: Stage) -> None:
    await stage.model(answer=echo_a)
    async with serving(stage) as url, open_client() as client:
        for _ in range(3):
            assert (await client.post(f"{url}{CALL}", json={})).status_code == 200
    assert [await state(stage, task.id) for task in stage.tasks] == [TaskState.SUCCEEDED] * 3


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        (f"{CALL}/tasks", {"Prefer": "wait=50"}),  # it was given an id, or could have been
        (CALL, {"Idempotency-Key": "order-66"}),  # it may come again for the same task
    ],
)
async def test_who_may_come_back_for_a_task_does_not_cancel_it_by_hanging_up(
    stage: Stage, path: str, headers: dict[str, str]
) -> None:
    await stage.model()
    async with serving(stage) as url:
        async with caller(url, path, **headers):
            task = await first_in_queue(stage)
        await nothing_held(stage)  # its connection does not stay for the time that it asked to wait
        # The drain answers what is held back, so after it nothing is left that could still cancel.
    assert await state(stage, task) is TaskState.QUEUED


@pytest.mark.parametrize("path", ["/v1/tasks/{}?wait=50", "/v1/tasks/{}/result?wait=50", "/v1/models", "/openapi.json"])
async def test_reads_that_are_held_back_end_with_their_connections(stage: Stage, path: str) -> None:
    await stage.model()
    async with serving(stage) as url, open_client() as client:
        task = (await client.post(f"{url}{CALL}/tasks", json={})).json()["id"]
        headers = {"Prefer": "wait=50"}
        if "{}" not in path:
            headers["If-None-Match"] = (await client.get(f"{url}{path}")).headers["ETag"]
        async with exchange(url, "GET", path.format(task), headers) as opened:
            await opened.end()
            while not stage.polls.held:
                await anyio.sleep(0.01)
        await nothing_held(stage)


async def nothing_held(stage: Stage) -> None:
    with anyio.fail_after(10):
        while stage.polls.held:
            await anyio.sleep(0.01)


async def test_hanging_up_cancels_nothing_when_the_settings_say_so() -> None:
    with anyio.fail_after(20):
        async with open_stage(cancel_on_disconnect=False) as stage:
            await stage.model()
            async with serving(stage) as url:
                async with caller(url, CALL):
                    task = await first_in_queue(stage)
            assert await state(stage, task) is TaskState.QUEUED


async def test_a_drain_is_no_hanging_up_the_task_goes_on(stage: Stage) -> None:
    await stage.model()
    statuses: list[int] = []
    async with create_task_group() as tg:
        async with serving(stage) as url:

            async def call() -> None:
                async with caller(url, CALL) as opened:
                    statuses.append(await opened.head())

            tg.start_soon(call)
            task = await first_in_queue(stage)
    assert statuses == [504]
    assert await state(stage, task) is TaskState.QUEUED


async def test_a_caller_that_hangs_up_while_the_store_is_away_costs_nobody_else_anything() -> None:
    with anyio.fail_after(20):
        async with open_store("memory://") as memory:
            store = FaultyStore(memory)
            async with open_stage(store=store) as stage:
                await stage.model()
                async with serving(stage) as url:
                    store.finish_error = LOST
                    async with caller(url, CALL):
                        task = await first_in_queue(stage)
                    await store.finishing.wait()
                    store.finish_error = None
                    await stage.model(answer=echo_a)
                    async with caller(url, CALL) as other:
                        assert await other.head() == 200
                assert await state(stage, task) is TaskState.SUCCEEDED
