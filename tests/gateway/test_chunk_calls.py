"""Calls of a streaming model, over real connections to the server of each backend."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import anyio
import msgspec
import pytest

from hub.task import Failure, TaskRecord
from hub.types import TaskId, TaskState
from tests.gateway.fixtures import LocalGateway
from tests.gateway.streaming import (
    BODY,
    CALL,
    CONTRACT,
    COUNTS,
    EVENTS,
    LINES,
    EventReader,
    calling,
    chunk,
    facts,
    next_run,
    watching,
)
from tests.gateway.wire import serving

pytestmark = pytest.mark.usefixtures("no_leaked_tasks")
FAILURE = Failure(code="model_error", message="no more", type="ValueError")


@pytest.fixture
async def url(gateway: LocalGateway) -> AsyncGenerator[str]:
    await gateway.model(COUNTS, CONTRACT)
    async with serving(gateway) as served:
        yield served


async def state(gateway: LocalGateway, task: TaskId) -> TaskState:
    (record,) = await gateway.store.fetch([task])
    assert isinstance(record, TaskRecord)
    return record.state


async def test_a_call_gets_each_chunk_as_it_comes_and_then_the_outcome(gateway: LocalGateway, url: str) -> None:
    async with calling(url) as opened:
        assert await opened.head() == 200
        assert opened.headers["content-type"].startswith("text/event-stream")
        events = EventReader(opened)
        first = await events.expect("task")
        assert first.data["state"] == "queued"
        assert opened.headers["hub-task"] == first.data["id"]
        run = await next_run(gateway.broker, gateway.store)
        await run.append("one")
        assert await events.next() == chunk(1, "one")  # while the model is still running
        await run.append("two", "three")
        assert [await events.next(), await events.next()] == [chunk(2, "two"), chunk(3, "three")]
        await run.finish()
        last = await events.expect("task")
        assert (last.id, last.data["state"], last.data["chunks"]) == ("1-end", "succeeded", 3)
        assert "result" not in last.data
        assert last.data["chunks_url"] == f"/v1/tasks/{run.task.id}/chunks"
        assert await events.next() is None


async def test_lines_are_objects_that_say_what_they_are(gateway: LocalGateway, url: str) -> None:
    async with calling(url, LINES) as opened:
        assert await opened.head() == 200
        assert opened.headers["content-type"].startswith("application/x-ndjson")
        run = await next_run(gateway.broker, gateway.store)
        await run.append("one", "two")
        assert await opened.answer() == {"id": "1-1", "chunk": {"reply": "one"}}
        assert await opened.answer() == {"id": "1-2", "chunk": {"reply": "two"}}
        await run.finish(FAILURE)
        last = await opened.answer()
        assert (last["id"], last["task"]["state"]) == ("1-end", "failed")
        assert last["task"]["failure"]["code"] == "model_error"
        assert await opened.line() is None


async def test_the_chunks_of_a_run_that_was_cut_short_are_followed_by_restarted(
    gateway: LocalGateway, url: str
) -> None:
    async with calling(url) as opened:
        events = EventReader(opened)
        await opened.head()
        await events.expect("task")
        run = await next_run(gateway.broker, gateway.store)
        await run.append("one", "two")
        assert [await events.next(), await events.next()] == [chunk(1, "one"), chunk(2, "two")]
        await run.start()  # the message was delivered again
        restarted = await events.expect("restarted")
        assert (restarted.id, restarted.data) == ("2-0", {"attempt": 2})
        await run.append("uno")
        await run.finish()
        assert await events.next() == chunk(1, "uno", attempt=2)
        assert facts(await events.next())["state"] == "succeeded"


async def test_a_client_that_hangs_up_cancels_its_task(gateway: LocalGateway, url: str) -> None:
    async with calling(url) as opened:
        await opened.head()
        run = await next_run(gateway.broker, gateway.store)
        await run.append("one")
        events = EventReader(opened)
        await events.expect("task")
        await events.expect("chunk")
    record = await gateway.store.wait_for_change(run.task.id, after=0, until_terminal=True)
    assert isinstance(record, TaskRecord)
    assert record.state is TaskState.CANCELLED
    assert not await run.append("two")


async def test_a_client_with_an_idempotency_key_comes_back_for_the_rest(gateway: LocalGateway, url: str) -> None:
    key = {"Idempotency-Key": "order-66"}
    async with calling(url, {**EVENTS, **key}) as opened:
        await opened.head()
        run = await next_run(gateway.broker, gateway.store)
        await run.append("one")
        events = EventReader(opened)
        await events.expect("task")
        await events.expect("chunk")
    await no_streams(gateway)
    assert await run.append("two")  # it goes on
    async with calling(url, {**EVENTS, **key, "Last-Event-ID": "1-1"}) as opened:
        await opened.head()
        assert opened.headers["idempotent-replayed"] == "true"
        events = EventReader(opened)
        assert facts(await events.next())["id"] == run.task.id
        assert await events.next() == chunk(2, "two")
        await run.finish()
        assert [event.id for event in await events.rest()] == ["1-end"]


async def test_a_watcher_that_hangs_up_leaves_the_task_alone(gateway: LocalGateway, url: str) -> None:
    async with calling(url) as caller:
        await caller.head()
        run = await next_run(gateway.broker, gateway.store)
        async with watching(url, run.task.id) as opened:
            await opened.head()
            await EventReader(opened).expect("task")
        assert await run.append("one")
        await run.finish()
        assert [event.name for event in await EventReader(caller).rest()] == ["task", "chunk", "task"]


async def test_a_deleted_task_ends_the_stream(gateway: LocalGateway, url: str) -> None:
    async with calling(url) as opened:
        await opened.head()
        run = await next_run(gateway.broker, gateway.store)
        await run.append("one")
        events = EventReader(opened)
        await events.expect("task")
        await events.expect("chunk")
        assert (await gateway.client.delete(f"/v1/tasks/{run.task.id}")).status_code == 200
        last = await events.expect("task")
        assert (last.data["state"], last.data["chunks"], last.id) == ("cancelled", 1, "1-end")
        assert await events.next() is None


async def test_a_deadline_ends_the_stream_of_a_task_that_waits(url: str) -> None:
    async with calling(url, {**EVENTS, "Hub-Timeout": "0.2"}) as opened:
        await opened.head()
        events = await EventReader(opened).rest()
        assert [event.data["state"] for event in events] == ["queued", "expired"]
        assert events[-1].id == "0-end"


async def test_json_is_the_array_of_all_chunks_at_the_end(gateway: LocalGateway, url: str) -> None:
    async with calling(url, {}) as opened:
        run = await next_run(gateway.broker, gateway.store)
        await run.append("one", "two")
        await run.finish()
        assert await opened.head() == 200
        assert opened.headers["content-type"] == "application/json"
        assert msgspec.json.decode(await opened.body()) == [{"reply": "one"}, {"reply": "two"}]


async def test_a_call_for_json_that_fails_is_a_problem(gateway: LocalGateway, url: str) -> None:
    async with calling(url, {}) as opened:
        run = await next_run(gateway.broker, gateway.store)
        await run.append("one")
        await run.finish(FAILURE)
        assert await opened.head() == 502


async def test_the_drain_of_the_gateway_ends_a_stream_without_an_outcome_and_the_task_goes_on(
    gateway: LocalGateway,
) -> None:
    await gateway.model(COUNTS, CONTRACT)
    async with anyio.create_task_group() as tg:
        stop = anyio.Event()
        ready = anyio.Event()
        urls: list[str] = []

        async def serve() -> None:
            async with serving(gateway) as served:
                urls.append(served)
                ready.set()
                await stop.wait()

        tg.start_soon(serve)
        await ready.wait()
        async with calling(urls[0]) as opened:
            await opened.head()
            run = await next_run(gateway.broker, gateway.store)
            await run.append("one")
            events = EventReader(opened)
            await events.expect("task")
            await events.expect("chunk")
            stop.set()
            assert await events.next() is None  # a complete reply: the client resumes after 1-1
    assert await state(gateway, run.task.id) is TaskState.RUNNING
    assert await run.append("two")


async def test_a_model_that_answers_with_one_message_is_not_streamed(gateway: LocalGateway) -> None:
    await gateway.model()
    for accept in (EVENTS, LINES):
        refused = await gateway.client.post("/v1/models/ModelA", json={}, headers=accept)
        assert refused.status_code == 406
        assert "answers with one message" in refused.json()["detail"]
        assert "submit it" in refused.json()["detail"]


async def test_nothing_is_submitted_for_a_malformed_last_event_id(gateway: LocalGateway) -> None:
    await gateway.model(COUNTS, CONTRACT)
    refused = await gateway.client.post(
        CALL, content=BODY, headers={**EVENTS, "Content-Type": "application/json", "Last-Event-ID": "seven"}
    )
    assert (refused.status_code, refused.json()["code"]) == (400, "bad_parameter")
    assert "hub-task" not in refused.headers


async def no_streams(gateway: LocalGateway) -> None:
    while gateway.parts.stream_metrics.open:
        await anyio.sleep(0.01)
