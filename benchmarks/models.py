"""A hub of many distinct models: what its pages cost a gateway, a registry and a browser, with a real RabbitMQ and Redis.

    python -m benchmarks.models [--models 10 100 1000] [--backend trio] [--without-browser] [--json FILE]

One instance per model answers pings, as in `benchmarks.fleet`; each model has messages of its own. CPU is that of all threads
of a process, from the scheduler. "At once" is the CPU that the thread of an event loop uses between two turns of a task that
never waits, at most: the longest that a loop stands still, on a machine with nothing else to do.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from subprocess import Popen
from typing import Final, final

import anyio
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from httpx2 import AsyncClient
from litestar import Litestar, Response, get as getting, post

from benchmarks.fleet import LOGINS_AT_ONCE, consume, hosts, is_up, megabytes, process
from hub.brokers import BrokerOptions, QueueType, open_broker
from hub.cli.app import main as command
from hub.contract import Contract
from hub.errors import ConnectionLost
from hub.gateway import service as gateway_service
from hub.http.client import open_client
from hub.http.dependencies import HttpRequest
from hub.http.middleware.edge import with_edge
from hub.http.serve.listen import ListenAddress
from hub.http.serve.server import serve
from hub.registry import service as registry_service
from hub.registry.client.client import RegistryClient
from hub.registry.client.login import LoginRequest
from hub.types import InstanceId, ModelName, new_instance_id
from tests.support.rabbitmq import rabbitmq
from tests.support.redis import redis
from tests.support.server import free_port

COUNTS: Final = (10, 100, 1000)
PLAIN: Final = "BENCHMARK_PLAIN_PORT"
"""The environment variable with the port of a plain route in the process of the gateway."""

_STRING, _INT, _MESSAGE = (
    FieldDescriptorProto.TYPE_STRING, FieldDescriptorProto.TYPE_INT32, FieldDescriptorProto.TYPE_MESSAGE
)  # fmt: skip


def contract(number: int) -> Contract:
    """Messages of no other model: a request of three fields, one of them a list of messages, and a response."""
    file = FileDescriptorProto(name=f"bench/m{number}.proto", package=f"bench.m{number}", syntax="proto3")
    for name, fields in (
        ("Item", [("label", _STRING), ("size", _INT), ("color", _STRING)]),
        ("Request", [("text", _STRING), ("limit", _INT), ("items", _MESSAGE)]),
        ("Response", [("text", _STRING), ("items", _MESSAGE)]),
    ):
        message = file.message_type.add(name=name)
        for at, (field_name, kind) in enumerate(fields, 1):
            added = message.field.add(name=field_name, number=at, type=kind, label=FieldDescriptorProto.LABEL_OPTIONAL)
            if kind == _MESSAGE:
                added.label, added.type_name = FieldDescriptorProto.LABEL_REPEATED, f".bench.m{number}.Item"
    pool = DescriptorPool()
    pool.Add(file)
    find = pool.FindMessageTypeByName
    return Contract.from_descriptors(find(f"bench.m{number}.Request"), find(f"bench.m{number}.Response"))


def cpu_ms(pid: int, *, loop_only: bool = False) -> float:
    """Milliseconds of CPU that a process has used, or its first thread alone."""
    tasks = [Path(f"/proc/{pid}/task/{pid}")] if loop_only else [*Path(f"/proc/{pid}/task").iterdir()]
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e6


@final
@dataclass(slots=True)
class Server:
    """A process with an event loop, at an address."""

    child: Popen[str]
    base: str
    idle: float = 0.0

    @property
    def pid(self) -> int:
        return self.child.pid

    @contextmanager
    def probed(self) -> Iterator[list[float]]:
        """The block's result gets the milliseconds of CPU that the loop used at once, at most."""
        longest: list[float] = []
        self.child.send_signal(signal.SIGUSR1)
        time.sleep(0.1)
        yield longest
        self.child.send_signal(signal.SIGUSR1)
        assert self.child.stdout is not None
        for line in self.child.stdout:
            if line.startswith("probe "):
                longest.append(float(line.split()[1]))
                break

    async def cost(self, act: Callable[[], Awaitable[object]], times: int, *, loop_only: bool = False) -> float:
        """Milliseconds of CPU for one `act`: the lower quartile of `times`. In others there is work that comes every second."""
        costs: list[float] = []
        for _ in range(times):
            before = cpu_ms(self.pid, loop_only=loop_only)
            await act()
            await anyio.sleep(0.02)  # until a thread that has sent its result sleeps
            costs.append(cpu_ms(self.pid, loop_only=loop_only) - before)
        return sorted(costs)[len(costs) // 4]


@final
@dataclass(slots=True)
class Report:
    """The figures of one number of models."""

    models: int
    rows: list[dict[str, object]] = field(default_factory=list[dict[str, object]])

    def add(self, what: str, value: float, unit: str, goal: float | None = None) -> None:
        verdict = "" if goal is None else f"goal <= {goal:g}: {'reached' if value <= goal else 'NO'}"
        print(f"  {what:<58}{value:>12,.1f} {unit:<6} {verdict}", flush=True)
        self.rows.append({"models": self.models, "what": what, "value": round(value, 3), "unit": unit, "goal": goal})


async def log_in(client: RegistryClient, urls: Iterator[str], first: int, models: int) -> None:
    numbers = iter(range(first, models))

    async def worker() -> None:
        for number in numbers:
            wanted = request(number, next(urls))
            while True:
                try:
                    await client.login(wanted)
                    break
                except ConnectionLost:  # on a machine with much else to do
                    await anyio.sleep(0.5)

    async with anyio.create_task_group() as tg:
        for _ in range(LOGINS_AT_ONCE):
            tg.start_soon(worker)


def request(number: int, url: str, instance: InstanceId | None = None) -> LoginRequest:
    name = ModelName(f"Model{number:04}")
    return LoginRequest(instance=instance or new_instance_id(), model=name, url=url, contract=contract(number))


async def get(http: AsyncClient, url: str, **headers: str) -> bytes:
    """The body as it was sent, compressed or not."""
    given = {"Accept-Encoding": "identity", **{name.replace("_", "-"): value for name, value in headers.items()}}
    async with http.stream("GET", url, headers=given) as reply:
        assert reply.is_success, f"{url}: {reply.status_code}"
        return b"".join([chunk async for chunk in reply.aiter_raw()])


async def served(http: AsyncClient, gateway: Server, models: int) -> None:
    """Waits until the gateway has this number of models."""
    with anyio.fail_after(120):
        while (await get(http, f"{gateway.base}/v1/models")).count(b'"fingerprint"') != models:  # noqa: ASYNC110 - as above
            await anyio.sleep(0.1)


@final
@dataclass(slots=True)
class Bench:
    """The processes, and what one of them is asked with."""

    http: AsyncClient
    gateway: Server
    registry: Server

    async def measure(self, report: Report, one_more: LoginRequest) -> None:
        for server, name in ((self.gateway, "gateway"), (self.registry, "registry")):
            await self._rest(report, server, name)
        for server, name in ((self.gateway, "gateway"), (self.registry, "registry")):
            await self._metrics(report, server, name)
        for path in ("/v1/models", "/v1/overview"):
            cost = await self.gateway.cost(partial(get, self.http, self.gateway.base + path), 9)
            report.add(f"gateway: {path}", cost, "ms")
        await self._description(report, one_more)
        client, gateway = RegistryClient(self.registry.base, self.http), self.gateway
        before, at = cpu_ms(gateway.pid), time.perf_counter()
        for _ in range(5):
            await client.login(one_more)
            await anyio.sleep(0.5)
            await client.logout(one_more.instance)
            await anyio.sleep(0.5)
        used = cpu_ms(gateway.pid) - before - gateway.idle * (time.perf_counter() - at)
        report.add("gateway: one change of the list", used / 10, "ms")

    async def _rest(self, report: Report, server: Server, name: str) -> None:
        await anyio.sleep(6)  # what the logins have left to do
        before, at = cpu_ms(server.pid), time.perf_counter()
        await anyio.sleep(10)
        server.idle = (cpu_ms(server.pid) - before) / (time.perf_counter() - at)
        report.add(f"{name}: idle CPU", server.idle, "ms/s")
        with server.probed() as at_once:
            await anyio.sleep(5)
        report.add(f"{name}: idle, the loop at once", at_once[0], "ms")
        report.add(f"{name}: memory", megabytes(server.pid), "MB")

    async def _metrics(self, report: Report, server: Server, name: str) -> None:
        address = f"{server.base}/metrics"
        for coding in ("identity", "gzip"):
            scrape = partial(get, self.http, address, Accept_Encoding=coding)
            await scrape()
            report.add(f"{name}: /metrics, {coding}", await server.cost(scrape, 7), "ms", 100)
        with server.probed() as at_once:
            for _ in range(5):
                await get(self.http, address, Accept_Encoding="gzip")
        report.add(f"{name}: /metrics, the loop at once", at_once[0], "ms", 10)
        report.add(f"{name}: /metrics", len(await get(self.http, address)) / 1e3, "kB")

    async def _description(self, report: Report, one_more: LoginRequest) -> None:
        http, gateway, models = self.http, self.gateway, report.models
        client = RegistryClient(self.registry.base, http)
        document, plain = f"{gateway.base}/openapi.json", f"http://127.0.0.1:{os.environ[PLAIN]}/"
        whole = partial(get, http, document)
        await whole()
        after_change: list[float] = []
        for _ in range(3):
            await client.login(one_more)
            await served(http, gateway, models + 1)
            await anyio.sleep(1)  # the sample of the overview and the depths of the queues that follow a change
            after_change.append(await gateway.cost(whole, 1, loop_only=True))
            await client.logout(one_more.instance)
            await served(http, gateway, models)
            await anyio.sleep(1)
            after_change.append(await gateway.cost(whole, 1, loop_only=True))
        cost = min(after_change)  # the others have some of the work in them that comes every second
        report.add("gateway: /openapi.json after one change, CPU of the loop", cost, "ms", 10)
        for coding in ("identity", "gzip"):
            content = await get(http, document, Accept_Encoding=coding)
            await http.post(plain, content=content, headers={"X-Coding": coding})
            cached = await gateway.cost(partial(get, http, document, Accept_Encoding=coding), 15)
            static = await gateway.cost(partial(get, http, plain, Accept_Encoding=coding), 15)
            report.add(f"gateway: /openapi.json, cached, {coding}", cached, "ms")
            report.add(f"gateway: a plain route with its {len(content) / 1e3:,.0f} kB, {coding}", static, "ms")
            report.add(f"gateway: /openapi.json / plain route, {coding}", cached / max(static, 0.05), "x", 2)


async def run(gateway: Server, registry: Server, port: int, broker_url: str, arguments: argparse.Namespace) -> None:
    options = BrokerOptions(queue_type=QueueType.CLASSIC)
    results: list[dict[str, object]] = []
    async with open_broker(broker_url, options) as broker, open_client(connections=64) as http:
        with anyio.fail_after(60):
            for server in (registry, gateway):
                while not await is_up(http, server.base):  # noqa: ASYNC110 - a process has no event to wait for
                    await anyio.sleep(0.1)
        names, known = (f"http://{name}:{port}" for name in hosts()), 0
        bench = Bench(http, gateway, registry)
        async with anyio.create_task_group() as tg:
            for models in arguments.models:
                for number in range(known, models + 1):
                    await tg.start(consume, broker, ModelName(f"Model{number:04}"))
                await log_in(RegistryClient(registry.base, http), names, known, models)
                await served(http, gateway, models)
                known = models
                print(f"{models} models on {arguments.backend}", flush=True)
                report = Report(models)
                await bench.measure(report, request(models, next(names)))
                if not arguments.without_browser:
                    await browse(report, gateway, Path(arguments.pictures) if arguments.pictures else None)
                results += report.rows
            tg.cancel_scope.cancel()
    if arguments.json:
        text = json.dumps({"backend": arguments.backend, "figures": results}, indent=1)
        await anyio.Path(arguments.json).write_text(text)


async def browse(report: Report, gateway: Server, pictures: Path | None) -> None:
    from benchmarks.pages import look  # noqa: PLC0415 - needs playwright, which the other figures do not

    figures = await anyio.to_thread.run_sync(look, gateway.base, report.models, pictures)
    for what, value, unit, goal in figures:
        report.add(what, value, unit, goal)


async def probe() -> None:
    """From one SIGUSR1 to the next, measures how much CPU this thread uses between two turns of a task; prints the most."""
    longest = 0.0

    async def turn() -> None:
        nonlocal longest
        at = time.thread_time()
        while True:
            await anyio.lowlevel.checkpoint()
            now = time.thread_time()
            longest, at = max(longest, now - at), now

    with anyio.open_signal_receiver(signal.SIGUSR1) as signals:
        async for _ in signals:
            longest = 0.0
            async with anyio.create_task_group() as tg:
                tg.start_soon(turn)
                await anext(signals)
                tg.cancel_scope.cancel()
            print(f"probe {longest * 1e3:.2f}", flush=True)


async def plain_route(port: int) -> None:
    """GET answers with what was posted last in the coding that the request asks for, from memory."""
    bodies: dict[str, bytes] = {}

    @post("/")
    async def put(request: HttpRequest) -> None:
        bodies[request.headers["x-coding"]] = await request.body()

    @getting("/")
    async def show(request: HttpRequest) -> Response[bytes]:
        coding = request.headers.get("accept-encoding", "identity")
        return Response(bodies[coding], media_type="application/json", headers={"Content-Encoding": coding})

    app = Litestar([put, show], openapi_config=None, request_max_body_size=None)
    await serve(with_edge(app, body_limit=1 << 30), ListenAddress(port=port))


def serve_probed(component: str, *arguments: str) -> None:
    """`hub gateway` or `hub registry` with a probe of its event loop, and for the gateway a plain route on the same server."""
    module = gateway_service if component == "gateway" else registry_service
    component_run = getattr(module, f"run_{component}")

    async def probed(*given: object, **named: object) -> None:
        async with anyio.create_task_group() as tg:
            tg.start_soon(probe)
            if component == "gateway":
                tg.start_soon(plain_route, int(os.environ[PLAIN]))
            await component_run(*given, **named)
            tg.cancel_scope.cancel()

    setattr(module, f"run_{component}", probed)
    sys.argv[1:] = [component, *arguments]  # what the settings are read from
    command([component, *arguments])


def main() -> None:
    if sys.argv[1:2] == ["--probed"]:
        serve_probed(*sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, nargs="+", default=COUNTS)
    parser.add_argument("--backend", choices=("asyncio", "trio"), default="asyncio")
    parser.add_argument("--without-browser", action="store_true", help="leave out the pages in Chromium")
    parser.add_argument("--pictures", help="folder for pictures of the pages")
    parser.add_argument("--json", help="file for the figures")
    arguments = parser.parse_args()
    arguments.models = sorted(arguments.models)
    python, ports = sys.executable, [free_port() for _ in range(4)]
    os.environ[PLAIN] = str(ports[3])
    common = {"HUB_LOG_LEVEL": "error", "HUB_QUEUE_TYPE": "classic"}
    with (
        rabbitmq() as broker,
        redis() as store,
        process(python, "-m", "benchmarks.fleet", "--serve") as instances,
        process(
            python, "-m", "benchmarks.models", "--probed", "registry", "--backend", arguments.backend,
            HUB_BROKER_URL=broker.url, HUB_DIRECTORY_URL=store.url, HUB_REGISTRY_PORT=str(ports[0]),
            HUB_MAX_MODELS="20000", HUB_MAX_INSTANCES="10000", HUB_MAX_CONTRACTS="20000", **common,
        ) as registry,
        process(
            python, "-m", "benchmarks.models", "--probed", "gateway", "--backend", arguments.backend,
            HUB_BROKER_URL=broker.url, HUB_STORE_URL=store.url, HUB_REGISTRY_URL=f"http://127.0.0.1:{ports[0]}",
            HUB_GATEWAY_PORT=str(ports[1]), HUB_DASHBOARD_PORT=str(ports[2]), **common,
        ) as gateway,
    ):  # fmt: skip
        assert instances.stdout is not None
        port = int(instances.stdout.readline())
        servers = [Server(each, f"http://127.0.0.1:{ports[at]}") for at, each in ((1, gateway), (0, registry))]
        anyio.run(run, servers[0], servers[1], port, broker.url, arguments)


if __name__ == "__main__":
    main()
