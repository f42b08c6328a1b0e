"""The cost of a ping and of a login to a registry with more instances."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from functools import partial
from typing import Final

import anyio

from benchmarks.fleet import consume, hosts, is_up, log_in, process
from benchmarks.growth.part import Found
from benchmarks.peers.processes import threads_seconds
from hub.brokers import open_broker
from hub.http.client import open_client
from hub.registry.client.client import RegistryClient
from hub.types import ModelName
from tests.support.rabbitmq import rabbitmq
from tests.support.redis import redis
from tests.support.server import free_port

LEVELS: Final = (10, 100, 1_000)
MODELS: Final = 10
LOGINS: Final = 48
"""More logins, whose cost is measured, at each level."""

FULL: Final = 10_000 - LOGINS

SECONDS: Final = 8.0
"""That an idle registry, and one with instances, is observed."""


def measure(backend: str, arguments: argparse.Namespace) -> Found:
    found = Found()
    with rabbitmq() as broker, process(sys.executable, "-m", "benchmarks.fleet", "--serve") as instances:
        assert instances.stdout is not None
        port = int(instances.stdout.readline())
        for level in (*LEVELS, FULL) if arguments.full else LEVELS:
            period = 10.0 if level >= FULL else 1.0  # so that few pings show beside an idle registry too
            with redis() as store:
                free = free_port()
                with process(
                    sys.executable, "-m", "hub.registry", "--backend", backend, "--ping-period", str(period),
                    "--ping-timeout", "0.9",
                    HUB_BROKER_URL=broker.url, HUB_DIRECTORY_URL=store.url, HUB_REGISTRY_PORT=str(free),
                    HUB_MAX_INSTANCES="10000", HUB_MAX_MODEL_INSTANCES="10000", HUB_LOG_LEVEL="error",
                ) as registry:  # fmt: skip
                    base = f"http://127.0.0.1:{free}"
                    run = partial(
                        _level, base, port=port, pid=registry.pid, broker_url=broker.url, level=level, period=period
                    )
                    ping, login = anyio.run(run)
            found.add("ping us", level, ping)
            found.add("login us", level, login)
    return found


async def _level(base: str, *, port: int, pid: int, broker_url: str, level: int, period: float) -> tuple[float, float]:
    """CPU of the registry for a ping, and for a login, in microseconds."""
    async with open_broker(broker_url) as broker, open_client(connections=64) as http, anyio.create_task_group() as tg:
        for number in range(MODELS):
            await tg.start(consume, broker, ModelName(f"Model{number}"))
        with anyio.fail_after(30):
            while not await is_up(http, base):  # noqa: ASYNC110 - a process has no event to wait for
                await anyio.sleep(0.1)
        client = RegistryClient(base, http)
        names = hosts()
        await anyio.sleep(1)
        idle = await _share(pid)
        await _log_in(client, [f"http://{next(names)}:{port}" for _ in range(level)], pid)
        await anyio.sleep(2 * period)
        busy = await _share(pid)
        ping = (busy - idle) / (level / period)
        used, began = threads_seconds(pid), time.perf_counter()
        await _log_in(client, [f"http://{next(names)}:{port}" for _ in range(LOGINS)], pid)
        login = (threads_seconds(pid) - used - busy * (time.perf_counter() - began)) / LOGINS
        tg.cancel_scope.cancel()
    return ping * 1e6, login * 1e6


async def _log_in(client: RegistryClient, urls: Sequence[str], pid: int) -> None:
    refused, _ = await log_in(client, urls, MODELS, pid)
    if refused:
        print(f"  {refused} logins were refused", flush=True)


async def _share(pid: int) -> float:
    """Seconds of CPU per second."""
    used, began = threads_seconds(pid), time.perf_counter()
    await anyio.sleep(SECONDS)
    return (threads_seconds(pid) - used) / (time.perf_counter() - began)
