"""Two registries as processes over a real RabbitMQ and a real Redis; one is killed, or frozen and comes back.

The instances run in the test itself, with their real worker, HTTP and membership, so that each ping can be timed. The
measured times are printed: `pytest -s tests/system/test_two_registries.py`.
"""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any, ClassVar, Final

import pytest
from anyio import current_time, fail_after, sleep
from anyio.to_thread import run_sync
from httpx2 import AsyncClient
from typing_extensions import override

import hub
from examples.model_a.v1.model_a_pb2 import ModelARequest, ModelAResponse
from hub.brokers import open_broker
from hub.concurrency.services import background_service
from hub.directories import open_directory
from hub.http.client import open_client
from hub.model.instance.health_reporter import HealthReporter, Ping
from hub.model.instance.instance import run_instance
from hub.ports.directory import Directory, InstanceHealth, StatusUpdate
from hub.registry.client.client import RegistryClient
from hub.settings.model import ModelSettings
from hub.stores import open_store
from hub.types import InstanceId, InstanceState, ModelName, new_instance_id
from tests.support.rabbitmq import delete_queues
from tests.support.redis import emptied
from tests.support.server import free_port
from tests.system.processes import HubProcess, hub_process

PERIOD: Final = 1.0
INSTANCES: Final = 6
TIMEOUT: Final = 90.0
"""Seconds for a whole scenario on a busy machine."""


class Shared(hub.Model[ModelARequest, ModelAResponse]):
    """Does nothing."""

    name: ClassVar[str] = "Shared"

    @override
    async def process_request(self, request: ModelARequest) -> ModelAResponse:
        return ModelAResponse()


MODEL: Final = ModelName(Shared.name)


@dataclass
class Pings:
    """When each instance was pinged."""

    times: dict[InstanceId, list[float]] = field(default_factory=dict[InstanceId, list[float]])

    def since(self, began: float) -> Mapping[InstanceId, Sequence[float]]:
        return {who: [at for at in times if at > began] for who, times in self.times.items()}

    def doubled(self, began: float) -> int:
        """Pings that came less than half a period after the last one, of all instances together."""
        return sum(
            later - earlier < PERIOD / 2 for times in self.since(began).values() for earlier, later in pairwise(times)
        )


@dataclass
class Pair:
    """Two registries, with a client."""

    processes: list[HubProcess]
    urls: list[str]
    http: AsyncClient
    directory: Directory
    pings: Pings

    def client(self, which: int) -> RegistryClient:
        return RegistryClient(self.urls[which], self.http)

    async def leases(self, which: int) -> int:
        text = (await self.http.get(f"{self.urls[which]}/metrics")).text
        (line,) = (line for line in text.splitlines() if line.startswith("hub_registry_leases "))
        return int(float(line.split()[1]))

    async def states(self, which: int) -> dict[str, str]:
        reply = await self.http.get(f"{self.urls[which]}/v1/instances")
        listed: list[dict[str, Any]] = reply.json()["instances"]
        return {one["id"]: one["state"] for one in listed}

    async def until_shared(self) -> None:
        """Waits until both list all instances as live, and each pings its half."""
        while True:
            states = [await self.states(which) for which in (0, 1)]
            leases = [await self.leases(which) for which in (0, 1)]
            if leases == [INSTANCES // 2] * 2 and all(list(each.values()) == ["live"] * INSTANCES for each in states):
                return
            await sleep(0.05)

    async def until_leased(self, which: int, count: int) -> None:
        while await self.leases(which) != count:
            await sleep(0.02)

    async def tokens(self) -> dict[InstanceId, int]:
        return {shared.entry.id: shared.token for shared in (await self.directory.changes_since(0)).instances}


@contextmanager
def frozen(process: HubProcess) -> Generator[None]:
    os.kill(process.process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process.process.pid, signal.SIGCONT)


@asynccontextmanager
async def pair(amqp_url: str, redis: str, backend: str, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Pair]:
    """Two registries and their instances, all of which logged in with the first one."""
    common = {"backend": backend, "broker_url": amqp_url, "directory_url": redis, "ping_period": f"{PERIOD}"}
    common |= {"ping_timeout": f"{0.9 * PERIOD}", "depth_period": f"{PERIOD}"}
    pings = Pings()
    async with AsyncExitStack() as stack:
        directory = await stack.enter_async_context(open_directory(redis))
        for entry in await directory.instances():
            await directory.logout(entry.id)
        http = await stack.enter_async_context(open_client())
        starting = [
            stack.enter_context(hub_process(["hub.registry"], common | {"registry_port": f"{free_port()}"}))
            for _ in range(2)
        ]
        urls = [str((await run_sync(process.wait_for, "is up"))["url"]) for process in starting]
        broker = await stack.enter_async_context(open_broker(amqp_url))
        store = await stack.enter_async_context(open_store(redis))
        watch_pings(pings, monkeypatch)
        settings = ModelSettings(registry_url=urls[0], broker_url=amqp_url, store_url=redis, ping_period=PERIOD)
        for _ in range(INSTANCES):
            instance = new_instance_id()
            component = partial(run_instance, Shared, settings, broker=broker, store=store, instance=instance)
            await stack.enter_async_context(background_service(component, name=f"instance {instance}"))
        yield Pair(starting, urls, http, directory, pings)


def watch_pings(pings: Pings, monkeypatch: pytest.MonkeyPatch) -> None:
    ping = HealthReporter.ping

    async def watched(self: HealthReporter) -> Ping:
        at, answer = current_time(), await ping(self)
        pings.times.setdefault(InstanceId(answer.instance), []).append(at)
        return answer

    monkeypatch.setattr(HealthReporter, "ping", watched)


@pytest.fixture
def redis(redis_url: str, amqp_url: str, anyio_backend_name: str) -> str:
    """A separate database for each backend."""
    database = {"asyncio": 9, "trio": 10}[anyio_backend_name]
    delete_queues(amqp_url, "Shared")
    return emptied(redis_url, database)


async def test_of_two_registries_one_is_killed_and_no_instance_is_lost(
    amqp_url: str, redis: str, anyio_backend_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fail_after(TIMEOUT):
        async with pair(amqp_url, redis, anyio_backend_name, monkeypatch) as both:
            await both.until_shared()
            all_ids, reads, not_live = set(await both.states(1)), 0, 0
            calm = current_time()
            await sleep(3 * PERIOD)
            calm_doubles = both.pings.doubled(calm)
            both.processes[0].kill()
            killed, leased = current_time(), 0.0
            while not all(len(times) >= 3 for times in both.pings.since(killed).values()):
                states = await both.states(1)
                assert set(states) == all_ids, "no instance is lost at any time"
                listed = await both.client(1).models()
                assert MODEL in listed.active
                reads += 1
                not_live += list(states.values()).count("suspect")
                leased = leased or (current_time() if await both.leases(1) == INSTANCES else 0.0)
                await sleep(0.01)
            first = [times[0] - killed for times in both.pings.since(killed).values()]
            print(  # noqa: T201 - these are the figures
                f"\n{anyio_backend_name}, {INSTANCES} instances, ping period {PERIOD:g} s: registry killed; "
                f"the survivor has all leases after {leased - killed:.2f} s, has pinged all after {max(first):.2f} s; "
                f"{reads} reads of its list, 0 instances lost, {not_live} times one was suspect; pings twice in half a "
                f"period: {calm_doubles} in 3 calm periods, {both.pings.doubled(killed)} since"
            )
            while await both.states(1) != dict.fromkeys(all_ids, "live"):
                await sleep(0.01)  # on a busy machine a ping may have been late


async def test_a_registry_that_was_frozen_cannot_overwrite_its_successor(
    amqp_url: str, redis: str, anyio_backend_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fail_after(TIMEOUT):
        async with pair(amqp_url, redis, anyio_backend_name, monkeypatch) as both:
            await both.until_shared()
            before = await both.tokens()
            with frozen(both.processes[0]):
                await both.until_leased(1, INSTANCES)
                after = await both.tokens()
                moved = {who for who in before if after[who] != before[who]}
                assert len(moved) == INSTANCES // 2
                assert all(after[who] > before[who] for who in moved)
                lie = InstanceHealth(state=InstanceState.SUSPECT, reason="written by one that was frozen")
                late = [StatusUpdate(instance=who, token=before[who], health=lie) for who in moved]
                assert await both.directory.report(late) == [False] * len(late)
                assert await both.states(1) == dict.fromkeys(before, "live")
                history = await both.client(1).history(model=MODEL)
            await both.until_shared()
            assert not [event for event in history if event.instance in before and event.before is InstanceState.LIVE]
            assert await both.client(0).history(model=MODEL) == history, "it wrote no old state"


async def test_a_registry_lists_logins_at_the_other_and_takes_over_its_leases_when_it_stops(
    amqp_url: str, redis: str, anyio_backend_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fail_after(TIMEOUT):
        async with pair(amqp_url, redis, anyio_backend_name, monkeypatch) as both:
            await both.until_shared()
            settings = ModelSettings(registry_url=both.urls[0], broker_url=amqp_url, store_url=redis)
            async with open_broker(amqp_url) as broker, open_store(redis) as store:
                late = new_instance_id()
                component = partial(run_instance, Shared, settings, broker=broker, store=store, instance=late)
                async with background_service(component, name="instance"):
                    logged_in = current_time()
                    while (await both.states(1)).get(late) != "live":
                        await sleep(0.01)
                    seen = current_time() - logged_in
            logged_out = current_time()
            while late in await both.states(1):
                await sleep(0.01)
            gone = current_time() - logged_out
            both.processes[0].terminate()
            stopped = current_time()
            await both.until_leased(1, INSTANCES)
            print(  # noqa: T201 - these are the figures
                f"\n{anyio_backend_name}: the other registry lists a login {seen:.2f} s after its answer, removes an "
                f"instance {gone:.2f} s after it ended; a registry that stops has handed over after "
                f"{current_time() - stopped:.2f} s"
            )
            assert await run_sync(both.processes[0].wait) == 0
            assert await both.states(1) == dict.fromkeys(await both.tokens(), "live")
