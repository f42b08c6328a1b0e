"""A task as a stream of events."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, final

import anyio
import msgspec
import pytest

from hub.ports.result_store import ProgressReport
from hub.stores import open_store
from hub.stores.options import StoreOptions
from hub.task import Failure, Outcome, Progress, Task, TaskRecord
from hub.types import TaskId, TaskState, new_task_id, wall_clock
from tests.gateway.fakes import LOST, FaultyStore
from tests.gateway.fixtures import INSTANCE, LocalGateway, echo_a, open_gateway
from tests.gateway.test_submit import TASKS, problem
from tests.gateway.wire import Exchange, exchange, serving

EVENTS = {"Accept": "text/event-stream"}


@dataclass(frozen=True, slots=True)
class Event:
    """One event as an EventSource hands it out."""

    name: str
    id: str
    data: dict[str, Any]


@final
class Events:
    """The events of a reply; see the parsing rules of WHATWG HTML section 9.2.6."""

    def __init__(self, reply: Exchange) -> None:
        self.reply = reply
        self.comments: list[str] = []
        self.retry: int | None = None

    async def next(self) -> Event | None:
        """The next event, as soon as it is there; `None` once the stream has ended."""
        fields: dict[str, str] = {}
        while (line := await self.reply.line()) is not None:
            if not line and "data" in fields:
                return Event(fields["event"], fields.get("id", ""), msgspec.json.decode(fields["data"]))
            name, _, value = line.decode().partition(": ")
            if line.startswith(b":"):
                self.comments.append(value)
            elif name == "retry":
                self.retry = int(value)
            else:
                fields[name] = value
        return None

    async def states(self) -> list[str]:
        """What is still to come, as states."""
        states: list[str] = []
        while (event := await self.next()) is not None:
            states.append(event.data["state"])
        return states


@asynccontextmanager
async def events(url: str, task: str, **headers: str) -> AsyncGenerator[Events]:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    async with exchange(url, "GET", task, {**EVENTS, **given}) as reply:
        await reply.end()
        assert await reply.head() == 200
        assert reply.headers["content-type"].startswith("text/event-stream")
        yield Events(reply)


async def submit(gateway: LocalGateway) -> str:
    reply = await gateway.client.post(TASKS, json={"messages": "hi"})
    return str(reply.headers["location"])


async def task_of(gateway: LocalGateway, path: str) -> Task:
    """The task at an address, as an instance needs it."""
    (record,) = await gateway.store.fetch([TaskId(path.rpartition("/")[2])])
    assert isinstance(record, TaskRecord)
    return Task(
        id=record.id, model=record.model, body=b"", fingerprint=record.fingerprint, created_at=record.created_at
    )


async def fail(gateway: LocalGateway, path: str) -> None:
    failure = Failure(code="model_error", message="no such word")
    task = TaskId(path.rpartition("/")[2])
    await gateway.store.finish(
        [Outcome(task_id=task, state=TaskState.FAILED, failure=failure, attempt=1, finished_at=wall_clock())]
    )


async def test_a_stream_begins_with_the_task_as_it_is_and_ends_with_its_end(gateway: LocalGateway) -> None:
    await gateway.model()
    path = await submit(gateway)
    async with serving(gateway) as url, events(url, path) as stream:
        first = await stream.next()
        assert first is not None
        assert (first.name, first.data["state"]) == ("task", "queued")
        assert first.data == (await gateway.client.get(path)).json()
        await gateway.model(answer=echo_a)
        states = await stream.states()
    assert states[-1] == "succeeded"
    assert set(states[:-1]) <= {"running"}
    assert stream.retry == 1000


async def test_each_change_is_an_event_with_the_revision_as_its_id(gateway: LocalGateway) -> None:
    await gateway.model()
    path = await submit(gateway)
    task = await task_of(gateway, path)
    seen: list[Event] = []

    async def see(stream: Events) -> None:
        event = await stream.next()
        assert event is not None
        seen.append(event)

    async with serving(gateway) as url, events(url, path) as stream:
        await see(stream)
        await gateway.store.start([task], INSTANCE, attempts=5)
        await see(stream)
        progress = Progress(fraction=0.5, message="half of it", at=wall_clock())
        await gateway.store.report([ProgressReport(task_id=task.id, attempt=1, progress=progress)])
        await see(stream)
        await fail(gateway, path)
        await see(stream)
        assert await stream.next() is None
    assert [event.data["state"] for event in seen] == ["queued", "running", "running", "failed"]
    assert [event.data["attempt"] for event in seen] == [0, 1, 1, 1]
    assert (seen[2].data["progress"]["fraction"], seen[2].data["progress"]["message"]) == (0.5, "half of it")
    assert seen[3].data["failure"] == {"code": "model_error", "message": "no such word"}
    assert "started_at" not in seen[0].data
    assert seen[1].data["started_at"] == seen[2].data["started_at"] == seen[3].data["started_at"]
    assert [int(event.id) for event in seen] == sorted({int(event.id) for event in seen})


async def test_a_task_that_has_ended_is_one_event(gateway: LocalGateway) -> None:
    await gateway.model(answer=echo_a)
    path = await submit(gateway)
    await gateway.client.get(path, params={"wait": 5})
    async with serving(gateway) as url, events(url, path) as stream:
        event = await stream.next()
        assert event is not None
        assert event.data["result"] == {"reply": "Processed message: hi\n"}
        assert await stream.next() is None


async def test_a_client_that_reconnects_gets_only_later_events(gateway: LocalGateway) -> None:
    await gateway.model()
    path = await submit(gateway)
    task = await task_of(gateway, path)
    async with serving(gateway) as url:
        async with events(url, path) as stream:
            first = await stream.next()
            assert first is not None
        async with events(url, path, Last_Event_ID=first.id) as stream:
            await gateway.store.start([task], INSTANCE, attempts=5)
            second = await stream.next()
            assert second is not None
            assert second.data["state"] == "running"
        await fail(gateway, path)
        async with events(url, path, Last_Event_ID=second.id) as stream:
            assert await stream.states() == ["failed"]


async def test_a_client_that_has_the_last_event_gets_a_204(gateway: LocalGateway) -> None:
    await gateway.model()
    path = await submit(gateway)
    await fail(gateway, path)
    reply = await gateway.client.get(path, headers=EVENTS)
    (number,) = [line[4:] for line in reply.text.splitlines() if line.startswith("id: ")]
    again = await gateway.client.get(path, headers={**EVENTS, "Last-Event-ID": number})
    assert (reply.status_code, again.status_code, again.content) == (200, 204, b"")


@pytest.mark.parametrize("last", ["", "soon", "-1", "²", "7", "9" * 4300, "9" * 4301, "1_0"])
async def test_an_unknown_last_event_id_starts_from_the_present(gateway: LocalGateway, last: str) -> None:
    await gateway.model()
    path = await submit(gateway)
    async with serving(gateway) as url:
        async with exchange(url, "GET", path, {**EVENTS, "Last-Event-ID": last.encode("latin-1")}) as reply:
            await reply.end()
            await reply.head()
            event = await Events(reply).next()
            assert event is not None
            assert event.data["state"] == "queued"


@pytest.mark.parametrize(
    ("accept", "streamed"),
    [
        ("text/event-stream", True),
        ("text/*", True),
        ("text/event-stream, application/json;q=0.5", True),
        ("text/event-stream, */*;q=0.1", True),
        ("text/event-stream, application/json", False),
        ("text/event-stream;q=0.5, application/json", False),
        ("text/event-stream;q=0", False),
        ("application/json", False),
        ("*/*", False),
    ],
)
async def test_a_stream_is_sent_to_clients_that_prefer_it(gateway: LocalGateway, accept: str, streamed: bool) -> None:
    await gateway.model()
    path = await submit(gateway)
    await fail(gateway, path)
    reply = await gateway.client.get(path, headers={"Accept": accept})
    assert reply.headers["content-type"].startswith("text/event-stream" if streamed else "application/json")
    assert "Accept" in reply.headers["vary"].split(", ")


@pytest.mark.parametrize("task_id", ["nonsense", str(new_task_id())], ids=["nonsense", "fresh"])
async def test_an_unknown_task_is_a_problem_and_no_stream(gateway: LocalGateway, task_id: str) -> None:
    assert problem(await gateway.client.get(f"/v1/tasks/{task_id}", headers=EVENTS)) == (404, "unknown_task")


async def test_an_expired_record_is_a_problem_and_one_that_expires_later_an_event() -> None:
    now = [1_000_000.0]
    with anyio.fail_after(30):
        async with (
            open_store("memory://", StoreOptions(clock=lambda: now[0])) as store,
            open_gateway(store=store, clock=lambda: now[0]) as gateway,
        ):
            await gateway.model()
            path = await submit(gateway)
            async with serving(gateway) as url, events(url, path) as stream:
                assert await stream.next() is not None
                await store.withdraw([await task_of(gateway, path)])
                gone = await stream.next()
                assert gone is not None
                assert (gone.name, gone.id, gone.data["status"], gone.data["code"]) == ("gone", "", 404, "unknown_task")
                assert await stream.next() is None
            path = await submit(gateway)
            await fail(gateway, path)
            now[0] += 24 * 3600 + 1
            assert problem(await gateway.client.get(path, headers=EVENTS)) == (410, "task_record_expired")


async def test_a_disconnect_ends_the_stream(gateway: LocalGateway) -> None:
    await gateway.model()
    path = await submit(gateway)
    async with serving(gateway) as url:
        async with events(url, path) as stream:
            await stream.next()
            while not gateway.store.statistics().waiting:
                await anyio.lowlevel.checkpoint()
            assert gateway.parts.polls.waiting == 1
        while gateway.store.statistics().waiting or gateway.parts.polls.waiting:
            await anyio.lowlevel.checkpoint()


async def test_a_draining_server_ends_its_streams_at_once(gateway: LocalGateway) -> None:
    await gateway.model()
    path = await submit(gateway)
    async with AsyncExitStack() as clients:
        async with serving(gateway, grace=20) as url:
            stream = await clients.enter_async_context(events(url, path))
            assert await stream.next() is not None
            while not gateway.store.statistics().waiting:
                await anyio.lowlevel.checkpoint()
            began = anyio.current_time()
        assert anyio.current_time() - began < 10
        assert await stream.next() is None


async def test_a_stream_goes_on_with_comments_while_the_store_is_out_of_reach() -> None:
    with anyio.fail_after(30):
        async with open_store("memory://") as memory:
            store = FaultyStore(memory)
            async with open_gateway(store=store) as gateway:
                await gateway.model()
                path = await submit(gateway)
                store.changed_error = LOST
                async with serving(gateway) as url, events(url, path) as stream:
                    assert await stream.next() is not None
                    while await stream.reply.line() != b": the result store is out of reach":
                        pass
                    store.changed_error = None
                    await fail(gateway, path)
                    assert await stream.states() == ["failed"]


async def test_a_stream_needs_the_key_of_a_client() -> None:
    with anyio.fail_after(10):
        async with open_gateway(api_keys="secret") as gateway:
            reply = await gateway.client.get(f"/v1/tasks/{new_task_id()}", headers=EVENTS)
            assert problem(reply) == (401, "unauthorized")
