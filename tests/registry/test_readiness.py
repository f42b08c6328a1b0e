"""Readiness of instances from pings and the broker, and the history of their states, over real HTTP."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from functools import partial

import anyio
import pytest

from hub.brokers.memory.broker import MemoryBroker
from hub.concurrency.services import background_service
from hub.directories.memory import MemoryDirectory
from hub.model.instance.instance import run_instance
from hub.registry.core.table import NO_CONSUMER
from hub.settings.model import ModelSettings
from hub.stores import open_store
from hub.types import ModelName
from tests.registry.fakes import AttendedBroker, FlakyDirectory, ping_server
from tests.registry.fixtures import ServedRegistry, served_registry
from tests.registry.helpers import DIGITS, MODEL, TIMEOUT
from tests.system.models import Echo

pytestmark = pytest.mark.usefixtures("no_leaked_tasks")


@pytest.fixture
async def broker() -> AsyncGenerator[AttendedBroker]:
    async with MemoryBroker() as memory:
        yield AttendedBroker(memory)


async def model_of(registry: ServedRegistry, name: str = MODEL) -> dict[str, object]:
    found: dict[str, object] = await registry.json(f"/v1/models/{name}")
    return found


async def test_an_instance_without_a_consumer_is_not_consuming_until_there_is_one(broker: AttendedBroker) -> None:
    with anyio.fail_after(TIMEOUT):
        async with served_registry(broker=broker) as registry, ping_server() as server:
            await registry.login(server)
            broker.consumers = 0
            await registry.until(lambda snapshot: not snapshot.active)
            ((instance),) = (await registry.json("/v1/instances"))["instances"]
            assert (instance["state"], instance["not_consuming_source"], instance["reason"]) == (
                "not_consuming",
                "broker",
                NO_CONSUMER,
            )
            broker.consumers = 1
            await registry.until(lambda snapshot: MODEL in snapshot.active)
            events = await registry.client.history()
            assert [(event.before, event.after) for event in events][:2] == [
                ("not_consuming", "live"),
                ("live", "not_consuming"),
            ]


async def test_missing_consumers_are_listed_for_the_model(broker: AttendedBroker) -> None:
    with anyio.fail_after(TIMEOUT):
        async with served_registry(broker=broker) as registry, ping_server() as one, ping_server() as two:
            await registry.login(one)
            await registry.login(two)
            broker.consumers = 1
            while (await model_of(registry))["missing_consumers"] != 1:
                await anyio.lowlevel.checkpoint()
            assert await registry.active() == [MODEL]
            broker.consumers = 2
            while (await model_of(registry))["missing_consumers"] != 0:
                await anyio.lowlevel.checkpoint()


async def test_a_real_instance_without_a_consumer_subscribes_again_and_is_live() -> None:
    async with MemoryBroker() as memory, open_store("memory://") as store:
        broker = AttendedBroker(memory)
        with anyio.fail_after(TIMEOUT):
            async with served_registry(broker=broker, ping_period=0.5) as registry:
                settings = ModelSettings(registry_url=registry.url, ping_period=0.5)
                async with background_service(
                    partial(run_instance, Echo, settings, broker=memory, store=store), name="instance"
                ):
                    await registry.until(lambda snapshot: bool(snapshot.active))
                    broker.consumers = 0
                    while (asked := await resubscribes(registry)) == 0:
                        await anyio.lowlevel.checkpoint()
                    broker.consumers = 1
                    await registry.until(lambda snapshot: bool(snapshot.active))
                    assert asked >= 1
                    assert memory.statistics().consumers <= 1


async def resubscribes(registry: ServedRegistry) -> float:
    text = (await registry.get("/metrics")).text
    lines = [line for line in text.splitlines() if line.startswith("hub_registry_resubscribes_total{")]
    return sum(float(line.split()[-1]) for line in lines)


async def test_the_history_is_newest_first_by_model_and_limited() -> None:
    with anyio.fail_after(TIMEOUT):
        async with served_registry() as registry, ping_server() as one, ping_server() as two:
            await registry.login(one)
            await registry.login(two, "Digits", DIGITS)
            await registry.client.logout(one.id)
            while (events := await registry.client.history())[0].after is not None:
                await anyio.lowlevel.checkpoint()
            assert [(event.instance, event.before, event.after) for event in events] == [
                (one.id, "live", None),
                (two.id, "loading", "live"),
                (two.id, None, "loading"),
                (one.id, "loading", "live"),
                (one.id, None, "loading"),
            ]
            assert events[0].reason == "logged out"
            assert await registry.client.history(model=MODEL) == tuple(e for e in events if e.model == MODEL)
            assert await registry.client.history(model=MODEL, limit=1) == events[:1]
            assert await registry.client.history(model=ModelName("Unknown")) == ()
            body = await registry.json("/v1/history?limit=1")
            assert set(body["events"][0]) == {"at", "instance", "model", "url", "before", "after", "reason"}
            for limit in (0, 1001):
                assert (await registry.get(f"/v1/history?limit={limit}")).status_code == 400


async def test_without_the_directory_the_history_is_a_503() -> None:
    directory = FlakyDirectory(MemoryDirectory())
    with anyio.fail_after(TIMEOUT):
        async with served_registry(directory=directory) as registry:
            directory.down = True
            assert (await registry.get("/v1/history")).status_code == 503
            directory.down = False


async def test_a_registry_in_self_preservation_is_degraded() -> None:
    with anyio.fail_after(TIMEOUT):
        async with (
            ping_server() as one,
            ping_server() as two,
            ping_server() as three,
            served_registry(ping_period=1) as registry,
        ):
            instances = (one, two, three)
            for instance in instances:
                await registry.login(instance)
            for instance in instances:
                instance.silent = True
            while (health := await registry.json("/health/ready"))["status"] != "degraded":
                await anyio.sleep(0.01)
            assert health["out_of_reach"] == ["instances"]
            assert "its own network" in health["reason"]
            assert "hub_registry_self_preservation 1.0" in (await registry.get("/metrics")).text
            assert await registry.active() == [MODEL]
            for instance in instances:
                instance.silent = False
            while (await registry.json("/health/ready"))["status"] != "ok":
                await anyio.sleep(0.01)
