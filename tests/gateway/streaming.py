"""A streaming model without a process: its runs are steps of the test; and readers of the streams of its tasks."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast, final

import msgspec

from examples.model_a.v1 import model_a_pb2
from hub.contract import Contract
from hub.ports.broker import Broker
from hub.ports.result_store import ChunkAppend, ReleasedTask, ResultStore
from hub.task import Failure, Outcome, Task
from hub.types import ModelName, TaskState, wall_clock
from tests.gateway.fixtures import INSTANCE, LocalGateway
from tests.gateway.wire import Exchange, exchange

COUNTS = ModelName("Counts")
CONTRACT = Contract.from_descriptors(
    model_a_pb2.ModelARequest.DESCRIPTOR, model_a_pb2.ModelAResponse.DESCRIPTOR, streaming=True
)
CALL = f"/v1/models/{COUNTS}"
EVENTS = {"Accept": "text/event-stream"}
LINES = {"Accept": "application/x-ndjson"}
BODY = b'{"messages": "hi"}'


def reply(text: str) -> bytes:
    return model_a_pb2.ModelAResponse(reply=text).SerializeToString()


@dataclass(slots=True)
class Run:
    """A run of a task in the hands of a test."""

    store: ResultStore
    task: Task
    attempt: int = 0
    chunks: int = 0

    async def start(self) -> None:
        (start,) = await self.store.start([self.task], INSTANCE, attempts=100)
        assert start.state is TaskState.RUNNING, start
        self.attempt, self.chunks = start.attempt, 0

    async def release(self) -> None:
        assert await self.store.release([ReleasedTask(task_id=self.task.id, attempt=self.attempt)]) == [True]

    async def append(self, *texts: str) -> bool:
        return await self.append_bytes(*map(reply, texts))

    async def append_bytes(self, *bodies: bytes) -> bool:
        append = ChunkAppend(task_id=self.task.id, attempt=self.attempt, first=self.chunks + 1, bodies=bodies)
        (stored,) = await self.store.append([append])
        self.chunks += len(bodies)
        return stored

    async def finish(self, failure: Failure | None = None) -> None:
        outcome = Outcome(
            task_id=self.task.id,
            state=TaskState.SUCCEEDED if failure is None else TaskState.FAILED,
            body=b"" if failure is None else None,
            failure=failure,
            attempt=self.attempt,
            instance=INSTANCE,
            started_at=wall_clock(),
            finished_at=wall_clock(),
            chunks=self.chunks,
        )
        assert await self.store.finish([outcome]) == [True]


async def next_run(broker: Broker, store: ResultStore) -> Run:
    """Waits until there is a task, takes it, and starts it."""
    async with broker.consume(COUNTS, prefetch=1) as consumer:
        (delivery,) = await consumer.receive()
        run = Run(store, Task.decode(delivery.body))
        await run.start()
        consumer.ack([delivery])
    return run


async def submit(gateway: LocalGateway, **headers: str) -> Run:
    """Submits a task of the model, and starts it."""
    found = await gateway.client.post(f"{CALL}/tasks", json={"messages": "hi"}, headers=headers)
    assert found.status_code == 202, found.text
    return await next_run(gateway.broker, gateway.store)


@dataclass(frozen=True, slots=True)
class Event:
    name: str
    data: Any
    id: str = ""


@final
class EventReader:
    """The events of a reply, one by one; the comments are kept."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self.comments: list[str] = []

    async def next(self) -> Event | None:
        """The next event; `None` at the end of the reply."""
        fields: dict[str, str] = {}
        while (line := await self._exchange.line()) is not None:
            name, _, value = line.decode().partition(": ")
            if line.startswith(b":"):
                self.comments.append(line.decode()[2:])
            elif line:
                fields[name] = value
            elif "data" in fields:
                return Event(fields["event"], msgspec.json.decode(fields["data"]), fields.get("id", ""))
        return None

    async def expect(self, name: str) -> Event:
        found = await self.next()
        assert found is not None
        assert found.name == name, found
        return found

    async def rest(self) -> list[Event]:
        events: list[Event] = []
        while (found := await self.next()) is not None:
            events.append(found)
        return events


@asynccontextmanager
async def calling(url: str, headers: Mapping[str, str] = EVENTS) -> AsyncGenerator[Exchange]:
    """A call of the model whose request is sent; leaving the block hangs up."""
    sent = {"Content-Type": "application/json", "Content-Length": str(len(BODY)), **headers}
    async with exchange(url, "POST", CALL, sent) as opened:
        await opened.write(BODY)
        await opened.end()
        yield opened


@asynccontextmanager
async def watching(url: str, task: str, headers: Mapping[str, str] = EVENTS) -> AsyncGenerator[Exchange]:
    """A request for the chunks of a task; leaving the block hangs up."""
    async with exchange(url, "GET", f"/v1/tasks/{task}/chunks", headers) as opened:
        await opened.end()
        yield opened


def chunk(number: int, text: str, attempt: int = 1) -> Event:
    return Event("chunk", {"reply": text}, f"{attempt}-{number}")


def facts(event: Event | None) -> dict[str, Any]:
    assert event is not None
    return cast("dict[str, Any]", event.data)
