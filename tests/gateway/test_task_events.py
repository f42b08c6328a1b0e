"""The events of a task without a network, in virtual time."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise

import anyio
import pytest
import trio.testing
from anyio import create_memory_object_stream, create_task_group, current_time

from hub.brokers import open_broker
from hub.gateway.models.codec import CodecResolver
from hub.gateway.routes.events import HEARTBEAT, TaskEvents
from hub.gateway.tasks.options import SubmitOptions
from hub.gateway.tasks.service import TaskService
from hub.http.long_polling import LongPollRegistry
from hub.ports.result_store import ProgressReport
from hub.stores import open_store
from hub.task import Failure, Outcome, Progress, Task
from hub.types import TaskState, wall_clock
from tests.gateway.fakes import LOST, FaultyStore
from tests.gateway.fixtures import CONTRACT_A, INSTANCE, MODEL_A, FakeRegistry

pytestmark = pytest.mark.usefixtures("no_leaked_tasks")


@pytest.fixture(scope="module")
def anyio_backend() -> object:
    return ("trio", {"clock": trio.testing.MockClock(autojump_threshold=0)})


@dataclass
class Stream:
    """A stream of the events of one task, and what it has written so far with the time of each piece."""

    store: FaultyStore
    polls: LongPollRegistry
    task: Task
    events: TaskEvents
    began: float = field(default_factory=current_time)
    written: list[tuple[float, str]] = field(default_factory=list[tuple[float, str]])
    taking: anyio.Event = field(default_factory=anyio.Event)

    async def run(self) -> None:
        client, body = create_memory_object_stream[bytes](0)
        with anyio.fail_after(1000), client, body:
            await self.events.write(body, self._write)

    async def _write(self, piece: bytes) -> None:
        await self.taking.wait()
        self.written.append((current_time() - self.began, piece.decode()))

    @property
    def states(self) -> list[str]:
        return [text.partition('"state":"')[2].partition('"')[0] for _, text in self.written if "data: " in text]

    @property
    def comments(self) -> list[tuple[float, str]]:
        return [(at, text.strip(": \n")) for at, text in self.written if text.startswith(":")]

    async def fail(self) -> None:
        failure = Failure(code="model_error", message="no")
        await self.store.finish(
            [Outcome(task_id=self.task.id, state=TaskState.FAILED, failure=failure, finished_at=wall_clock())]
        )


@asynccontextmanager
async def stream() -> AsyncGenerator[Stream]:
    polls = LongPollRegistry()
    async with open_broker("memory://") as broker, open_store("memory://") as memory:
        store = FaultyStore(memory)
        await broker.declare(MODEL_A)
        async with TaskService(broker, store, timeout=5, polls=polls) as tasks:
            accepted = await tasks.submit(MODEL_A, CONTRACT_A.fingerprint, b"", SubmitOptions())
            record = await tasks.get(accepted.id)
            codecs = CodecResolver(FakeRegistry())
            events = TaskEvents(tasks, polls, record, seen=None, codecs=codecs)
            opened = Stream(store, polls, accepted.task, events)
            opened.taking.set()
            yield opened


async def test_a_stream_without_events_sends_heartbeats() -> None:
    async with stream() as s, create_task_group() as tg:
        tg.start_soon(s.run)
        await anyio.sleep(4.5 * HEARTBEAT)
        assert [at for at, _ in s.comments] == pytest.approx([HEARTBEAT * beat for beat in range(1, 5)])
        await s.fail()
    assert s.states == ["queued", "failed"]


async def test_a_client_that_reads_slowly_misses_changes_but_never_the_last_one() -> None:
    async with stream() as s:
        async with create_task_group() as tg:
            tg.start_soon(s.run)
            await anyio.wait_all_tasks_blocked()
            s.taking = anyio.Event()
            await s.store.start([s.task], INSTANCE, attempts=5)
            await anyio.wait_all_tasks_blocked()
            for step in range(100):
                progress = Progress(fraction=step / 100, message="", at=wall_clock())
                await s.store.report([ProgressReport(task_id=s.task.id, attempt=1, progress=progress)])
            await s.fail()
            await anyio.wait_all_tasks_blocked()
            s.taking.set()
    assert s.states == ["queued", "running", "failed"]


async def test_a_store_out_of_reach_is_retried_with_a_comment_each_time() -> None:
    async with stream() as s, create_task_group() as tg:
        tg.start_soon(s.run)
        await anyio.wait_all_tasks_blocked()
        s.store.changed_error = LOST
        await s.store.start([s.task], INSTANCE, attempts=5)  # wakes the stream, whose next look fails
        await anyio.sleep(60)
        times = [at for at, text in s.comments if text == "the result store is out of reach"]
        assert len(times) >= 30
        assert max(later - earlier for earlier, later in pairwise(times)) <= 2
        s.store.changed_error = None
        await s.fail()
    assert s.states == ["queued", "running", "failed"]


@pytest.mark.parametrize("lost", [False, True])
async def test_a_draining_server_ends_the_stream(lost: bool) -> None:
    async with stream() as s, create_task_group() as tg:
        s.store.changed_error = LOST if lost else None
        tg.start_soon(s.run)
        await anyio.wait_all_tasks_blocked()
        before = current_time()
        s.polls.cancel_all()
    assert current_time() - before < HEARTBEAT / 2
    assert s.states == ["queued"]


async def test_a_stream_of_a_changed_task_begins_with_its_present_state() -> None:
    async with stream() as s:
        s.events = TaskEvents(
            s.events._tasks, s.polls, replace(s.events._first, revision=7), seen=9, codecs=s.events._codecs
        )
        s.polls.cancel_all()
        await s.run()
    assert s.states == ["queued"]
