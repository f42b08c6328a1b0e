from __future__ import annotations

import subprocess
from collections.abc import AsyncGenerator

import anyio
import pytest
from anyio.to_thread import run_sync
from prometheus_client.parser import text_string_to_metric_families

from hub.brokers.memory.broker import MemoryBroker
from hub.ports.broker import Publication
from hub.types import InstanceState, ModelName
from tests.registry.fakes import ping_server
from tests.registry.fixtures import ServedRegistry, served_registry
from tests.registry.helpers import DIGITS, MODEL, TEXTS, TIMEOUT

pytestmark = pytest.mark.usefixtures("no_leaked_tasks")

DIGITS_MODEL = ModelName("Digits")


@pytest.fixture
async def broker() -> AsyncGenerator[MemoryBroker]:
    async with MemoryBroker() as memory:
        yield memory


@pytest.fixture
async def registry(broker: MemoryBroker) -> AsyncGenerator[ServedRegistry]:
    with anyio.fail_after(TIMEOUT):
        async with served_registry(broker=broker) as served:
            yield served


Labels = frozenset[tuple[str, str]]


async def samples(registry: ServedRegistry) -> dict[tuple[str, Labels], float]:
    text = (await registry.get("/metrics")).text
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def labels(**pairs: str) -> Labels:
    return frozenset(pairs.items())


def queue_body(**numbers: float) -> dict[str, float]:
    return {"ready": 0, "unacked": 0, "consumers": 0, "dead": 0, "oldest_seconds": 0, **numbers}


async def test_models_instances_and_pings_are_counted(registry: ServedRegistry, broker: MemoryBroker) -> None:
    async with (
        ping_server() as one,
        ping_server() as two,
        ping_server() as not_consuming,
        broker.consume(MODEL, prefetch=1),  # without a consumer the live ones would be not_consuming soon
    ):
        not_consuming.consuming = False
        await registry.login(one)
        await registry.login(two)
        await registry.login(not_consuming, "Digits", DIGITS)
        seen = await samples(registry)
    assert seen["hub_models", labels()] == 1
    assert seen["hub_model_info", labels(model=MODEL, fingerprint=TEXTS.fingerprint)] == 1
    assert ("hub_model_info", labels(model="Digits", fingerprint=DIGITS.fingerprint)) not in seen
    assert {
        (model, state): seen["hub_model_instances", labels(model=model, state=state)]
        for model in (MODEL, DIGITS_MODEL)
        for state in InstanceState
    } == {
        (MODEL, "live"): 2,
        (MODEL, "not_consuming"): 0,
        (MODEL, "suspect"): 0,
        (MODEL, "loading"): 0,
        (DIGITS_MODEL, "live"): 0,
        (DIGITS_MODEL, "not_consuming"): 1,
        (DIGITS_MODEL, "suspect"): 0,
        (DIGITS_MODEL, "loading"): 0,
    }
    assert seen["hub_registry_ping_duration_seconds_count", labels()] == 3
    assert seen["hub_registry_connected", labels(server="directory")] == 1


async def test_a_refused_ping_is_a_failure(registry: ServedRegistry) -> None:
    async with ping_server() as server:
        await registry.login(server)
    async with ping_server() as rival:
        await registry.login(rival, contract=DIGITS)  # has the registry ping the first, which is gone
    seen = await samples(registry)
    assert seen["hub_registry_ping_failures_total", labels(reason="refused")] == 1
    assert seen["hub_registry_ping_failures_total", labels(reason="missed")] == 0


async def test_series_end_with_their_model(registry: ServedRegistry) -> None:
    async with ping_server() as server:
        await registry.login(server)
        await registry.client.logout(server.id)
    seen = await samples(registry)
    assert seen["hub_models", labels()] == 0
    assert not [key for key in seen if key[0] in ("hub_model_info", "hub_model_instances")]


async def test_the_depth_of_a_queue_is_shown_even_when_no_instance_is_left(
    registry: ServedRegistry, broker: MemoryBroker
) -> None:
    await broker.declare(MODEL)
    async with ping_server() as server:
        await registry.login(server)
        await registry.client.logout(server.id)
    async with broker.consume(MODEL, prefetch=1):
        key = ("hub_queue_consumers", labels(model=MODEL))
        while (await samples(registry)).get(key) != 1:
            await anyio.lowlevel.checkpoint()
    while (await samples(registry)).get(key) != 0:
        await anyio.lowlevel.checkpoint()
    assert (await samples(registry))["hub_queue_messages", labels(model=MODEL, state="ready")] == 0
    assert (await registry.json(f"/v1/models/{MODEL}"))["queue"] == queue_body()


async def test_dead_letters_are_counted_until_they_are_dealt_with(
    registry: ServedRegistry, broker: MemoryBroker
) -> None:
    await broker.declare(MODEL)
    async with ping_server() as server:
        await registry.login(server)
    letters = [Publication(queue=MODEL, body=b"?", message_id=f"{n}", timestamp=0.0) for n in range(3)]
    await broker.publish(letters)
    async with broker.consume(MODEL, prefetch=3) as consumer:
        consumer.reject(await consumer.receive(), requeue=False)
    while (await registry.json(f"/v1/models/{MODEL}"))["queue"] != queue_body(dead=3):
        await anyio.lowlevel.checkpoint()
    key = ("hub_dead_letters", labels(model=MODEL))
    assert (await samples(registry))[key] == 3
    async with broker.dead_letters(MODEL, limit=2) as dead:
        dead.consumer.ack(dead.deliveries)
    while (await samples(registry)).get(key) != 1:
        await anyio.lowlevel.checkpoint()


async def test_depths_are_left_out_while_the_broker_is_away_and_come_back_with_it(
    registry: ServedRegistry, broker: MemoryBroker
) -> None:
    await broker.declare(MODEL)
    key = ("hub_queue_messages", labels(model=MODEL, state="ready"))
    async with ping_server() as server:
        await registry.login(server)
    while key not in await samples(registry):
        await anyio.lowlevel.checkpoint()
    with broker.outage():
        while key in await samples(registry):
            await anyio.lowlevel.checkpoint()
        seen = await samples(registry)
        assert seen["hub_registry_connected", labels(server="broker")] == 0
        assert await registry.json("/health/ready") == {"status": "degraded", "out_of_reach": ["broker"], "reason": ""}
    while key not in await samples(registry):
        await anyio.lowlevel.checkpoint()


async def test_promtool_accepts_the_metrics(registry: ServedRegistry, broker: MemoryBroker) -> None:
    await broker.declare(MODEL)
    async with ping_server() as server:
        await registry.login(server)
        while (await registry.json(f"/v1/models/{MODEL}"))["queue"] is None:
            await anyio.lowlevel.checkpoint()
        text = (await registry.get("/metrics")).content

    def check() -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, check=False)

    result = await run_sync(check)
    assert (result.returncode, result.stdout + result.stderr) == (0, b"")


async def test_the_format_is_the_one_that_is_asked_for(registry: ServedRegistry) -> None:
    plain = await registry.get("/metrics")
    assert plain.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    modern = await registry.get("/metrics", accept="application/openmetrics-text; version=1.0.0")
    assert modern.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert modern.text.endswith("# EOF\n")
