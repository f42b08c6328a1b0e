"""The whole gateway beside a real registry and real instances, over sockets."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial

import anyio
import pytest
from httpx2 import AsyncClient

from examples.model_a import ModelA
from hub.brokers import open_broker
from hub.concurrency.services import background_service
from hub.directories import open_directory
from hub.errors import ConnectionRefused
from hub.gateway.service import run_gateway
from hub.http.client import open_client
from hub.model.instance.instance import run_instance
from hub.ports.broker import Broker
from hub.ports.result_store import ResultStore
from hub.registry.service import run_registry
from hub.settings.up import UpSettings
from hub.stores import open_store

SETTINGS = UpSettings(gateway_port=0, registry_port=0, drain_grace=1.0)


@dataclass(frozen=True, slots=True)
class World:
    """A registry and a gateway that run, and what they share."""

    settings: UpSettings
    broker: Broker
    store: ResultStore
    url: str
    client: AsyncClient

    def instance(self) -> Callable[..., Awaitable[None]]:
        return partial(run_instance, ModelA, self.settings, broker=self.broker, store=self.store)


@asynccontextmanager
async def world() -> AsyncGenerator[World]:
    async with (
        open_broker("memory://") as broker,
        open_store("memory://") as store,
        open_directory("memory://") as directory,
        background_service(
            partial(run_registry, SETTINGS, directory=directory, broker=broker), name="registry"
        ) as registry_url,
    ):
        settings = replace(SETTINGS, registry_url=registry_url)
        gateway = partial(run_gateway, settings, broker=broker, store=store)
        async with background_service(gateway, name="gateway") as url, open_client() as client:
            yield World(settings, broker, store, url, client)


async def described(client: AsyncClient, url: str, etag: str = "") -> tuple[str, set[str]]:
    """The ETag and the paths of the description; with an ETag, of the next one."""
    headers = {"If-None-Match": etag, "Prefer": "wait=30"} if etag else {}
    reply = await client.get(f"{url}/openapi.json", headers=headers)
    return reply.headers["etag"], set(reply.json()["paths"])


async def test_a_model_is_described_from_its_login_to_its_logout() -> None:
    with anyio.fail_after(60):
        async with world() as w, anyio.create_task_group() as tg:
            etag, before = await described(w.client, w.url)
            async with background_service(w.instance(), name="instance"):
                etag, during = await described(w.client, w.url, etag)
                reply = await w.client.post(f"{w.url}/v1/models/ModelA", json={"messages": "hi"})
                assert reply.json() == {"reply": "Processed message: hi\n"}
                ready = await w.client.get(f"{w.url}/health/ready")
                assert ready.status_code == 200
            _, after = await described(w.client, w.url, etag)
            tg.cancel_scope.cancel()
        assert during - before == {"/v1/models/ModelA", "/v1/models/ModelA/tasks", "/v1/models/ModelA/batches"}
        assert after == before


async def test_a_long_poll_is_answered_when_the_gateway_stops() -> None:
    with anyio.fail_after(60):
        async with (
            open_broker("memory://") as broker,
            open_store("memory://") as store,
            open_client() as client,
            anyio.create_task_group() as tg,
        ):
            statuses: list[int] = []
            stop = anyio.CancelScope()
            ready, stopped = anyio.Event(), anyio.Event()
            addresses: list[str] = []

            async def serve() -> None:
                with stop:
                    gateway = partial(run_gateway, SETTINGS, broker=broker, store=store)
                    async with anyio.create_task_group() as inner:
                        addresses.append(await inner.start(gateway))
                        ready.set()
                stopped.set()

            async def hold() -> None:
                etag = (await client.get(f"{addresses[0]}/openapi.json")).headers["etag"]
                holding.set()
                headers = {"If-None-Match": etag, "Prefer": "wait=60"}
                statuses.append((await client.get(f"{addresses[0]}/openapi.json", headers=headers)).status_code)

            holding = anyio.Event()
            tg.start_soon(serve)
            await ready.wait()
            tg.start_soon(hold)
            await holding.wait()
            while "hub_gateway_long_polls 1.0" not in (await client.get(f"{addresses[0]}/metrics")).text:
                await anyio.lowlevel.checkpoint()
            stop.cancel()
            await stopped.wait()
            assert statuses == [304]


async def test_a_gateway_with_a_wrong_token_ends_with_an_error() -> None:
    with anyio.fail_after(60):
        secured = replace(SETTINGS, token="right")
        async with (
            open_broker("memory://") as broker,
            open_store("memory://") as store,
            open_directory("memory://") as directory,
            background_service(
                partial(run_registry, secured, directory=directory, broker=broker), name="registry"
            ) as registry_url,
        ):
            wrong = replace(SETTINGS, token="wrong", registry_url=registry_url)
            with pytest.raises(ConnectionRefused, match="401"):
                await run_gateway(wrong, broker=broker, store=store)
