"""A large fleet on one registry: logins, pings and the cost of one change, with a real Redis and RabbitMQ.

    python -m benchmarks.fleet [--instances 9999] [--models 50] [--seconds 40] [--backend trio]

The instances are one process that answers pings: each has a loopback address of its own, `127.x.y.z`, so the registry
connects to each of them. They log in 16 at a time. Then the registry is observed for `--seconds`: its CPU, its beats,
the time until a silent instance is no longer live, and what one login more costs a gateway that watches the list.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import count, pairwise
from pathlib import Path
from typing import Final, cast, final

import anyio
import msgspec
import uvloop
from anyio.abc import TaskStatus
from httpx2 import AsyncClient, NetworkError
from typing_extensions import override

from benchmarks.records import record
from examples.model_a.v1.model_a_pb2 import ModelARequest, ModelAResponse
from hub.brokers import open_broker
from hub.contract import Contract
from hub.errors import HubError
from hub.http.client import open_client
from hub.ports.broker import Broker
from hub.registry.client.client import RegistryClient
from hub.registry.client.login import LoginRequest
from hub.stats import InstanceStats
from hub.types import InstanceState, ModelName, new_instance_id
from tests.support.rabbitmq import rabbitmq
from tests.support.redis import redis
from tests.support.server import free_port

LOGINS_AT_ONCE: Final = 16
_BODY: Final = msgspec.json.encode({"consuming": True, "stats": InstanceStats()})
_REPLY: Final = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (
    len(_BODY),
    _BODY,
)


@final
class Instance(asyncio.Protocol):
    """One connection to an instance. `GET /silence` makes all connections to its address silent."""

    silent: Final[set[str]] = set()
    seen: Final[dict[str, list[float]]] = {}

    def __init__(self) -> None:
        self._buffer = b""
        self._transport: asyncio.Transport | None = None
        self._host = ""

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._host = self._transport.get_extra_info("sockname")[0]

    @override
    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head, self._buffer = self._buffer[:end], self._buffer[end + 4 :]
            if head.startswith(b"GET /silence"):
                self.silent.add(self._host)
            elif self._host in self.silent:
                continue
            assert self._transport is not None
            self._transport.write(_REPLY)


async def serve_instances() -> None:
    server = await asyncio.get_running_loop().create_server(Instance, "0.0.0.0", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().create_future()


def hosts() -> Iterator[str]:
    for number in count(256):
        if number % 256 not in (0, 255):
            yield f"127.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


@contextmanager
def process(*command: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **variables})
    try:
        yield child
    finally:
        child.terminate()
        child.wait(30)


def cpu(pid: int) -> float:
    """Seconds of CPU that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def megabytes(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


async def log_in(client: RegistryClient, urls: Iterable[str], models: int, pid: int) -> tuple[int, list[float]]:
    """Logs in an instance for each URL. Returns the number of refusals, and CPU seconds of the registry after each 1,000."""
    contract = Contract.from_descriptors(ModelARequest.DESCRIPTOR, ModelAResponse.DESCRIPTOR)
    refused, done, marks = 0, 0, [cpu(pid)]
    work = enumerate(urls)

    async def worker() -> None:
        nonlocal refused, done
        for number, url in work:
            request = LoginRequest(
                instance=new_instance_id(), model=ModelName(f"Model{number % models}"), url=url, contract=contract
            )
            while True:
                try:
                    await client.login(request)
                    break
                except HubError as error:
                    refused += 1
                    if refused <= 3:
                        print("refused:", str(error)[:200], flush=True)
                    await anyio.sleep(0.2)
            done += 1
            if done % 1000 == 0:
                marks.append(cpu(pid))

    async with anyio.create_task_group() as tg:
        for _ in range(LOGINS_AT_ONCE):
            tg.start_soon(worker)
    return refused, marks


async def is_up(http: AsyncClient, base: str) -> bool:
    try:
        return (await http.get(f"{base}/health/ready")).is_success
    except NetworkError:
        return False


async def consume(broker: Broker, model: ModelName, *, task_status: TaskStatus[None]) -> None:
    """One consumer for all instances of a model: the registry asks the broker whether there is any."""
    await broker.declare(model)
    async with broker.consume(model, prefetch=1) as consumer:
        task_status.started()
        await consumer.receive()


async def late_beats(http: AsyncClient, base: str) -> float:
    """Groups of pings that began late; prints what else the registry counts of its pings."""
    late = 0.0
    for line in (await http.get(f"{base}/metrics")).text.splitlines():
        if line.startswith(("hub_registry_late", "hub_registry_pings_in_flight", "hub_registry_ping_missed")):
            print("  ", line)
        if line.startswith("hub_registry_late_beats_total "):
            late = float(line.split()[1])
    return late


async def until_dead(client: RegistryClient, http: AsyncClient, url: str) -> float:
    """Seconds from the moment in which an instance becomes silent until it is no longer live."""
    await http.get(f"{url}/silence")
    at = time.perf_counter()
    while True:
        found = next((body for body in await client.instances() if body.url == url), None)
        if found is None or found.state is not InstanceState.LIVE:
            return time.perf_counter() - at
        await anyio.sleep(0.25)


async def measure(base: str, port: int, pid: int, broker_url: str, arguments: argparse.Namespace) -> None:
    async with open_broker(broker_url) as broker, open_client(connections=64) as http, anyio.create_task_group() as tg:
        for number in range(arguments.models):
            await tg.start(consume, broker, ModelName(f"Model{number}"))
        client = RegistryClient(base, http)
        with anyio.fail_after(30):
            while not await is_up(http, base):  # noqa: ASYNC110 - a process has no event to wait for
                await anyio.sleep(0.1)
        names = hosts()
        urls = [f"http://{next(names)}:{port}" for _ in range(arguments.instances)]
        figures: dict[str, float] = {}
        started = time.perf_counter()
        refused, marks = await log_in(client, urls, arguments.models, pid)
        seconds = time.perf_counter() - started
        each = [f"{(after - before):.2f}" for before, after in pairwise(marks)]
        print(f"{arguments.instances} logins, {LOGINS_AT_ONCE} at a time: {seconds:.1f} s, {refused} refused; "
              f"CPU in ms each, by thousands: {', '.join(each)}", flush=True)  # fmt: skip
        figures |= {"instances": arguments.instances, "logins_s": seconds, "refused": refused}
        if len(marks) > 2:
            figures["login_growth_x"] = (marks[-1] - marks[-2]) / (marks[1] - marks[0])
        before, at = cpu(pid), time.perf_counter()
        await anyio.sleep(arguments.seconds)
        share = (cpu(pid) - before) / (time.perf_counter() - at)
        print(f"steady: {share:.2f} of a core, {megabytes(pid):.0f} MB", flush=True)
        figures["steady_cores"] = share
        figures["late"] = await late_beats(http, base)
        figures["dead_s"] = await until_dead(client, http, urls[len(urls) // 2])
        print(f"a silent instance was no longer live after {figures['dead_s']:.1f} s", flush=True)

        for path in ("/v1/models?known=true", "/v1/instances"):
            before, at = cpu(pid), time.perf_counter()
            reply = await http.get(base + path)
            print(f"GET {path}: {len(reply.content):,} bytes, {(time.perf_counter() - at) * 1e3:.0f} ms", flush=True)
        etag = (await http.get(f"{base}/v1/models?known=true")).headers["etag"]
        watched = []

        async def watch() -> None:
            reply = await http.get(
                f"{base}/v1/models?known=true&changes=true", headers={"If-None-Match": etag, "Prefer": "wait=20"}
            )
            watched.append(len(reply.content))

        async with anyio.create_task_group() as watching:
            watching.start_soon(watch)
            await anyio.sleep(0.5)
            at = time.perf_counter()
            await log_in(client, [f"http://{next(names)}:{port}"], arguments.models, pid)
            print(f"one login more: {(time.perf_counter() - at) * 1e3:.0f} ms", flush=True)
        print(f"what a watching gateway gets for it: {watched[0]:,} bytes", flush=True)
        record("fleet", figures | {"change_bytes": watched[0]}, backend=arguments.backend)
        tg.cancel_scope.cancel()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--instances", type=int, default=9_999)
    parser.add_argument("--models", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=40)
    parser.add_argument("--backend", choices=("asyncio", "trio"), default="asyncio")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        uvloop.run(serve_instances())
        return
    python, free = sys.executable, free_port()
    with (
        rabbitmq() as broker,
        redis() as store,
        process(python, "-m", "benchmarks.fleet", "--serve") as instances,
        process(
            python, "-m", "hub.registry", "--backend", arguments.backend,
            HUB_BROKER_URL=broker.url, HUB_DIRECTORY_URL=store.url, HUB_REGISTRY_PORT=str(free),
            HUB_MAX_INSTANCES="10000", HUB_MAX_MODEL_INSTANCES="10000", HUB_LOG_LEVEL="warning",
        ) as registry,
    ):  # fmt: skip
        print(
            f"a registry on {arguments.backend}, {arguments.instances} instances of {arguments.models} models",
            flush=True,
        )
        assert instances.stdout is not None
        port = int(instances.stdout.readline())
        anyio.run(measure, f"http://127.0.0.1:{free}", port, registry.pid, broker.url, arguments)


if __name__ == "__main__":
    main()
