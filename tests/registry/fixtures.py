"""A registry behind real HTTP, in the task tree of the test."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import anyio
from httpx2 import AsyncClient, Response

from hub.brokers.memory.broker import MemoryBroker
from hub.concurrency.services import background_service
from hub.contract import Contract
from hub.contract.comments import Comments
from hub.directories.memory import MemoryDirectory
from hub.http.client import open_client
from hub.ports.broker import Broker
from hub.ports.directory import Directory, ModelLimits
from hub.registry.client.client import RegistryClient
from hub.registry.client.login import LoginRequest
from hub.registry.client.snapshot import ModelsSnapshot
from hub.registry.client.watch import ModelWatch
from hub.registry.service import run_registry
from hub.settings.registry import ContractMode, RegistrySettings
from hub.types import InstanceState, ModelName
from tests.registry.fakes import AttendedBroker, PingServer
from tests.registry.helpers import MODEL, TEXTS


@dataclass
class ServedRegistry:
    """A running registry: its URL, and calls of it."""

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
        limits: ModelLimits = ModelLimits(),
        comments: Comments = (),
    ) -> InstanceState:
        where = url or server.url
        request = LoginRequest(
            instance=server.id,
            model=ModelName(model),
            url=where,
            contract=contract,
            example=example,
            limits=limits,
            comments=comments,
        )
        return (await self.client.login(request)).state

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
        """Waits until a request is held."""
        while "hub_registry_watchers 0.0" in (await self.get("/metrics")).text:
            await anyio.lowlevel.checkpoint()

    async def until(self, satisfied: Callable[[ModelsSnapshot], bool]) -> ModelsSnapshot:
        """Watches the list until it satisfies a condition."""
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
    contract_mode: ContractMode = "strict",
    **more: Any,
) -> AsyncGenerator[ServedRegistry]:
    """With the long ping period only logins ping; the default broker reports consumers for all queues."""
    settings = RegistrySettings(
        registry_port=port,
        token=token,
        ping_period=ping_period,
        ping_timeout=ping_period * 0.9,
        depth_period=0.01,
        contract_mode=contract_mode,
        instance_networks="127.0.0.0/8,::1/128",
        **more,
    )
    async with MemoryBroker() as embedded, open_client() as http:
        attended = broker or AttendedBroker(embedded)
        component = partial(run_registry, settings, directory=directory or MemoryDirectory(), broker=attended)
        async with background_service(component, name="registry") as url:
            yield ServedRegistry(url=url, http=http, client=RegistryClient(url, http, token=token))
