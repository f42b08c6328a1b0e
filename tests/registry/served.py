"""A whole registry behind real HTTP, in the test's own task tree."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import anyio
from httpx2 import AsyncClient, Response

from hub.brokers.memory import MemoryBroker
from hub.contract import Contract
from hub.directories.memory import MemoryDirectory
from hub.http.client import open_client
from hub.lifecycle import running
from hub.ports import Broker, Directory, Terms
from hub.registry.client import RegistryClient
from hub.registry.service import run_registry
from hub.registry.snapshot import ModelsSnapshot
from hub.registry.states import InstanceState
from hub.registry.watch import ModelWatch
from hub.settings import RegistrySettings
from hub.vocabulary import ModelName
from tests.registry.support import MODEL, TEXTS, PingServer


@dataclass
class ServedRegistry:
    """Where it answers, and ways to ask it."""

    url: str
    http: AsyncClient
    client: RegistryClient

    async def login(
        self,
        server: PingServer,
        model: str = MODEL,
        contract: Contract = TEXTS,
        url: str = "",
        *,
        example: str = "",
        terms: Terms = Terms(),
    ) -> InstanceState:
        where = url or server.url
        return await self.client.login(server.id, ModelName(model), where, contract, example=example, terms=terms)

    async def get(self, path: str, **headers: str) -> Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.http.get(self.url + path, headers=named)

    async def json(self, path: str) -> Any:
        reply = await self.get(path)
        assert reply.status_code == 200, reply.text
        return reply.json()

    async def active(self) -> list[str]:
        return [model["name"] for model in (await self.json("/v1/models"))["models"]]

    async def watched(self) -> None:
        """Returns once a request is held."""
        while "hub_registry_watchers 0.0" in (await self.get("/metrics")).text:
            await anyio.lowlevel.checkpoint()

    async def until(self, satisfied: Callable[[ModelsSnapshot], bool]) -> ModelsSnapshot:
        """Follows the list until it is as wanted."""
        watch = ModelWatch(self.client)
        while True:
            snapshot = await anext(watch)
            if satisfied(snapshot):
                return snapshot


@asynccontextmanager
async def served_registry(
    *,
    directory: Directory | None = None,
    broker: Broker | None = None,
    token: str = "",
    ping_period: float = 60.0,
    port: int = 0,
) -> AsyncGenerator[ServedRegistry]:
    """The long ping period leaves the word to the pings at login."""
    settings = RegistrySettings(
        registry_port=port,
        token=token,
        ping_period=ping_period,
        ping_timeout=ping_period * 0.9,
        depth_period=0.01,
        instance_networks="127.0.0.0/8,::1/128",
    )
    async with MemoryBroker() as embedded, open_client() as http:
        component = partial(run_registry, settings, directory=directory or MemoryDirectory(), broker=broker or embedded)
        async with running(component, name="registry") as url:
            yield ServedRegistry(url=url, http=http, client=RegistryClient(url, http, token=token))
