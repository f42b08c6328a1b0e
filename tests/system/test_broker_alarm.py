"""A memory alarm of RabbitMQ: it is in replies, probes, logs and metrics, and ends by itself."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import pytest
import structlog
from anyio import CancelScope, create_task_group, fail_after
from anyio.lowlevel import checkpoint
from anyio.to_thread import run_sync

from hub.brokers import open_broker
from hub.concurrency.services import background_service
from hub.directories import open_directory
from hub.gateway.service import run_gateway
from hub.http.client import open_client
from hub.model.instance.instance import run_instance
from hub.registry.service import run_registry
from hub.settings.gateway import GatewaySettings
from hub.settings.model import ModelSettings
from hub.settings.registry import RegistrySettings
from hub.stores import open_store
from tests.support.rabbitmq import RabbitMQ, delete_queues
from tests.system.models import Echo

TIMEOUT = 120.0

pytestmark = pytest.mark.kills_servers

Backend = tuple[str, dict[str, object]]

ASYNCIO: Backend = ("asyncio", {"debug": True})
TRIO: Backend = ("trio", {})
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


async def test_the_reason_of_a_broker_alarm_is_in_replies_probes_logs_and_metrics(
    private_rabbitmq: RabbitMQ, adapter: tuple[Backend, str]
) -> None:
    url = private_rabbitmq.url.replace("amqp://", f"{adapter[1]}://")
    await run_sync(delete_queues, private_rabbitmq.url, "Echo")
    with fail_after(TIMEOUT), structlog.testing.capture_logs() as log:
        async with AsyncExitStack() as stack:
            broker = await stack.enter_async_context(open_broker(url))
            store = await stack.enter_async_context(open_store("memory://"))
            directory = await stack.enter_async_context(open_directory("memory://"))
            http = await stack.enter_async_context(open_client())
            registry = await stack.enter_async_context(
                background_service(
                    partial(run_registry, RegistrySettings(registry_port=0), directory=directory, broker=broker),
                    name="registry",
                )
            )
            settings = ModelSettings(registry_url=registry, store_url="memory://", broker_url=url)
            instance = partial(run_instance, Echo, settings, broker=broker, store=store)
            worker = await stack.enter_async_context(background_service(instance, name="instance"))
            gateway = await stack.enter_async_context(
                background_service(
                    partial(
                        run_gateway,
                        GatewaySettings(registry_url=registry, gateway_port=0, publish_timeout=1.0, broker_url=url),
                        broker=broker,
                        store=store,
                    ),
                    name="gateway",
                )
            )

            async def submit() -> tuple[int, str, str]:
                reply = await http.post(f"{gateway}/v1/models/Echo/tasks", json={"messages": "0 x"})
                body = reply.json()
                return reply.status_code, body.get("code", ""), body.get("detail", "")

            async def is_ready(status: int, where: str = gateway) -> str:
                while (reply := await http.get(f"{where}/health/ready")).status_code != status:
                    await checkpoint()
                return reply.text

            while (await submit())[0] != 202:
                await checkpoint()
            await is_ready(200)
            assert "hub_broker_blocked 0.0" in (await http.get(f"{gateway}/metrics")).text
            async with memory_alarm(private_rabbitmq):
                while (reply := await submit())[0] != 503:
                    await checkpoint()
                assert reply[1] == "broker_blocked"
                assert "low on memory" in reply[2]
                assert (await submit())[1] == "broker_blocked"
                async with create_task_group() as tg:
                    for _ in range(3):
                        tg.start_soon(submit)
                assert "the broker takes no messages: low on memory" in await is_ready(503)
                assert "the broker takes no messages: low on memory" in await is_ready(503, worker)
                assert "hub_broker_blocked 1.0" in (await http.get(f"{gateway}/metrics")).text
                assert broker.statistics().connected, "heartbeats go on"
            while broker.statistics().blocked is not None:
                await checkpoint()
            assert (await submit())[0] == 202
            await is_ready(200)
            await is_ready(200, worker)
            assert "hub_broker_blocked 0.0" in (await http.get(f"{gateway}/metrics")).text
    said = [
        (line["event"], line["reason"]) for line in log if "messages" in line["event"] and "broker" in line["event"]
    ]
    assert said == [
        ("the broker takes no messages until its alarm ends", "low on memory"),
        ("the broker takes messages again", "low on memory"),
    ]
