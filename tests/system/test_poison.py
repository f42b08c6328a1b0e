"""Messages on the queue of an instance that are no tasks: each is dead-lettered, and the instance goes on."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from uuid import uuid4

import pytest
from anyio import fail_after, move_on_after
from anyio.lowlevel import checkpoint
from anyio.to_thread import run_sync
from httpx2 import AsyncClient

from hub.brokers import BrokerOptions, QueueType, open_broker
from hub.concurrency.services import background_service
from hub.directories import open_directory
from hub.gateway.service import run_gateway
from hub.http.client import open_client
from hub.model.instance.instance import run_instance
from hub.ports.broker import Broker, Publication
from hub.registry.service import run_registry
from hub.settings.gateway import GatewaySettings
from hub.settings.model import ModelSettings
from hub.settings.registry import RegistrySettings
from hub.stores import open_store
from hub.types import ModelName, new_task_id
from hub.v1 import task_pb2
from tests.support.backends import ASYNCIO, TRIO
from tests.support.rabbitmq import delete_queues
from tests.support.redis import Redis
from tests.system.models import Echo

TIMEOUT = 90.0

ADAPTERS = {"amqp-asyncio": (ASYNCIO, "amqp"), "amqp-trio": (TRIO, "amqp"), "aiormq-asyncio": (ASYNCIO, "amqp+aiormq")}

INT64 = (-(2**63), -(2**63) + 1, -(10**12), 10**12, 2**63 - 1)
NANOS = (-(2**31), -1, 2**31 - 1)


@pytest.fixture(scope="module", params=[pytest.param(adapter, id=name) for name, adapter in ADAPTERS.items()])
def adapter(request: pytest.FixtureRequest) -> tuple[tuple[str, dict[str, object]], str]:
    adapter: tuple[tuple[str, dict[str, object]], str] = request.param
    return adapter


@pytest.fixture(scope="module")
def anyio_backend(adapter: tuple[tuple[str, dict[str, object]], str]) -> object:
    return adapter[0]


def message(name: str, **times: tuple[int, int]) -> task_pb2.Task:
    made = task_pb2.Task(id=new_task_id(), model=name, body=b"x", fingerprint="f" * 64)
    made.created_at.seconds = 1_700_000_000
    for field, (seconds, nanos) in times.items():
        getattr(made, field).seconds, getattr(made, field).nanos = seconds, nanos
    return made


def poisons(name: str) -> list[bytes]:
    good = message(name).SerializeToString()
    made = [
        message(name, **{field: time}).SerializeToString()
        for field in ("created_at", "deadline", "result_ttl")
        for time in (*((seconds, 0) for seconds in INT64), *((1, nanos) for nanos in NANOS))
    ]
    for field, text in (
        ("id", ""),
        ("id", "not-a-uuid"),
        ("id", "a\0b"),
        ("id", "*"),
        ("model", ""),
        ("model", "x" * 100_000),
        ("model", "Another"),
        ("fingerprint", ""),
        ("fingerprint", "x" * 100_000),
        ("reply_channel", "a\r\nb c"),
        ("reply_channel", "x" * 100_000),
        ("traceparent", "x" * 100_000),
        ("idempotency_key", "x" * 100_000),
    ):
        odd = message(name)
        setattr(odd, field, text)
        made.append(odd.SerializeToString())
    broken = [b"", b"\0", b"\xff" * 100, good[:-1], good + b"\x0a", b"\x0a\xff\xff\xff\xff\x0f", b"{}", b"\x0b" * 5000]
    return [*made, *broken, good]  # the last one has a contract that there never was


def publications(name: ModelName, bodies: list[bytes]) -> list[Publication]:
    return [Publication(queue=name, body=body, message_id=f"{at}", timestamp=0) for at, body in enumerate(bodies)]


class System:
    def __init__(self, name: ModelName, broker: Broker, gateway: str, http: AsyncClient) -> None:
        self.name = name
        self.broker = broker
        self.gateway = gateway
        self.http = http

    async def call(self, text: str) -> str:
        while True:
            reply = await self.http.post(f"{self.gateway}/v1/models/{self.name}/tasks", json={"messages": f"0 {text}"})
            if reply.status_code == 202:
                break
            await checkpoint()
        task_id: str = reply.json()["id"]
        while (await self.http.get(f"{self.gateway}/v1/tasks/{task_id}")).json()["state"] != "succeeded":
            await checkpoint()
        return task_id


@asynccontextmanager
async def open_system(broker_url: str, store_url: str, queue_type: QueueType) -> AsyncGenerator[System]:
    name = ModelName(f"Poisoned{uuid4().hex[:12]}")
    model = type(name, (Echo,), {"name": name})
    try:
        async with AsyncExitStack() as stack:
            enter = stack.enter_async_context
            broker = await enter(open_broker(broker_url, BrokerOptions(queue_type=queue_type)))
            store = await enter(open_store(store_url))
            directory = await enter(open_directory("memory://"))
            http = await enter(open_client())
            registry = await enter(
                background_service(
                    partial(run_registry, RegistrySettings(registry_port=0), directory=directory, broker=broker),
                    name="registry",
                )
            )
            settings = ModelSettings(registry_url=registry, store_url=store_url, broker_url=broker_url)
            await enter(
                background_service(partial(run_instance, model, settings, broker=broker, store=store), name="instance")
            )
            gateway = await enter(
                background_service(
                    partial(
                        run_gateway,
                        GatewaySettings(registry_url=registry, gateway_port=0, broker_url=broker_url),
                        broker=broker,
                        store=store,
                    ),
                    name="gateway",
                )
            )
            yield System(name, broker, gateway, http)
    finally:
        plain = broker_url.replace("amqp+aiormq://", "amqp://")
        if plain.startswith("amqp"):
            with move_on_after(TIMEOUT, shield=True):
                await run_sync(delete_queues, plain, name)


@pytest.mark.parametrize("queue_type", list(QueueType))
async def test_an_instance_dead_letters_messages_that_are_no_task_and_goes_on(
    adapter: tuple[tuple[str, dict[str, object]], str], amqp_url: str, queue_type: QueueType
) -> None:
    url = amqp_url.replace("amqp://", f"{adapter[1]}://")
    with fail_after(TIMEOUT):
        async with open_system(url, "memory://", queue_type) as it:
            await it.call("before")
            bodies = poisons(it.name)
            assert await it.broker.publish(publications(it.name, bodies)) == [None] * len(bodies)
            await it.call("after")
            while True:
                async with it.broker.dead_letters(it.name, limit=1000) as letters:
                    if letters.total == len(bodies):
                        break
                await checkpoint()
            async with it.broker.dead_letters(it.name, limit=1000) as letters:
                found = list(letters.deliveries)
            assert {letter.body for letter in found if letter.headers.get("hub-code") == "undecodable"} >= set(
                bodies[:24]
            )
            assert all(letter.headers.get("hub-reason") for letter in found)
            await it.call("at the end")


ABSURD = {
    "huge": "1e308",
    "infinite": "inf",
    "less than any": "-inf",
    "none": "nan",
    "before the year 1": "-1e300",
    "int64": str(-(2**63) + 1),
}


async def test_a_task_whose_record_has_absurd_times_is_shown(private_redis: Redis) -> None:
    with fail_after(TIMEOUT):
        async with open_system("memory://", private_redis.url, QueueType.QUORUM) as it:
            task_id = await it.call("x")
            keys = private_redis.ctl("KEYS", f"*{task_id}*").split()
            (key,) = (key for key in keys if private_redis.ctl("TYPE", key).strip() == "hash")
            fields = private_redis.ctl("HKEYS", key).split()
            for field in ("created_at", "updated_at", "ttl", "deadline", "started_at"):
                for value in ABSURD.values():
                    before = private_redis.ctl("HGET", key, field).strip() if field in fields else ""
                    private_redis.ctl("HSET", key, field, value)
                    reply = await it.http.get(f"{it.gateway}/v1/tasks/{task_id}")
                    assert (field, value, reply.status_code, reply.json()["state"]) == (field, value, 200, "succeeded")
                    private_redis.ctl("HSET", key, field, before)
