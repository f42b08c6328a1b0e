"""Batches of thousands of lines, slow clients, and full queues."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import count
from typing import Any

import anyio
import msgspec
import pytest
import trio.testing
from anyio import create_memory_object_stream, create_task_group, current_time

from hub.errors import HubError
from hub.gateway.batch.batch import FULL_TIMEOUT, RETRY_INTERVAL, Batch
from hub.gateway.batch.responses import IN_FLIGHT, PENDING
from hub.gateway.errors import QueueLimitExceeded
from hub.http.client import open_client
from hub.http.long_polling import LongPollRegistry
from hub.submission.outcomes import SubmitResult
from hub.task import Task, TaskRecord
from hub.types import Fingerprint, new_task_id
from tests.gateway.fixtures import MODEL_A, open_gateway
from tests.gateway.test_batches import BATCHES, CHUNKED, NDJSON, answers
from tests.gateway.wire import exchange, serving

pytestmark = pytest.mark.usefixtures("no_leaked_tasks")

REAL_TIME = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"], indirect=True, scope="module")
"""Without the debug mode of asyncio, which looks at the stack for each of thousands of tasks."""


@pytest.fixture(scope="module")
def anyio_backend(request: pytest.FixtureRequest) -> object:
    if getattr(request, "param", None) is not None:
        return request.param
    return ("trio", {"clock": trio.testing.MockClock(autojump_threshold=0)})


TASK = SubmitResult(
    Task(id=new_task_id(), model=MODEL_A, body=b"", fingerprint=Fingerprint("f" * 64), created_at=1_000_000.0)
)


async def accept(_index: int, _line: bytes) -> SubmitResult:
    return TASK


class Conversation:
    """A batch without a network: what the client writes, and what it would read."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.client, self.body = create_memory_object_stream[bytes](0)
        self.read = anyio.Event()
        self.read.set()
        self.written: list[bytes] = []

    async def run(self) -> None:
        with anyio.fail_after(1000), self.body:
            await self.batch.run(self.body, self._write)

    async def _write(self, chunk: bytes) -> None:
        await self.read.wait()
        self.written.append(chunk)

    @property
    def answers(self) -> list[dict[str, Any]]:
        return [msgspec.json.decode(line) for line in b"".join(self.written).splitlines()]


@REAL_TIME
async def test_a_batch_of_five_thousand_lines_is_accepted_line_by_line() -> None:
    with anyio.fail_after(100):
        async with open_gateway(publish_timeout=15) as gateway:
            await gateway.model()
            async with serving(gateway) as url, exchange(url, "POST", BATCHES, CHUNKED) as batch:

                async def write() -> None:
                    for number in range(0, 5000, 50):
                        await batch.write(b"".join(b'{"messages":"%d"}\n' % (number + more) for more in range(50)))
                    await batch.end()

                async with create_task_group() as tg:
                    tg.start_soon(write)
                    await batch.head()
                    lines = await batch.answers()
            records = await gateway.store.fetch([line["id"] for line in lines])
            depth = (await gateway.broker.depths([MODEL_A]))[MODEL_A]
    assert [line["index"] for line in lines] == list(range(5000))
    assert len({record.id for record in records if isinstance(record, TaskRecord)}) == 5000
    assert depth is not None
    assert depth.ready == 5000


@REAL_TIME
async def test_a_client_that_writes_everything_before_it_reads_is_served() -> None:
    async def content() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b"{}\n" * 50

    with anyio.fail_after(100):
        async with open_gateway(publish_timeout=15) as gateway:
            await gateway.model()
            async with serving(gateway) as url, open_client() as client:
                reply = await client.post(f"{url}{BATCHES}", content=content(), headers=NDJSON)
    assert len(answers(reply)) == 2000


@REAL_TIME
async def test_a_client_that_does_not_read_is_not_read_from_after_so_many_answers() -> None:
    talk = Conversation(Batch(accept, line_limit=1000, polls=LongPollRegistry()))
    talk.read = anyio.Event()
    most = 0

    async def write() -> None:
        nonlocal most
        for _ in range(1000):
            most = max(most, talk.batch.statistics().pending)
            await talk.client.send(b"{}\n" * 100)
        talk.client.close()

    with anyio.fail_after(100):
        async with create_task_group() as tg:
            tg.start_soon(talk.run)
            tg.start_soon(write)
            while talk.batch.statistics().pending < PENDING:
                await anyio.lowlevel.checkpoint()
            await anyio.wait_all_tasks_blocked()
            # One piece of answers is being written, so it is pending no more.
            begun = talk.batch.statistics().started
            assert PENDING <= begun < 2 * PENDING
            assert talk.batch.statistics().pending == PENDING
            assert talk.written == []
            talk.read.set()
    assert [answer["index"] for answer in talk.answers] == list(range(100_000))
    assert most <= PENDING


@REAL_TIME
async def test_lines_are_read_no_faster_than_they_are_accepted() -> None:
    accepting, most, gate = 0, 0, anyio.Event()

    async def slowly(index: int, line: bytes) -> SubmitResult:
        nonlocal accepting, most
        accepting += 1
        most = max(most, accepting)
        await gate.wait()
        accepting -= 1
        return await accept(index, line)

    talk = Conversation(Batch(slowly, line_limit=1000, polls=LongPollRegistry()))
    with anyio.fail_after(100):
        async with create_task_group() as tg:
            tg.start_soon(talk.run)
            await talk.client.send(b"{}\n" * 1000)
            await anyio.wait_all_tasks_blocked()
            assert talk.batch.statistics().started == accepting == IN_FLIGHT
            gate.set()
            talk.client.close()
    assert len(talk.answers) == 1000
    assert most == IN_FLIGHT


async def test_a_full_queue_slows_a_batch_down() -> None:
    began = current_time()

    async def three_a_second(index: int, line: bytes) -> SubmitResult:
        if index >= 3 * (1 + current_time() - began):
            raise QueueLimitExceeded(MODEL_A, 10_000, 60.0)
        return await accept(index, line)

    talk = Conversation(Batch(three_a_second, line_limit=1000, polls=LongPollRegistry()))
    async with create_task_group() as tg:
        tg.start_soon(talk.run)
        await talk.client.send(b"{}\n" * 300)
        talk.client.close()
    assert all("id" in answer for answer in talk.answers)
    assert current_time() - began == pytest.approx(100, abs=2)


async def test_a_queue_that_stays_full_refuses_one_line_after_the_other_until_it_has_room() -> None:
    began, tries = current_time(), count()

    async def full_for_a_minute(index: int, line: bytes) -> SubmitResult:
        next(tries)
        if current_time() - began < 60:
            raise QueueLimitExceeded(MODEL_A, 10_000, 60.0)
        return await accept(index, line)

    talk = Conversation(Batch(full_for_a_minute, line_limit=1000, polls=LongPollRegistry()))
    async with create_task_group() as tg:
        tg.start_soon(talk.run)
        await talk.client.send(b"{}\n")
        await anyio.sleep(FULL_TIMEOUT - 1)
        assert talk.written == []
        await anyio.sleep(2)
        assert len(talk.answers) == 1
        await talk.client.send(b"{}\n")
        await anyio.wait_all_tasks_blocked()
        assert len(talk.answers) == 2
        await anyio.sleep(60)
        await talk.client.send(b"{}\n")
        talk.client.close()
    assert [answer.get("error", {}).get("code") for answer in talk.answers] == ["queue_full", "queue_full", None]
    assert talk.answers[0]["error"]["retry_after"] == 60
    assert next(tries) <= FULL_TIMEOUT / RETRY_INTERVAL + 4


async def test_a_line_that_waits_for_room_does_not_delay_the_drain() -> None:
    async def full(_index: int, _line: bytes) -> SubmitResult:
        raise QueueLimitExceeded(MODEL_A, 10_000, 60.0)

    polls = LongPollRegistry()
    talk = Conversation(Batch(full, line_limit=1000, polls=polls))
    began = current_time()
    async with create_task_group() as tg:
        tg.start_soon(talk.run)
        await talk.client.send(b"{}\n{}\n")
        await anyio.wait_all_tasks_blocked()
        polls.cancel_all()
    talk.client.close()
    assert [answer["error"]["code"] for answer in talk.answers] == ["queue_full", "queue_full", "batch_interrupted"]
    assert current_time() - began < RETRY_INTERVAL


async def test_other_refusals_of_a_line_are_not_retried() -> None:
    tries = count()

    async def lost(_index: int, _line: bytes) -> SubmitResult:
        next(tries)
        raise HubError

    talk = Conversation(Batch(lost, line_limit=1000, polls=LongPollRegistry()))
    async with create_task_group() as tg:
        tg.start_soon(talk.run)
        await talk.client.send(b"{}\n")
        talk.client.close()
    assert (len(talk.answers), next(tries)) == (1, 1)
