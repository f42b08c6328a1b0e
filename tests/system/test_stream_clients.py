"""Streams of chunks through processes over real RabbitMQ and Redis: gateways and instances are killed, clients leave."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import h11
import pytest
from anyio import fail_after
from anyio.to_thread import run_sync

from hub.http.client import open_client
from tests.gateway.streaming import EVENTS, Event, EventReader
from tests.gateway.wire import Exchange, exchange
from tests.support.rabbitmq import delete_queues
from tests.support.redis import emptied
from tests.system.processes import Hub, HubProcess, hub_process, up

COUNT = 1000
TIMEOUT = 90.0
ADAPTERS = {"asyncio": ("amqp+aiormq", "redis+redispy"), "trio": ("amqp", "redis")}
"""The drivers of the processes: asyncio has those that only run there."""


@dataclass(frozen=True, slots=True)
class Streams:
    """A hub with two gateways.

    Attributes:
        gateways: Their processes, by URL.
    """

    hub: Hub
    gateways: dict[str, HubProcess]

    @asynccontextmanager
    async def instances(self, count: int) -> AsyncGenerator[list[HubProcess]]:
        await self.hub.until_listed("Numbers", 0)
        with ExitStack() as stack:
            found = [stack.enter_context(self.hub.instance("tests.system.stream_models:Numbers")) for _ in range(count)]
            await self.hub.until_listed("Numbers", count)
            for url in self.gateways:
                while (await self.hub.http.get(f"{url}/v1/models/Numbers")).status_code != 200:
                    await anyio.sleep(0.05)
            yield found


@dataclass(slots=True)
class Client:
    """What a client has of a stream: the chunks of the present attempt, and how many attempts there were."""

    chunks: list[Event] = field(default_factory=list[Event])
    restarted: int = 0
    seen: str = ""
    state: str = ""

    def take(self, event: Event) -> None:
        self.seen = event.id or self.seen
        if event.name == "chunk":
            self.chunks.append(event)
        elif event.name == "restarted":
            self.chunks.clear()
            self.restarted += 1
        else:
            assert event.name == "task", event
            self.state = event.data["state"]

    async def read(self, opened: Exchange, until: Callable[[], bool] = lambda: False) -> None:
        """Takes events until the stream ends or is cut, or `until` is true."""
        events = EventReader(opened)
        with suppress(anyio.BrokenResourceError, h11.RemoteProtocolError):
            while not until() and (event := await events.next()) is not None:
                self.take(event)


@pytest.fixture(scope="module")
async def streams(
    anyio_backend: tuple[str, dict[str, object]], amqp_url: str, redis_url: str
) -> AsyncGenerator[Streams]:
    backend = anyio_backend[0]
    broker, store = ADAPTERS[backend]
    redis = emptied(redis_url, {"asyncio": 13, "trio": 14}[backend])
    await run_sync(delete_queues, amqp_url, "Numbers")
    common = {"backend": backend, "broker_url": f"{broker}:{amqp_url.partition(':')[2]}", "ping_period": "1"}
    registry_settings = common | {"directory_url": f"{store}:{redis.partition(':')[2]}", "registry_port": "0"}
    async with open_client() as http:
        with hub_process(["hub.registry"], registry_settings | {"ping_timeout": "0.9"}) as registry:
            url = await up(registry)
            rest = common | {"registry_url": url, "store_url": f"{store}:{redis.partition(':')[2]}"}
            gateway = rest | {"gateway_port": "0"}
            with hub_process(["hub.gateway"], gateway) as one, hub_process(["hub.gateway"], gateway) as other:
                gateways = {await up(one): one, await up(other): other}
                yield Streams(Hub(rest, registry_settings, registry, url, next(iter(gateways)), http), gateways)


@asynccontextmanager
async def calling(url: str, request: str, **headers: str) -> AsyncGenerator[Exchange]:
    body = f'{{"messages": "{request}"}}'.encode()
    sent = {"Content-Type": "application/json", "Content-Length": str(len(body)), **EVENTS, **headers}
    async with exchange(url, "POST", "/v1/models/Numbers", sent) as opened:
        await opened.write(body)
        await opened.end()
        assert await opened.head() == 200
        yield opened


@asynccontextmanager
async def resuming(url: str, task: str, seen: str) -> AsyncGenerator[Exchange]:
    headers = {**EVENTS, "Last-Event-ID": seen}
    async with exchange(url, "GET", f"/v1/tasks/{task}/chunks", headers) as opened:
        await opened.end()
        assert await opened.head() == 200
        yield opened


def expected(attempt: int, count: int = COUNT) -> list[Event]:
    return [Event("chunk", {"reply": f"{number}"}, f"{attempt}-{number}") for number in range(1, count + 1)]


async def test_after_an_instance_was_killed_the_stream_is_restarted_and_complete(
    streams: Streams, tmp_path: Path
) -> None:
    client = Client()
    url = next(iter(streams.gateways))
    with fail_after(TIMEOUT):
        async with streams.instances(2) as instances:
            async with calling(url, f"{COUNT} 0.03 {tmp_path}/journal") as opened:
                await client.read(opened, lambda: len(client.chunks) >= 300)
                pid = (tmp_path / "journal").read_text().split()[1]
                next(each for each in instances if str(each.process.pid) == pid).kill()
                await client.read(opened)
    assert client.restarted == 1
    assert client.chunks == expected(2)
    assert client.state == "succeeded"


@pytest.mark.parametrize("way", ["hang-up", "delete", "deadline"])
async def test_the_generator_is_left_when_its_call_is_over(streams: Streams, tmp_path: Path, way: str) -> None:
    client, journal = Client(), tmp_path / "journal"
    url = next(iter(streams.gateways))
    headers = {"Hub-Timeout": "3"} if way == "deadline" else {}
    with fail_after(TIMEOUT):
        async with streams.instances(1):
            async with calling(url, f"1000000 0.05 {journal}", **headers) as opened:
                await client.read(opened, lambda: len(client.chunks) >= 20)
                task = opened.headers["hub-task"]
                if way == "delete":
                    assert (await streams.hub.http.delete(f"{url}/v1/tasks/{task}")).status_code == 200
                if way != "hang-up":
                    await client.read(opened)
            ended = await streams.hub.ended(task)
            while "left" not in journal.read_text():
                await anyio.sleep(0.02)
    assert ended["state"] == ("expired" if way == "deadline" else "cancelled")
    assert client.chunks == expected(1, len(client.chunks))
    if way != "hang-up":
        assert client.state == ended["state"]
        assert len(client.chunks) == ended["chunks"]


async def test_each_chunk_comes_once_and_in_order_although_the_gateway_was_killed(
    streams: Streams, tmp_path: Path
) -> None:
    client = Client()
    (one, process), (other, _) = streams.gateways.items()
    with fail_after(TIMEOUT):
        async with streams.instances(1):
            async with calling(one, f"{COUNT} 0.03 {tmp_path}/journal") as opened:
                task = opened.headers["hub-task"]
                await client.read(opened, lambda: len(client.chunks) >= 300)
                process.kill()
                await client.read(opened)
            assert client.state == "queued"
            assert len(client.chunks) < COUNT
            async with resuming(other, task, client.seen) as opened:
                await client.read(opened)
    assert client.restarted == 0
    assert client.chunks == expected(1)
    assert client.state == "succeeded"
