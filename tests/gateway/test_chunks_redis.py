"""Streams of chunks over a real Redis: two gateways, cut connections, a restarted store, and many streams at once."""

from __future__ import annotations

import os
import resource
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest
from anyio import create_task_group
from anyio.to_thread import run_sync

from hub.brokers import open_broker
from hub.stores import open_store
from hub.task import TaskRecord
from hub.testing.proxy import FaultProxy
from hub.types import TaskState
from tests.gateway.fixtures import LocalGateway, open_gateway
from tests.gateway.streaming import (
    CONTRACT,
    COUNTS,
    EVENTS,
    Event,
    EventReader,
    Run,
    calling,
    chunk,
    next_run,
    submit,
    watching,
)
from tests.gateway.wire import serving
from tests.support.redis import Redis

CASES = [
    pytest.param(("redis", ("asyncio", {"debug": True})), id="redis-asyncio"),
    pytest.param(("redis", ("trio", {})), id="redis-trio"),
    pytest.param(("redis+redispy", ("asyncio", {"debug": True})), id="redispy-asyncio"),
]

pytestmark = pytest.mark.usefixtures("no_leaked_tasks")


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest) -> tuple[str, tuple[str, dict[str, object]]]:
    found: tuple[str, tuple[str, dict[str, object]]] = request.param
    return found


@pytest.fixture(scope="module")
def anyio_backend(case: tuple[str, tuple[str, dict[str, object]]]) -> object:
    return case[1]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two gateways with a common store and broker, and their URLs."""

    one: LocalGateway
    other: LocalGateway
    urls: tuple[str, str]


@asynccontextmanager
async def pair(url: str, scheme: str) -> AsyncGenerator[Pair]:
    address = f"{scheme}:{url.partition(':')[2]}"
    with anyio.fail_after(60):
        async with (
            open_broker("memory://") as broker,
            open_store(address) as store,
            open_store(address) as other_store,
            open_gateway(broker=broker, store=store) as one,
            open_gateway(broker=broker, store=other_store) as other,
        ):
            await one.model(COUNTS, CONTRACT)
            await other.model(COUNTS, CONTRACT)
            async with serving(one) as url_one, serving(other) as url_other:
                yield Pair(one, other, (url_one, url_other))


def port(url: str) -> int:
    return int(url.rpartition(":")[2])


async def feed(run: Run, first: int, last: int, *, size: int = 0) -> None:
    """Appends the chunks with these numbers, in groups."""
    for start in range(first, last + 1, 10):
        numbers = range(start, min(start + 10, last + 1))
        assert await run.append(*(text(number, size) for number in numbers))
        await anyio.lowlevel.checkpoint()


def text(number: int, size: int = 0) -> str:
    return f"{number} {'x' * size}"


async def test_a_thousand_chunks_over_connections_that_are_cut(redis_url: str, case: tuple[str, object]) -> None:
    async with pair(redis_url, case[0]) as p, create_task_group() as tg:
        run = await submit(p.one)
        async with FaultProxy("127.0.0.1", port(p.urls[0])) as one, FaultProxy("127.0.0.1", port(p.urls[1])) as other:
            got: list[Event] = []

            async def model() -> None:
                for first in range(1, 1001, 20):
                    await feed(run, first, first + 19, size=3000)
                    while len(got) < first - 40:  # so that little is on its way when a connection is cut
                        await anyio.sleep(0.001)
                await run.finish()

            tg.start_soon(model)
            seen, connections = "", 0
            while not seen.endswith("-end"):
                proxy = (one, other)[connections % 2]
                connections += 1
                await read_until_cut(proxy, run.task.id, seen, got)
                seen = next((event.id for event in reversed(got) if event.id), "")
    chunks = [event for event in got if event.name == "chunk"]
    assert chunks == [chunk(number, text(number, 3000)) for number in range(1, 1001)]
    assert connections >= 5


async def read_until_cut(proxy: FaultProxy, task: str, seen: str, got: list[Event]) -> None:
    """Adds the complete events of one connection, which is reset after some of them."""
    headers = {**EVENTS, "Last-Event-ID": seen}
    async with watching(f"http://127.0.0.1:{proxy.port}", task, headers) as opened:
        events, enough = EventReader(opened), len(got) + 200
        with suppress(anyio.BrokenResourceError):
            await opened.head()
            while (event := await events.next()) is not None:
                got.append(event)
                if len(got) == enough:
                    proxy.cut()


async def test_the_connection_of_a_call_that_is_cut_in_the_middle_of_a_chunk_cancels_its_task(
    redis_url: str, case: tuple[str, object]
) -> None:
    async with pair(redis_url, case[0]) as p, FaultProxy("127.0.0.1", port(p.urls[0])) as proxy:
        async with calling(f"http://127.0.0.1:{proxy.port}") as opened:
            await opened.head()
            events = EventReader(opened)
            await events.expect("task")
            run = await next_run(p.one.broker, p.one.store)
            await run.append("x" * 1_000_000)
            assert await opened.line() == b"event: chunk"
            proxy.cut()
            record = await p.other.store.wait_for_change(run.task.id, after=0, until_terminal=True)
        assert isinstance(record, TaskRecord)
        assert record.state is TaskState.CANCELLED


async def test_a_call_with_a_key_that_is_cut_in_the_middle_of_a_chunk_goes_on_at_another_gateway(
    redis_url: str, case: tuple[str, object]
) -> None:
    async with pair(redis_url, case[0]) as p, FaultProxy("127.0.0.1", port(p.urls[0])) as proxy:
        key = {"Idempotency-Key": f"cut-{os.urandom(8).hex()}"}
        async with calling(f"http://127.0.0.1:{proxy.port}", {**EVENTS, **key}) as opened:
            await opened.head()
            events = EventReader(opened)
            await events.expect("task")
            run = await next_run(p.one.broker, p.one.store)
            await run.append("one")
            assert await events.next() == chunk(1, "one")
            await run.append("x" * 1_000_000)
            assert await opened.line() == b"event: chunk"
            proxy.cut()
        async with calling(p.urls[1], {**EVENTS, **key, "Last-Event-ID": "1-1"}) as opened:
            await opened.head()
            await run.append("three")
            await run.finish()
            again = await EventReader(opened).rest()
    assert again[1:-1] == [chunk(2, "x" * 1_000_000), chunk(3, "three")]
    assert again[-1].data["state"] == "succeeded"


async def test_a_redis_that_is_restarted_in_the_middle_loses_and_repeats_nothing(
    private_redis: Redis, case: tuple[str, object]
) -> None:
    async with pair(private_redis.url, case[0]) as p:
        run = await submit(p.one)
        async with watching(p.urls[0], run.task.id) as opened, watching(p.urls[1], run.task.id) as other:
            await feed(run, 1, 100)
            readers = [EventReader(opened), EventReader(other)]
            for reader, exchange in zip(readers, (opened, other), strict=True):
                await exchange.head()
                await reader.expect("task")
                assert [await reader.next() for _ in range(100)] == [chunk(n, text(n)) for n in range(1, 101)]
            await run_sync(private_redis.restart)
            await connected(p)
            await feed(run, 101, 200)
            await run.finish()
            for reader in readers:
                rest = await reader.rest()
                assert rest[:-1] == [chunk(n, text(n)) for n in range(101, 201)]
                assert rest[-1].data["state"] == "succeeded"


async def connected(p: Pair) -> None:
    while not (p.one.store.statistics().connected and p.other.store.statistics().connected):
        await anyio.sleep(0.05)


async def test_two_hundred_streams_at_once(redis_url: str, case: tuple[str, object]) -> None:
    count, chunks = 200, 30
    async with pair(redis_url, case[0]) as p:
        run = await submit(p.one)
        done: list[list[Event]] = []

        async def reader() -> None:
            async with watching(p.urls[0], run.task.id) as opened:
                await opened.head()
                done.append(await EventReader(opened).rest())

        async with create_task_group() as tg:
            for _ in range(count):
                tg.start_soon(reader)
            while p.one.parts.stream_metrics.open < count:
                await anyio.sleep(0.01)
            await feed(run, 1, chunks, size=100)
            await run.finish()
    assert len(done) == count
    wanted = [chunk(number, text(number, 100)) for number in range(1, chunks + 1)]
    assert all(events[1:-1] == wanted for events in done)


async def test_readers_that_stopped_reading_hold_up_no_other_and_cost_no_memory(
    redis_url: str, case: tuple[str, object]
) -> None:
    stuck, megabytes = 5, 40
    async with pair(redis_url, case[0]) as p, AsyncExitStack() as stack:
        run = await submit(p.one)
        for _ in range(stuck):
            opened = await stack.enter_async_context(watching(p.urls[0], run.task.id))
            opened.receive_little()
            await opened.head()
        async with watching(p.urls[0], run.task.id) as opened:
            await opened.head()
            events = EventReader(opened)
            await events.expect("task")
            before, most = resident(), 0
            for number in range(1, megabytes + 1):
                await run.append("y" * 1_000_000)
                assert (await events.expect("chunk")).id == f"1-{number}"
                most = max(most, resident())
            await run.finish()
            assert (await events.expect("task")).id == "1-end"
            assert await events.next() is None
        assert p.one.parts.stream_metrics.open == stuck  # the kernel holds 4 MB of each, the gateway one page
    # All that is unread, in memory, would be 180 MB. A page is a chunk here, in a few forms.
    assert most - before < 100_000_000


def resident() -> int:
    """Bytes of memory of this process now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
