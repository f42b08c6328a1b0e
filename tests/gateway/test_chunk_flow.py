"""Streams of chunks without a network, in virtual time: silence, a store out of reach, slow readers, late tasks, the drain."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import final

import anyio
import pytest
import trio.testing
from anyio import create_task_group, current_time

from hub.brokers import open_broker
from hub.gateway.models.codec import Codec, CodecResolver
from hub.gateway.streams.forms import EventForm, LineForm, StreamForm
from hub.gateway.streams.stream import HEARTBEAT, ChunkStream
from hub.gateway.tasks.options import SubmitOptions
from hub.gateway.tasks.service import TaskService
from hub.http.long_polling import LongPollRegistry
from hub.ports.result_store import ChunkPosition, Missing
from hub.stores import open_store
from hub.types import wall_clock
from tests.gateway.fakes import LOST, FaultyStore
from tests.gateway.fixtures import FakeRegistry
from tests.gateway.streaming import CONTRACT, COUNTS, Run

EVENTS = EventForm()

pytestmark = pytest.mark.usefixtures("no_leaked_tasks")


@pytest.fixture(scope="module")
def anyio_backend() -> object:
    return ("trio", {"clock": trio.testing.MockClock(autojump_threshold=0)})


@final
@dataclass
class Client:
    """What one stream has written so far, with the time of each piece."""

    stream: ChunkStream
    began: float = field(default_factory=current_time)
    written: list[tuple[float, str]] = field(default_factory=list[tuple[float, str]])
    taking: anyio.Event = field(default_factory=anyio.Event)
    counted: int = 0

    async def run(self) -> None:
        with anyio.fail_after(10_000):
            await self.stream.write(self._write, self._count)

    async def _write(self, piece: bytes) -> None:
        await self.taking.wait()
        self.written.append((current_time() - self.began, piece.decode()))

    def _count(self, chunks: int) -> None:
        self.counted += chunks

    @property
    def text(self) -> str:
        return "".join(text for _, text in self.written)

    @property
    def ids(self) -> list[str]:
        return [line.removeprefix("id: ") for line in self.text.splitlines() if line.startswith("id: ")]

    def times(self, text: str) -> list[float]:
        return [at for at, piece in self.written if text in piece]


@final
@dataclass
class System:
    tasks: TaskService
    store: FaultyStore
    polls: LongPollRegistry
    run: Run
    codecs: CodecResolver

    async def client(
        self, form: StreamForm = EVENTS, after: ChunkPosition | None = None, *, taking: bool = True
    ) -> Client:
        record = await self.tasks.get(self.run.task.id)
        codec = Codec(CONTRACT)
        stream = ChunkStream(self.tasks, self.polls, self.codecs, record, codec=codec, form=form, after=after)
        made = Client(stream)
        if taking:
            made.taking.set()
        return made


@asynccontextmanager
async def system(deadline_after: float | None = None) -> AsyncGenerator[System]:
    """A task of a streaming model that waits; the clock of the gateway is that of the test."""
    polls = LongPollRegistry()
    offset = wall_clock() - current_time()
    async with open_broker("memory://") as broker, open_store("memory://") as memory:
        store = FaultyStore(memory)
        await broker.declare(COUNTS)
        async with TaskService(broker, store, timeout=5, polls=polls, clock=lambda: current_time() + offset) as tasks:
            accepted = await tasks.submit(COUNTS, CONTRACT.fingerprint, b"", SubmitOptions(timeout=deadline_after))
            codecs = CodecResolver(FakeRegistry())
            await codecs.compile(COUNTS, CONTRACT)
            yield System(tasks, store, polls, Run(memory, accepted.task), codecs)


@pytest.mark.parametrize(("form", "beat"), [(EventForm(), ": running"), (LineForm(), '{"idle":"running"}')])
async def test_a_silent_stream_sends_heartbeats(form: StreamForm, beat: str) -> None:
    async with system() as s, create_task_group() as tg:
        await s.run.start()
        client = await s.client(form)
        tg.start_soon(client.run)
        await anyio.sleep(4.5 * HEARTBEAT)
        assert client.times(beat) == pytest.approx([HEARTBEAT * count for count in range(1, 5)])
        await s.run.append("one")
        await anyio.sleep(0.9 * HEARTBEAT)
        assert len(client.times(beat)) == 4
        await s.run.finish()
    assert client.counted == 1


async def test_a_store_out_of_reach_is_retried_and_the_stream_goes_on_where_it_was() -> None:
    async with system() as s, create_task_group() as tg:
        await s.run.start()
        await s.run.append("one")
        client = await s.client()
        tg.start_soon(client.run)
        await anyio.wait_all_tasks_blocked()
        s.store.chunks_error = LOST
        await s.run.append("two")  # the call that waits returns it, the next one fails
        await anyio.sleep(60)
        times = client.times("out of reach")
        assert len(times) >= 30
        assert max(later - earlier for earlier, later in pairwise(times)) <= 2
        await s.run.append("three")
        s.store.chunks_error = None
        await anyio.sleep(2)
        assert client.ids == ["1-1", "1-2", "1-3"]
        await s.run.finish()
    assert client.ids[3:] == ["1-end"]


async def test_an_end_that_was_missed_while_the_store_was_away_is_found() -> None:
    async with system() as s, create_task_group() as tg:
        await s.run.start()
        client = await s.client()
        tg.start_soon(client.run)
        await anyio.wait_all_tasks_blocked()
        s.store.chunks_error = LOST
        await s.run.append("one")
        await anyio.sleep(10)
        await s.run.finish()
        s.store.chunks_error = None
        before = current_time()
    assert current_time() - before <= 2
    assert client.ids == ["1-1", "1-end"]


async def test_an_outcome_that_cannot_be_read_at_once_is_read_again_soon() -> None:
    async with system() as s, create_task_group() as tg:
        await s.run.start()
        client = await s.client()
        tg.start_soon(client.run)
        await anyio.wait_all_tasks_blocked()
        s.store.fetch_error = LOST
        await s.run.append("one")
        await s.run.finish()
        await anyio.sleep(5)
        assert client.ids == ["1-1"]
        s.store.fetch_error = None
        before = current_time()
    assert current_time() - before <= 2
    assert client.ids == ["1-1", "1-end"]


async def test_a_slow_reader_delays_no_other_and_misses_nothing() -> None:
    async with system() as s:
        await s.run.start()
        slow, fast = await s.client(taking=False), await s.client()
        async with create_task_group() as tg:
            tg.start_soon(slow.run)
            tg.start_soon(fast.run)
            for number in range(100):
                await s.run.append(f"{number} {'x' * 10_000}")
                await anyio.wait_all_tasks_blocked()
                assert fast.counted == number + 1
            await s.run.finish()
            await anyio.wait_all_tasks_blocked()
            assert fast.ids[-1] == "1-end"
            assert slow.written == []
            slow.taking.set()
        assert slow.ids == fast.ids == [*(f"1-{number}" for number in range(1, 101)), "1-end"]
        largest = max(len(piece) for _, piece in slow.written)
        assert largest < 100_000  # it was written page by page: the stream has one page in memory


async def test_of_two_hundred_streams_those_that_are_not_read_hold_one_page_each() -> None:
    async with system() as s, create_task_group() as tg:
        await s.run.start()
        clients = [await s.client(taking=not index) for index in range(200)]
        for client in clients:
            tg.start_soon(client.run)
        for number in range(500):
            await s.run.append(f"{number} {'x' * 10_000}")
            await anyio.wait_all_tasks_blocked()
        fast, *stuck = clients
        assert fast.counted == 500
        assert s.store.pages_read <= 510  # none for those that wait to write what they have
        for client in stuck[:20]:
            client.taking.set()
        await anyio.wait_all_tasks_blocked()
        assert [client.counted for client in stuck[:20]] == [500] * 20
        tg.cancel_scope.cancel()


@pytest.mark.parametrize("lost", [False, True])
async def test_a_draining_server_ends_the_stream_without_an_outcome(lost: bool) -> None:
    async with system() as s, create_task_group() as tg:
        await s.run.start()
        await s.run.append("one")
        client = await s.client()
        tg.start_soon(client.run)
        await anyio.wait_all_tasks_blocked()
        if lost:
            s.store.chunks_error = LOST
            await s.run.append("two")  # the call that waits returns it, the next one fails
            await anyio.sleep(3)
        before = current_time()
        s.polls.cancel_all()
    assert current_time() - before < 1
    assert client.ids == (["1-1", "1-2"] if lost else ["1-1"])


async def test_a_task_whose_run_is_late_and_silent_is_expired_by_the_stream() -> None:
    async with system(deadline_after=100) as s, create_task_group() as tg:
        client = await s.client()
        tg.start_soon(client.run)
        await anyio.sleep(53)  # no heartbeat is due at the end
        await s.run.start()
        await s.run.append("one")
    (ended,) = client.times("id: 1-end")
    assert 109.9 <= ended <= 111.5
    assert '"state":"expired"' in client.written[-1][1]


async def test_a_record_that_has_expired_meanwhile_ends_the_stream_with_a_problem() -> None:
    async with system() as s:
        await s.run.start()
        client = await s.client()
        s.store.chunks_missing = Missing.GONE
        await client.run()
    assert "event: problem" in client.written[-1][1]
    assert '"code":"task_record_expired"' in client.written[-1][1]


async def test_a_client_that_resumes_gets_only_the_rest() -> None:
    async with system() as s, create_task_group() as tg:
        await s.run.start()
        await s.run.append("one", "two", "three")
        client = await s.client(LineForm(), ChunkPosition(1, 2))
        tg.start_soon(client.run)
        await anyio.wait_all_tasks_blocked()
        assert client.text == '{"id":"1-3","chunk":{"reply":"three"}}\n'
        await s.run.finish()
