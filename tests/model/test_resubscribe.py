"""An instance that is asked to subscribe to its queue again."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

import anyio
import pytest
from httpx2 import AsyncClient
from typing_extensions import override

from examples.model_a.v1.model_a_pb2 import ModelARequest, ModelAResponse
from hub.concurrency.services import background_service
from hub.ports.broker import Consumer
from hub.types import ModelName
from tests.model.fakes import TIMEOUT, Echo, ended, reply_of, submit
from tests.model.test_instance import World, client, new_task, registry, world

__all__ = ["client", "registry", "world"]

pytestmark = pytest.mark.usefixtures("no_leaked_tasks")


class Patient(Echo):
    """Works until it is let go, on as many tasks at once as an Echo."""

    name = "Echo"
    started: anyio.Event
    let_go: anyio.Event
    runs: int

    @override
    async def process_request(self, request: ModelARequest) -> ModelAResponse:
        type(self).runs += 1
        self.started.set()
        await self.let_go.wait()
        return ModelAResponse(reply=request.messages)


async def until_consuming(client: AsyncClient, url: str) -> None:
    while not (await client.get(f"{url}/ping")).json()["consuming"]:
        pass


async def test_it_leaves_its_link_and_enters_a_new_one(
    world: World, client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other, links = new_task("one"), new_task("other"), 0
    consume = world.broker.consume

    def counted(queue: ModelName, *, prefetch: int) -> AbstractAsyncContextManager[Consumer]:
        nonlocal links
        links += 1
        return consume(queue, prefetch=prefetch)

    monkeypatch.setattr(world.broker, "consume", counted)
    with anyio.fail_after(TIMEOUT):
        async with background_service(world.instance(), name="instance") as url:
            await submit(world.broker, world.store, one)
            await ended(world.store, one)
            reply = await client.post(f"{url}/resubscribe")
            assert (reply.status_code, reply.json()) == (202, {"resubscribing": True})
            while links < 2:
                await anyio.lowlevel.checkpoint()
            await until_consuming(client, url)
            assert world.broker.statistics().consumers == 1
            await submit(world.broker, world.store, other)
            assert await reply_of(world.store, other) == "other"


async def test_what_it_runs_goes_on_and_is_run_once(world: World, client: AsyncClient) -> None:
    Patient.started, Patient.let_go, Patient.runs = anyio.Event(), anyio.Event(), 0
    one = new_task("one")
    with anyio.fail_after(TIMEOUT):
        async with background_service(world.instance(Patient), name="instance") as url:
            await submit(world.broker, world.store, one)
            await Patient.started.wait()
            for _ in range(3):
                await client.post(f"{url}/resubscribe")
                await until_consuming(client, url)
            Patient.let_go.set()
            record = await ended(world.store, one)
            assert (Patient.runs, record.attempt) == (1, 1)
            depth = (await world.broker.depths([one.model]))[one.model]
            while depth is None or depth.ready or world.broker.statistics().unacked:
                await anyio.lowlevel.checkpoint()
                depth = (await world.broker.depths([one.model]))[one.model]


async def test_without_a_link_there_is_none_to_leave(world: World, client: AsyncClient) -> None:
    with anyio.fail_after(TIMEOUT):
        async with background_service(world.instance(), name="instance") as url:
            with world.broker.outage():
                while (await client.get(f"{url}/ping")).json()["consuming"]:
                    pass
                reply = await client.post(f"{url}/resubscribe")
                assert (reply.status_code, reply.json()) == (202, {"resubscribing": False})
            await until_consuming(client, url)


async def test_it_asks_for_the_token_like_a_ping(world: World, client: AsyncClient) -> None:
    with anyio.fail_after(TIMEOUT):
        async with background_service(world.instance(token="sesame"), name="instance") as url:
            assert (await client.post(f"{url}/resubscribe")).status_code == 401
            reply = await client.post(f"{url}/resubscribe", headers={"Authorization": "Bearer sesame"})
            assert reply.status_code == 202


async def test_one_that_drains_stays_out(world: World, client: AsyncClient) -> None:
    Patient.started, Patient.let_go, Patient.runs = anyio.Event(), anyio.Event(), 0
    one = new_task("one")
    with anyio.fail_after(TIMEOUT):
        async with anyio.create_task_group() as tg:
            url = ""

            async def instance(*, task_status: anyio.abc.TaskStatus[anyio.CancelScope]) -> None:
                nonlocal url
                with anyio.CancelScope() as scope:
                    async with anyio.create_task_group() as inner:
                        url = await inner.start(world.instance(Patient))
                        task_status.started(scope)

            scope = await tg.start(instance)
            await submit(world.broker, world.store, one)
            await Patient.started.wait()
            scope.cancel()
            ping = (await client.get(f"{url}/ping")).json()
            while ping["consuming"]:
                ping = (await client.get(f"{url}/ping")).json()
            assert (ping["draining"], ping["reason"]) == (True, "it is about to stop")
            assert (await client.post(f"{url}/resubscribe")).json() == {"resubscribing": False}
            Patient.let_go.set()
        assert await reply_of(world.store, one) == "one"
