"""The cost of a request, and of a model in memory, for a gateway with more models, each with messages of its own."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from functools import partial
from typing import Final

import anyio
from anyio.abc import TaskStatus
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from httpx2 import AsyncClient

from benchmarks.fleet import LOGINS_AT_ONCE, hosts, is_up, megabytes, process
from benchmarks.growth.part import Found
from benchmarks.peers.processes import threads_seconds
from examples.model_a.v1.model_a_pb2 import DESCRIPTOR
from hub.brokers import BrokerOptions, QueueType, open_broker
from hub.contract import Contract
from hub.contract.descriptors.pool import build_pool
from hub.http.client import open_client
from hub.ports.broker import Broker
from hub.registry.client.client import RegistryClient
from hub.registry.client.login import LoginRequest
from hub.types import ModelName, new_instance_id
from tests.support.rabbitmq import rabbitmq
from tests.support.redis import redis
from tests.support.server import free_port

LEVELS: Final = (10, 100, 1_000)
REQUESTS: Final = 1_600
CONNECTIONS: Final = 16
IDLE: Final = 5.0
"""Seconds in which the CPU that a gateway uses without requests is measured; a request does not count it."""


def contract(number: int) -> Contract:
    """The messages of ModelA, in a package of their own."""
    file = FileDescriptorProto()
    DESCRIPTOR.CopyToProto(file)
    file.name, file.package = f"growth/m{number}.proto", f"growth.m{number}"
    find = build_pool(FileDescriptorSet(file=[file])).FindMessageTypeByName
    return Contract.from_descriptors(find(f"growth.m{number}.ModelARequest"), find(f"growth.m{number}.ModelAResponse"))


def measure(backend: str, arguments: argparse.Namespace) -> Found:
    del arguments
    found, ports = Found(), (free_port(), free_port())
    settings = {"HUB_LOG_LEVEL": "error", "HUB_QUEUE_TYPE": "classic", "HUB_DASHBOARD_PORT": "0"}
    python = (sys.executable, "-m")
    with (
        rabbitmq() as broker,
        redis() as store,
        process(*python, "benchmarks.fleet", "--serve") as instances,
        process(
            *python, "hub.registry", "--backend", backend,
            HUB_BROKER_URL=broker.url, HUB_DIRECTORY_URL=store.url, HUB_REGISTRY_PORT=str(ports[0]),
            HUB_MAX_MODELS="2000", HUB_MAX_CONTRACTS="2000", HUB_LOG_LEVEL="error",
        ),
        process(
            *python, "hub", "gateway", "--backend", backend, HUB_BROKER_URL=broker.url, HUB_STORE_URL=store.url,
            HUB_REGISTRY_URL=f"http://127.0.0.1:{ports[0]}", HUB_GATEWAY_PORT=str(ports[1]), **settings,
        ) as gateway,
    ):  # fmt: skip
        assert instances.stdout is not None
        port = int(instances.stdout.readline())
        urls = (f"http://{host}:{port}" for host in hosts())
        run = partial(_measure, found, broker_url=broker.url, pid=gateway.pid, urls=urls)
        anyio.run(partial(run, registry=f"http://127.0.0.1:{ports[0]}", gateway=f"http://127.0.0.1:{ports[1]}"))
    return found


async def _measure(
    found: Found, *, broker_url: str, registry: str, gateway: str, pid: int, urls: Iterator[str]
) -> None:
    options = BrokerOptions(queue_type=QueueType.CLASSIC)
    async with (
        open_broker(broker_url, options) as broker,
        open_client(connections=64) as http,
        anyio.create_task_group() as tg,
    ):
        with anyio.fail_after(60):
            for base in (registry, gateway):
                while not await is_up(http, base):  # noqa: ASYNC110 - a process has no event to wait for
                    await anyio.sleep(0.1)
        known = 0
        memory = megabytes(pid)
        for level in LEVELS:
            for number in range(known, level):
                await tg.start(_hold, broker, ModelName(f"Model{number}"))
            await _log_in(RegistryClient(registry, http), urls, known, level)
            with anyio.fail_after(120):
                while len((await http.get(f"{gateway}/v1/models")).json()["models"]) < level:  # noqa: ASYNC110 - as above
                    await anyio.sleep(0.2)
            await anyio.sleep(3)
            after = megabytes(pid)
            if known:
                found.add("model kB", level, (after - memory) / (level - known) * 1e3)
            await _submit(http, gateway, CONNECTIONS * 10)
            used, at = threads_seconds(pid), time.perf_counter()
            await anyio.sleep(IDLE)
            idle = (threads_seconds(pid) - used) / (time.perf_counter() - at)
            used, at = threads_seconds(pid), time.perf_counter()
            await _submit(http, gateway, REQUESTS)
            spent = threads_seconds(pid) - used - idle * (time.perf_counter() - at)
            found.add("request us", level, spent / REQUESTS * 1e6)
            known, memory = level, megabytes(pid)
        tg.cancel_scope.cancel()


async def _hold(broker: Broker, model: ModelName, *, task_status: TaskStatus[None]) -> None:
    """Consumes from a queue, so that its model is live, and settles nothing."""
    await broker.declare(model)
    async with broker.consume(model, prefetch=1):
        task_status.started()
        await anyio.sleep_forever()


async def _log_in(client: RegistryClient, urls: Iterator[str], first: int, models: int) -> None:
    numbers = iter(range(first, models))

    async def worker() -> None:
        for number in numbers:
            await client.login(
                LoginRequest(
                    instance=new_instance_id(),
                    model=ModelName(f"Model{number}"),
                    url=next(urls),
                    contract=contract(number),
                )
            )

    async with anyio.create_task_group() as tg:
        for _ in range(LOGINS_AT_ONCE):
            tg.start_soon(worker)


async def _submit(http: AsyncClient, gateway: str, requests: int) -> None:
    """Submits tasks of the first model, which nothing runs."""

    async def client() -> None:
        for _ in range(requests // CONNECTIONS):
            reply = await http.post(f"{gateway}/v1/models/Model0/tasks", json={"messages": "x" * 100})
            assert reply.status_code == 202, reply.text

    async with anyio.create_task_group() as tg:
        for _ in range(CONNECTIONS):
            tg.start_soon(client)
