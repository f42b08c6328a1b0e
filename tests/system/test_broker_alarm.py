"""A memory alarm of RabbitMQ: it is in replies, probes, logs and metrics, and ends by itself."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

import pytest
import structlog
from anyio import CancelScope, create_task_group, fail_after
from anyio.lowlevel import checkpoint
from anyio.to_thread import run_sync
from httpx2 import AsyncClient

from hub.brokers import open_broker
from hub.concurrency.services import background_service
from hub.directories import open_directory
from hub.gateway.service import run_gateway
from hub.http.client import open_client
from hub.model.instance.instance import run_instance
from hub.ports.broker import Broker
from hub.registry.service import run_registry
from hub.settings.gateway import GatewaySettings
from hub.settings.model import ModelSettings
from hub.settings.registry import RegistrySettings
from hub.stores import open_store
from tests.support.backends import ASYNCIO, TRIO, Backend
from tests.support.rabbitmq import RabbitMQ, delete_queues
from tests.system.models import Echo

TIMEOUT = 120.0

pytestmark = pytest.mark.kills_servers


ADAPTERS = {"amqp-asyncio": (ASYNCIO, "amqp"), "amqp-trio": (TRIO, "amqp"), "aiormq-asyncio": (ASYNCIO, "amqp+aiormq")}


@pytest.fixture(scope="module", params=[pytest.param(adapter, id=name) for name, adapter in ADAPTERS.items()])
def adapter(request: pytest.FixtureRequest) -> tuple[Backend, str]:
    adapter: tuple[Backend, str] = request.param
    return adapter


@pytest.fixture(scope="module")
def anyio_backend(adapter: tuple[Backend, str]) -> object:
    return adapter[0]


@asynccontextmanager
async def memory_alarm(rabbit: RabbitMQ) -> AsyncGenerator[None]:
    await run_sync(rabbit.ctl, "set_vm_memory_high_watermark", "0.000001")
    try:
        yield
    finally:
        with CancelScope(shield=True):
            await run_sync(rabbit.ctl, "set_vm_memory_high_watermark", "0.4")


@dataclass(frozen=True, slots=True)
class Components:
    """What listens where, and the broker and the HTTP client that all share."""

    registry: str
    worker: str
    gateway: str
    broker: Broker
    http: AsyncClient

    async def submit(self) -> tuple[int, str, str]:
        reply = await self.http.post(f"{self.gateway}/v1/models/Echo/tasks", json={"messages": "0 x"})
        body = reply.json()
        return reply.status_code, body.get("code", ""), body.get("detail", "")

    async def is_ready(self, status: int, where: str) -> str:
        while (reply := await self.http.get(f"{where}/health/ready")).status_code != status:
            await checkpoint()
        return reply.text

    async def registry_is(self, status: str) -> str:
        while (reply := await self.http.get(f"{self.registry}/health/ready")).json()["status"] != status:
            await checkpoint()
        return reply.text


@asynccontextmanager
async def components(url: str) -> AsyncGenerator[Components]:
    async with (
        open_broker(url) as broker,
        open_store("memory://") as store,
        open_directory("memory://") as directory,
        open_client() as http,
        background_service(
            partial(run_registry, RegistrySettings(registry_port=0), directory=directory, broker=broker),
            name="registry",
        ) as registry,
    ):
        settings = ModelSettings(registry_url=registry, store_url="memory://", broker_url=url)
        instance = partial(run_instance, Echo, settings, broker=broker, store=store)
        of_gateway = GatewaySettings(registry_url=registry, gateway_port=0, publish_timeout=1.0, broker_url=url)
        gateway = partial(run_gateway, of_gateway, broker=broker, store=store)
        async with (
            background_service(instance, name="instance") as worker,
            background_service(gateway, name="gateway") as at,
        ):
            yield Components(registry, worker, at, broker, http)


async def test_the_reason_of_a_blocked_broker_is_said_everywhere(
    private_rabbitmq: RabbitMQ, adapter: tuple[Backend, str]
) -> None:
    url = private_rabbitmq.url.replace("amqp://", f"{adapter[1]}://")
    await run_sync(delete_queues, private_rabbitmq.url, "Echo")
    with fail_after(TIMEOUT), structlog.testing.capture_logs() as log:
        async with components(url) as hub:
            while (await hub.submit())[0] != 202:
                await checkpoint()
            await hub.is_ready(200, hub.gateway)
            assert "hub_broker_blocked 0.0" in (await hub.http.get(f"{hub.gateway}/metrics")).text
            async with memory_alarm(private_rabbitmq):
                while (reply := await hub.submit())[0] != 503:
                    await checkpoint()
                assert reply[1] == "broker_blocked"
                assert "low on memory" in reply[2]
                assert (await hub.submit())[1] == "broker_blocked"
                async with create_task_group() as tg:
                    for _ in range(3):
                        tg.start_soon(hub.submit)
                assert "the broker accepts no messages: low on memory" in await hub.is_ready(503, hub.gateway)
                assert "the broker accepts no messages: low on memory" in await hub.is_ready(503, hub.worker)
                assert "hub_broker_blocked 1.0" in (await hub.http.get(f"{hub.gateway}/metrics")).text
                assert hub.broker.statistics().connected, "heartbeats go on"
            while hub.broker.statistics().blocked is not None:
                await checkpoint()
            assert (await hub.submit())[0] == 202
            await hub.is_ready(200, hub.gateway)
            await hub.is_ready(200, hub.worker)
            assert "hub_broker_blocked 0.0" in (await hub.http.get(f"{hub.gateway}/metrics")).text
    said = [
        (line["event"], line["reason"]) for line in log if "messages" in line["event"] and "broker" in line["event"]
    ]
    assert said == [
        ("the broker takes no messages until its alarm ends", "low on memory"),
        ("the broker takes messages again", "low on memory"),
    ]


async def test_an_alarm_is_known_where_nothing_is_published(
    private_rabbitmq: RabbitMQ, adapter: tuple[Backend, str]
) -> None:
    url = private_rabbitmq.url.replace("amqp://", f"{adapter[1]}://")
    reason = "the broker accepts no messages: low on memory"
    stored = await run_sync(messages_anywhere, private_rabbitmq)  # by earlier tests
    with fail_after(TIMEOUT):
        async with components(url) as hub:
            for _ in range(2):  # the second alarm is one of a connection that knows the first
                await hub.registry_is("ok")
                text = await hub.is_ready(200, hub.gateway)
                assert (json.loads(text)["broker_nodes"], "127.0.0.1" in text) == (1, False), (
                    "names of hosts are internal"
                )
                await hub.is_ready(200, hub.worker)
                async with memory_alarm(private_rabbitmq):
                    assert reason in await hub.is_ready(503, hub.gateway)
                    assert reason in await hub.is_ready(503, hub.worker)
                    assert reason in await hub.registry_is("degraded")
        async with memory_alarm(private_rabbitmq), open_broker(url) as late:
            while late.statistics().blocked is None:
                await checkpoint()
    assert await run_sync(messages_anywhere, private_rabbitmq) == stored


def messages_anywhere(rabbit: RabbitMQ) -> int:
    """Messages in all queues: a probe must be in none."""
    return sum(int(line) for line in rabbit.ctl("list_queues", "messages").split() if line.isdigit())
