"""Clients of calls that disconnect, over real connections to the server of each backend."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio import create_task_group

from hub.http.client import open_client
from hub.http.serve.hangups import AVAILABLE
from hub.stores import open_store
from hub.task import TaskRecord
from hub.types import TaskId, TaskState
from tests.gateway.fakes import LOST, FaultyStore
from tests.gateway.fixtures import MODEL_A, LocalGateway, echo_a, open_gateway
from tests.gateway.wire import Exchange, exchange, serving

CALL = "/v1/models/ModelA"
BODY = b'{"messages": "hi"}'
JSON = {"Content-Type": "application/json", "Content-Length": str(len(BODY))}

pytestmark = pytest.mark.usefixtures("no_leaked_tasks", "noticed")


@pytest.fixture(params=[True, False], ids=["noticed by the server", "noticed by a task"])
def noticed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways in which a disconnect is noticed: with epoll, and on systems without it and over TLS."""
    monkeypatch.setattr("hub.http.serve.server.AVAILABLE", request.param and AVAILABLE)


@asynccontextmanager
async def caller(url: str, path: str, **headers: str) -> AsyncGenerator[Exchange]:
    """A client that has sent its request; leaving the block hangs up."""
    async with exchange(url, "POST", path, {**JSON, **headers}) as opened:
        await opened.write(BODY)
        await opened.end()
        yield opened


async def first_in_queue(gateway: LocalGateway) -> TaskId:
    """Waits until there is a task, and leaves it where it is."""
    async with gateway.broker.consume(MODEL_A, prefetch=1) as consumer:
        (delivery,) = await consumer.receive()
        return TaskId(delivery.message_id)


async def state(gateway: LocalGateway, task: TaskId) -> TaskState:
    (record,) = await gateway.store.fetch([task])
    assert isinstance(record, TaskRecord)
    return record.state


async def test_the_waiting_task_of_a_client_that_disconnects_is_cancelled_and_never_runs(
    gateway: LocalGateway,
) -> None:
    await gateway.model()
    async with serving(gateway) as url:
        async with caller(url, CALL):
            task = await first_in_queue(gateway)
        record = await gateway.store.wait_for_change(task, after=0, until_terminal=True)
        assert isinstance(record, TaskRecord)
        assert record.state is TaskState.CANCELLED
        await gateway.model(answer=echo_a)
        async with caller(url, CALL) as other:
            assert await other.head() == 200
    assert [seen.id == task for seen in gateway.received] == [True, False]
    assert await state(gateway, task) is TaskState.CANCELLED


async def test_a_client_that_waits_gets_its_reply_and_its_task_is_not_cancelled(gateway: LocalGateway) -> None:
    await gateway.model()
    async with serving(gateway) as url, caller(url, CALL) as opened:
        task = await first_in_queue(gateway)
        await gateway.model(answer=echo_a)
        assert await opened.head() == 200
        assert await state(gateway, task) is TaskState.SUCCEEDED


async def test_a_disconnect_cancels_only_the_last_call_of_a_connection(gateway: LocalGateway) -> None:
    await gateway.model(answer=echo_a)
    async with serving(gateway) as url, open_client() as client:
        for _ in range(3):
            assert (await client.post(f"{url}{CALL}", json={})).status_code == 200
    assert [await state(gateway, task.id) for task in gateway.received] == [TaskState.SUCCEEDED] * 3


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        (f"{CALL}/tasks", {"Prefer": "wait=50"}),  # it was given an id, or could have been
        (CALL, {"Idempotency-Key": "order-66"}),  # it may come again for the same task
    ],
)
async def test_a_disconnect_does_not_cancel_a_task_with_an_idempotency_key(
    gateway: LocalGateway, path: str, headers: dict[str, str]
) -> None:
    await gateway.model()
    async with serving(gateway) as url:
        async with caller(url, path, **headers):
            task = await first_in_queue(gateway)
        await nothing_held(gateway)  # its connection does not stay for the time that it asked to wait
        # The drain answers what is held back, so after it nothing is left that could still cancel.
    assert await state(gateway, task) is TaskState.QUEUED


@pytest.mark.parametrize("path", ["/v1/tasks/{}?wait=50", "/v1/tasks/{}/result?wait=50", "/v1/models", "/openapi.json"])
async def test_reads_that_are_held_back_end_with_their_connections(gateway: LocalGateway, path: str) -> None:
    await gateway.model()
    async with serving(gateway) as url, open_client() as client:
        task = (await client.post(f"{url}{CALL}/tasks", json={})).json()["id"]
        headers = {"Prefer": "wait=50"}
        if "{}" not in path:
            headers["If-None-Match"] = (await client.get(f"{url}{path}")).headers["ETag"]
        async with exchange(url, "GET", path.format(task), headers) as opened:
            await opened.end()
            while not gateway.parts.polls.waiting:
                await anyio.sleep(0.01)
        await nothing_held(gateway)


async def nothing_held(gateway: LocalGateway) -> None:
    with anyio.fail_after(10):
        while gateway.parts.polls.waiting:
            await anyio.sleep(0.01)


async def test_a_disconnect_cancels_nothing_with_the_setting_off() -> None:
    with anyio.fail_after(20):
        async with open_gateway(cancel_on_disconnect=False) as gateway:
            await gateway.model()
            async with serving(gateway) as url:
                async with caller(url, CALL):
                    task = await first_in_queue(gateway)
            assert await state(gateway, task) is TaskState.QUEUED


async def test_a_drain_does_not_cancel_the_task_of_a_call(gateway: LocalGateway) -> None:
    await gateway.model()
    statuses: list[int] = []
    async with create_task_group() as tg:
        async with serving(gateway) as url:

            async def call() -> None:
                async with caller(url, CALL) as opened:
                    statuses.append(await opened.head())

            tg.start_soon(call)
            task = await first_in_queue(gateway)
    assert statuses == [504]
    assert await state(gateway, task) is TaskState.QUEUED


async def test_a_disconnect_while_the_store_is_out_of_reach_affects_no_other_client() -> None:
    with anyio.fail_after(20):
        async with open_store("memory://") as memory:
            store = FaultyStore(memory)
            async with open_gateway(store=store) as gateway:
                await gateway.model()
                async with serving(gateway) as url:
                    store.finish_error = LOST
                    async with caller(url, CALL):
                        task = await first_in_queue(gateway)
                    await store.finishing.wait()
                    store.finish_error = None
                    await gateway.model(answer=echo_a)
                    async with caller(url, CALL) as other:
                        assert await other.head() == 200
                assert await state(gateway, task) is TaskState.SUCCEEDED
