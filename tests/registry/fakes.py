"""Fakes of what surrounds a registry: instances, probes, a directory and a broker that fail on demand."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, final

import anyio
from litestar import Litestar, Request, Response, get
from typing_extensions import override

from hub.concurrency.services import background_service
from hub.contract import Contract
from hub.directories.memory import MemoryDirectory
from hub.errors import ConnectionLost, PublishRefused
from hub.http.serve.listen import ListenAddress
from hub.http.serve.server import serve
from hub.ports.broker import Broker, BrokerStatistics, Consumer, DeadLetters, Publication, QueueDepth
from hub.ports.directory import (
    Directory,
    DirectoryChanges,
    HistoryEvent,
    InstanceEntry,
    LeaseSet,
    LoginLimits,
    RegisteredContract,
    StatusUpdate,
    StoredInstance,
)
from hub.registry.core.networks import InstanceNetworks
from hub.registry.core.ping_result import PingOk, PingResult
from hub.registry.tasks.descriptor_reader import DescriptorReader
from hub.registry.tasks.instance_http import InstanceHttp
from hub.stats import InstanceStats
from hub.types import Fingerprint, InstanceId, ModelName, RegistryId, new_instance_id


@dataclass
class ScriptedProbe:
    """Answers pings with the instance's entry in `results`, else `PingOk`. `pinged` has all pings in order.

    A ping of an instance in `hanging` never ends.
    """

    results: dict[InstanceId, PingResult] = field(default_factory=dict[InstanceId, PingResult])
    hanging: set[InstanceId] = field(default_factory=set[InstanceId])
    pinged: list[tuple[float, InstanceId]] = field(default_factory=list[tuple[float, InstanceId]])

    async def __call__(self, entry: InstanceEntry) -> PingResult:
        self.pinged.append((anyio.current_time(), entry.id))
        if entry.id in self.hanging:
            await anyio.sleep_forever()
        await anyio.lowlevel.checkpoint()
        return self.results.get(entry.id, PingOk())

    def times(self, instance: InstanceId) -> list[float]:
        return [when for when, who in self.pinged if who == instance]


@dataclass
class PingServer:
    """A real HTTP server that answers pings as one instance, unless it is `silent`. Members may be changed at any time."""

    id: InstanceId
    url: str = ""
    consuming: bool = True
    silent: bool = False
    stats: InstanceStats | None = None
    pings: int = 0
    tokens: list[str] = field(default_factory=list[str])
    pinged: anyio.Event = field(default_factory=anyio.Event)


@asynccontextmanager
async def ping_server(instance: InstanceId | None = None) -> AsyncGenerator[PingServer]:
    """An instance that only answers pings. After the block its address refuses connections."""
    it = PingServer(instance or new_instance_id())

    @get("/ping")
    async def ping(request: Request[Any, Any, Any]) -> Response[dict[str, object]]:
        it.pings += 1
        it.tokens.append(request.headers.get("authorization", ""))
        it.pinged.set()
        it.pinged = anyio.Event()
        while it.silent:
            await anyio.sleep(0.01)
        return Response(
            {
                "instance": it.id,
                "model": "any",
                "consuming": it.consuming,
                "reason": "" if it.consuming else "no connection",
                "stats": it.stats,
            },
            status_code=200 if it.consuming else 503,
        )

    app = Litestar([ping], openapi_config=None, logging_config=None)
    async with background_service(partial(serve, app, ListenAddress(), grace=0.1), name="ping server") as url:
        it.url = url
        yield it


def unused_reader(networks: InstanceNetworks) -> DescriptorReader:
    """For tests in which every login has a contract."""
    return DescriptorReader(InstanceHttp(networks))


@final
class FlakyDirectory(Directory):
    """A directory in memory that is out of reach while `down` is set, and whose lists are delayed while `slow` is."""

    def __init__(self, inner: MemoryDirectory) -> None:
        self.inner = inner
        self.down = False
        self.slow: anyio.Event | None = None

    def check(self) -> None:
        if self.down:
            raise ConnectionLost("the directory", "pulled plug")

    @override
    async def login(
        self,
        entry: InstanceEntry,
        contract: Contract,
        *,
        compatible_with: Collection[Fingerprint] = (),
        proof: str = "",
        limits: LoginLimits | None = None,
    ) -> Fingerprint | None:
        self.check()
        return await self.inner.login(entry, contract, compatible_with=compatible_with, proof=proof, limits=limits)

    @override
    async def forget(self, ttl: float) -> int:
        self.check()
        return await self.inner.forget(ttl)

    @override
    async def logout(self, instance: InstanceId, event: HistoryEvent | None = None) -> bool:
        self.check()
        return await self.inner.logout(instance, event)

    @override
    async def instances(self) -> Sequence[InstanceEntry]:
        self.check()
        found = await self.inner.instances()
        if self.slow is not None:
            await self.slow.wait()
        return found

    @override
    async def instance_ids(self) -> Collection[InstanceId]:
        self.check()
        found = await self.inner.instance_ids()
        if self.slow is not None:
            await self.slow.wait()
        return found

    @override
    async def stored(self, instances: Collection[InstanceId]) -> Sequence[StoredInstance]:
        self.check()
        return await self.inner.stored(instances)

    @override
    async def contracts(self) -> Sequence[RegisteredContract]:
        self.check()
        return await self.inner.contracts()

    @override
    async def lease(self, registry: RegistryId, *, ttl: float, standby: bool = False) -> LeaseSet:
        self.check()
        return await self.inner.lease(registry, ttl=ttl, standby=standby)

    @override
    async def claim(
        self, registry: RegistryId, instances: Collection[InstanceId], *, ttl: float
    ) -> Mapping[InstanceId, int]:
        self.check()
        return await self.inner.claim(registry, instances, ttl=ttl)

    @override
    async def release(self, registry: RegistryId) -> None:
        self.check()
        await self.inner.release(registry)

    @override
    async def report(self, updates: Sequence[StatusUpdate]) -> Sequence[bool]:
        self.check()
        return await self.inner.report(updates)

    @override
    async def changes_since(self, revision: int, *, reader: RegistryId | None = None) -> DirectoryChanges:
        self.check()
        found = await self.inner.changes_since(revision, reader=reader)
        if self.slow is not None:
            await self.slow.wait()
        return found

    @override
    async def history(self, limit: int) -> Sequence[HistoryEvent]:
        self.check()
        return await self.inner.history(limit)


@final
class AttendedBroker(Broker):
    """A broker that reports consumers for all queues, because the instances of these tests have none."""

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
