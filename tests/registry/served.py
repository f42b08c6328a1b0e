"""A whole registry behind real HTTP, in the test's own task tree."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, final

import anyio
from httpx2 import AsyncClient, Response
from typing_extensions import override

from hub.brokers.memory.broker import MemoryBroker
from hub.concurrency.services import background_service
from hub.contract import Contract
from hub.directories.memory import MemoryDirectory
from hub.errors import PublishRefused
from hub.http.client import open_client
from hub.ports.broker import Broker, BrokerStatistics, Consumer, DeadLetters, Publication, QueueDepth
from hub.ports.directory import Directory, ModelLimits
from hub.registry.client.client import RegistryClient
from hub.registry.client.login import LoginRequest
from hub.registry.client.snapshot import ModelsSnapshot
from hub.registry.client.watch import ModelWatch
from hub.registry.service import run_registry
from hub.settings.registry import ContractMode, RegistrySettings
from hub.types import InstanceState, ModelName
from tests.registry.support import MODEL, TEXTS, PingServer


@final
class AttendedBroker(Broker):
    """A broker whose queues all have consumers, as far as anybody looks: the instances of these tests have none."""

    def __init__(self, inner: Broker) -> None:
        self._inner = inner
        self.consumers = 100

    @override
    async def declare(self, queue: ModelName) -> None:
        await self._inner.declare(queue)

    @override
    async def publish(self, publications: Sequence[Publication]) -> Sequence[PublishRefused | None]:
        return await self._inner.publish(publications)

    @override
    def consume(self, queue: ModelName, *, prefetch: int) -> AbstractAsyncContextManager[Consumer]:
        return self._inner.consume(queue, prefetch=prefetch)

    @override
    def dead_letters(self, queue: ModelName, *, limit: int) -> AbstractAsyncContextManager[DeadLetters]:
        return self._inner.dead_letters(queue, limit=limit)

    @override
    async def depths(self, queues: Iterable[ModelName]) -> Mapping[ModelName, QueueDepth | None]:
        found = await self._inner.depths(queues)
        nothing = QueueDepth(ready=0, consumers=0)
        return {name: replace(depth or nothing, consumers=self.consumers) for name, depth in found.items()}

    @override
    def statistics(self) -> BrokerStatistics:
        return self._inner.statistics()


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
        limits: ModelLimits = ModelLimits(),
    ) -> InstanceState:
        where = url or server.url
        request = LoginRequest(
            instance=server.id,
            model=ModelName(model),
            url=where,
            contract=contract,
            example=example,
            limits=limits,
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
    contract_mode: ContractMode = "strict",
    **more: Any,
) -> AsyncGenerator[ServedRegistry]:
    """The long ping period leaves the word to the pings at login, and so does the broker unless one is given."""
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
