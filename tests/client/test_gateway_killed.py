"""The client while its gateway is killed and started again: processes over a real RabbitMQ and a real Redis."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import ExitStack
from dataclasses import dataclass

import anyio
import pytest
from anyio import create_task_group, fail_after
from anyio.to_thread import run_sync

import hub
from examples.model_a.v1.model_a_pb2 import ModelARequest, ModelAResponse
from hub.client.task import TaskHandle
from hub.http.client import open_client
from hub.types import TaskState
from tests.support.rabbitmq import delete_queues
from tests.support.redis import emptied
from tests.support.server import free_port
from tests.system.models import Echo, Steps
from tests.system.processes import Hub, hub_process, up

TIMEOUT = 90.0
COUNT = 1500
ADAPTERS = {"asyncio": ("amqp+aiormq", "redis+redispy"), "trio": ("amqp", "redis")}
"""The drivers of the processes: asyncio has those that only run there."""


@dataclass(frozen=True, kw_only=True)
class Killable:
    """A hub whose gateway runs only while a test wants it. `settings` are those of the gateway."""

    hub: Hub
    settings: dict[str, str]


@pytest.fixture
async def killable(
    anyio_backend: tuple[str, dict[str, object]], amqp_url: str, redis_url: str
) -> AsyncGenerator[Killable]:
    backend = anyio_backend[0]
    broker, store = ADAPTERS[backend]
    redis = f"{store}:{emptied(redis_url, {'asyncio': 9, 'trio': 10}[backend]).partition(':')[2]}"
    await run_sync(delete_queues, amqp_url, "Echo", "Steps")
    common = {"backend": backend, "broker_url": f"{broker}:{amqp_url.partition(':')[2]}", "ping_period": "1"}
    registry_settings = common | {"directory_url": redis, "registry_port": "0", "ping_timeout": "0.9"}
    port = free_port()
    async with open_client() as http:
        with hub_process(["hub.registry"], registry_settings) as registry:
            rest = common | {"registry_url": await up(registry), "store_url": redis}
            url = f"http://127.0.0.1:{port}"
            running = Hub(rest, registry_settings, registry, rest["registry_url"], url, http)
            yield Killable(hub=running, settings=rest | {"gateway_port": f"{port}"})


async def test_calls_streams_and_tasks_go_on_when_the_gateway_is_killed_and_returns(killable: Killable) -> None:
    chunks: list[str] = []
    replies: list[str] = []
    watched: list[TaskState] = []
    submitted: list[TaskHandle[ModelAResponse]] = []

    async def call(client: hub.Client, text: str) -> None:
        replies.append((await client.call(Echo, ModelARequest(messages=f"3 {text}"))).reply)

    async def stream(client: hub.Client) -> None:
        async for chunk in client.stream(Steps, ModelARequest(messages=f"{COUNT}")):
            chunks.append(chunk.reply)  # noqa: PERF401 - their number is read meanwhile

    async def watch(client: hub.Client) -> None:
        handle = await client.submit(Echo, ModelARequest(messages="3 watched"))
        watched.extend([snapshot.state async for snapshot in handle.events()])
        replies.append((await handle.result()).reply)

    async def batch(client: hub.Client) -> None:
        while not submitted:
            requests = [ModelARequest(messages=f"0 b{number}") for number in range(20)]
            answers = [answer async for answer in client.batch(Echo, requests, idempotency_key="killed")]
            submitted.extend([answer.task for answer in answers if answer.task is not None])
        replies.extend([(await handle.result()).reply for handle in submitted])

    with fail_after(TIMEOUT), ExitStack() as processes:
        gateway = processes.enter_context(hub_process(["hub.gateway"], killable.settings))
        await up(gateway)
        async with (
            killable.hub.instances("tests.system.models:Echo", "tests.system.models:Steps"),
            hub.Client(killable.hub.gateway, retry_for=60) as client,
            create_task_group() as tg,
        ):
            tg.start_soon(call, client, "called")
            tg.start_soon(stream, client)
            tg.start_soon(watch, client)
            while len(chunks) < COUNT // 10 or not watched:
                await anyio.sleep(0.02)
            gateway.kill()
            read = len(chunks)
            assert read < COUNT
            tg.start_soon(batch, client)  # its first attempt finds no gateway
            await anyio.sleep(0.5)
            await up(processes.enter_context(hub_process(["hub.gateway"], killable.settings)))
    assert chunks == [f"1 {number}" for number in range(COUNT)]
    assert sorted(replies) == sorted(["called", "watched", *(f"b{number}" for number in range(20))])
    assert watched[-1] is TaskState.SUCCEEDED
