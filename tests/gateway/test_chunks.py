"""The chunks of a task that was submitted: GET /v1/tasks/{id}/chunks in each of its forms."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from io import BytesIO

import msgspec
import pytest
from google.protobuf.proto import parse
from httpx2 import Response

from examples.model_a.v1 import model_a_pb2
from hub.gateway.streams import results
from hub.task import Failure
from hub.types import new_task_id
from tests.gateway.fixtures import LocalGateway, echo_a
from tests.gateway.streaming import (
    CONTRACT,
    COUNTS,
    EVENTS,
    LINES,
    EventReader,
    Run,
    chunk,
    submit,
    watching,
)
from tests.gateway.wire import serving

pytestmark = pytest.mark.usefixtures("no_leaked_tasks")
PROTOBUF = {"Accept": "application/x-protobuf"}


@pytest.fixture
async def run(gateway: LocalGateway) -> Run:
    """A run of a task that has yielded two chunks."""
    await gateway.model(COUNTS, CONTRACT)
    started = await submit(gateway)
    await started.append("one", "two")
    return started


@pytest.fixture
async def url(gateway: LocalGateway) -> AsyncGenerator[str]:
    async with serving(gateway) as served:
        yield served


def path(run: Run, name: str = "chunks") -> str:
    return f"/v1/tasks/{run.task.id}/{name}"


async def get(gateway: LocalGateway, run: Run, name: str = "chunks", **headers: str) -> Response:
    return await gateway.client.get(path(run, name), headers={key.replace("_", "-"): headers[key] for key in headers})


async def test_a_stream_begins_at_the_first_chunk_and_goes_on_while_the_task_runs(url: str, run: Run) -> None:
    async with watching(url, run.task.id) as opened:
        events = EventReader(opened)
        assert await opened.head() == 200
        task = await events.expect("task")
        assert (task.data["state"], task.data["chunks"], task.id) == ("running", 2, "")
        assert [await events.next(), await events.next()] == [chunk(1, "one"), chunk(2, "two")]
        await run.append("three")
        assert await events.next() == chunk(3, "three")
        await run.finish()
        assert [event.id for event in await events.rest()] == ["1-end"]


@pytest.mark.parametrize(("seen", "left"), [("1-0", [1, 2]), ("1-1", [2]), ("1-2", []), ("1-7", [])])
async def test_a_stream_goes_on_after_last_event_id(url: str, run: Run, seen: str, left: list[int]) -> None:
    await run.finish()
    async with watching(url, run.task.id, {**EVENTS, "Last-Event-ID": seen}) as opened:
        await opened.head()
        events = await EventReader(opened).rest()
    texts = {1: "one", 2: "two"}
    assert events[:-1] == [chunk(number, texts[number]) for number in left]
    assert (events[-1].name, events[-1].data["state"]) == ("task", "succeeded")


async def test_after_the_end_of_a_former_attempt_comes_restarted_and_all_of_the_present_one(url: str, run: Run) -> None:
    await run.start()
    await run.append("uno")
    await run.finish()
    for seen in ("1-2", "1-end", "3-1"):
        async with watching(url, run.task.id, {**EVENTS, "Last-Event-ID": seen}) as opened:
            await opened.head()
            events = await EventReader(opened).rest()
        assert [event.name for event in events] == ["restarted", "chunk", "task"]
        assert events[1] == chunk(1, "uno", attempt=2)
    for seen in ("2-0", ""):
        async with watching(url, run.task.id, {**EVENTS, "Last-Event-ID": seen}) as opened:
            await opened.head()
            assert [event.name for event in await EventReader(opened).rest()] == ["chunk", "task"]


async def test_restarted_comes_before_the_first_chunk_of_the_next_attempt(url: str, run: Run) -> None:
    async with watching(url, run.task.id) as opened:
        events = EventReader(opened)
        await opened.head()
        assert [(await events.expect(name)).name for name in ("task", "chunk", "chunk")]
        await run.start()
        assert (await events.expect("restarted")).id == "2-0"
        await run.finish(Failure(code="model_error", message="at once"))
        (last,) = await events.rest()
        assert (last.id, last.data["state"], last.data["chunks"]) == ("2-end", "failed", 0)


@pytest.mark.parametrize("accept", [EVENTS, LINES])
async def test_a_client_that_has_the_end_gets_nothing_and_does_not_come_again(
    gateway: LocalGateway, run: Run, accept: dict[str, str]
) -> None:
    await run.finish()
    reply = await get(gateway, run, **accept, Last_Event_ID="1-end")
    assert (reply.status_code, reply.content) == (204, b"")


@pytest.mark.parametrize("seen", ["one", "1", "1-", "-1", "1-1-1", "1.5-1", "¹-1", "1-1234567890123456", "0x1-1"])
async def test_a_malformed_last_event_id_is_refused(gateway: LocalGateway, run: Run, seen: str) -> None:
    for accept in (b"text/event-stream", b"application/json"):
        headers = {b"Accept": accept, b"Last-Event-ID": seen.encode()}
        reply = await gateway.client.get(path(run), headers=headers)
        assert (reply.status_code, reply.json()["code"]) == (400, "bad_parameter")
        assert "1-17" in reply.json()["detail"]


async def test_tasks_that_are_unknown_or_have_one_message_have_no_chunks(gateway: LocalGateway, run: Run) -> None:
    await gateway.model(answer=echo_a)
    task = (await gateway.client.post("/v1/models/ModelA/tasks", json={}, headers={"Prefer": "wait=5"})).json()["id"]
    for accept in ({}, EVENTS, LINES, PROTOBUF):
        refused = await gateway.client.get(f"/v1/tasks/{task}/chunks", headers=accept)
        assert (refused.status_code, refused.json()["code"]) == (404, "not_streaming")
        assert f"/v1/tasks/{task}/result" in refused.json()["detail"]
        unknown = await gateway.client.get(f"/v1/tasks/{new_task_id()}/chunks", headers=accept)
        assert (unknown.status_code, unknown.json()["code"]) == (404, "unknown_task")
    other = await get(gateway, run, Accept="image/png")
    assert (other.status_code, other.json()["code"]) == (406, "not_acceptable")
    assert "text/event-stream" in other.json()["detail"]


@pytest.mark.parametrize("name", ["chunks", "result"])
async def test_json_is_the_array_when_the_task_has_succeeded(gateway: LocalGateway, run: Run, name: str) -> None:
    early = await get(gateway, run, name)
    assert (early.status_code, early.json()["code"]) == (409, "not_finished")
    await run.finish()
    reply = await get(gateway, run, name)
    assert reply.json() == [{"reply": "one"}, {"reply": "two"}]
    assert reply.headers["content-type"] == "application/json"
    assert "hub-expires-at" in reply.headers
    again = await get(gateway, run, name, If_None_Match=reply.headers["etag"])
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("name", ["chunks", "result"])
async def test_protobuf_is_the_messages_with_their_lengths_in_front(gateway: LocalGateway, run: Run, name: str) -> None:
    long = "x" * 20_000
    await run.append(long, "")
    await run.finish()
    reply = await get(gateway, run, name, **PROTOBUF)
    assert reply.headers["content-type"] == "application/x-protobuf;encoding=delimited"
    stream, found = BytesIO(reply.content), []
    while (message := read_delimited(stream)) is not None:
        found.append(message.reply)
    assert found == ["one", "two", long, ""]


def read_delimited(stream: BytesIO) -> model_a_pb2.ModelAResponse | None:
    size = shift = 0
    while byte := stream.read(1):
        size |= (byte[0] & 0x7F) << shift
        shift += 7
        if byte[0] < 0x80:
            return parse(model_a_pb2.ModelAResponse, stream.read(size))
    return None


async def test_a_task_that_failed_has_no_array(gateway: LocalGateway, run: Run) -> None:
    await run.finish(Failure(code="model_error", message="no more", type="ValueError"))
    reply = await get(gateway, run)
    assert (reply.status_code, reply.json()["code"]) == (502, "task_failed")
    assert reply.json()["failure"]["message"] == "no more"


async def test_an_empty_stream_is_an_empty_array(gateway: LocalGateway) -> None:
    await gateway.model(COUNTS, CONTRACT)
    run = await submit(gateway)
    await run.finish()
    assert (await get(gateway, run)).json() == []
    assert (await get(gateway, run, "result", **PROTOBUF)).content == b""


@pytest.mark.parametrize("accept", [{}, PROTOBUF])
async def test_an_array_has_a_bound_and_the_problem_names_the_streams(
    gateway: LocalGateway, url: str, monkeypatch: pytest.MonkeyPatch, accept: dict[str, str]
) -> None:
    await gateway.model(COUNTS, CONTRACT)
    run = await submit(gateway)
    texts = [f"{number}{'x' * 1000}" for number in range(100)]
    await run.append(*texts)
    await run.finish()
    assert (await get(gateway, run, **accept)).status_code == 200
    monkeypatch.setattr(results, "ARRAY_LIMIT", 100_000)
    for name in ("chunks", "result"):
        reply = await get(gateway, run, name, **accept)
        assert (reply.status_code, reply.json()["code"], reply.json()["limit"]) == (406, "array_too_large", 100_000)
        assert f"{path(run)} with 'Accept: text/event-stream'" in reply.json()["detail"]
    async with watching(url, run.task.id, LINES) as opened:
        await opened.head()
        lines = await opened.answers()
    assert [line["chunk"]["reply"] for line in lines[:-1]] == texts


async def test_a_stream_is_complete_and_in_order_over_many_pages(gateway: LocalGateway, url: str) -> None:
    await gateway.model(COUNTS, CONTRACT)
    run = await submit(gateway)
    texts = [f"{number} {'x' * 2000}" for number in range(1000)]
    for first in range(0, 1000, 100):
        await run.append(*texts[first : first + 100])
    await run.finish()
    async with watching(url, run.task.id) as opened:
        await opened.head()
        events = await EventReader(opened).rest()
    assert events[:-1] == [chunk(number, text) for number, text in enumerate(texts, 1)]
    assert msgspec.json.decode((await get(gateway, run)).content) == [{"reply": text} for text in texts]


async def test_head_has_the_headers_and_waits_for_nothing(gateway: LocalGateway, run: Run) -> None:
    reply = await gateway.client.head(path(run), headers=EVENTS)
    assert (reply.status_code, reply.content) == (200, b"")
    assert reply.headers["content-type"].startswith("text/event-stream")
    await run.finish()
    assert (await gateway.client.head(path(run))).headers["content-type"] == "application/json"


async def test_streams_are_never_compressed(gateway: LocalGateway, url: str, run: Run) -> None:
    await run.append("x" * 10_000)
    await run.finish()
    async with watching(url, run.task.id, {**LINES, "Accept-Encoding": "gzip"}) as opened:
        await opened.head()
        assert "content-encoding" not in opened.headers
        assert len(await opened.answers()) == 4
    reply = await gateway.client.get(path(run), headers={"Accept-Encoding": "gzip"})
    assert reply.headers["content-encoding"] == "gzip"  # the array is


async def test_a_task_has_the_number_and_the_url_of_its_chunks_in_place_of_a_result(
    gateway: LocalGateway, run: Run
) -> None:
    running = (await gateway.client.get(f"/v1/tasks/{run.task.id}")).json()
    assert (running["chunks"], running["chunks_url"]) == (2, path(run))
    await run.finish()
    ended = (await gateway.client.get(f"/v1/tasks/{run.task.id}")).json()
    assert (ended["chunks"], ended["chunks_url"], ended["result_url"]) == (2, path(run), path(run, "result"))
    assert "result" not in ended
    assert "result_error" not in ended


async def test_a_chunk_that_cannot_be_read_ends_the_stream_with_a_problem(url: str, run: Run) -> None:
    await run.append_bytes(b"\xff")
    async with watching(url, run.task.id) as opened:
        await opened.head()
        events = await EventReader(opened).rest()
    assert [event.name for event in events] == ["task", "chunk", "chunk", "problem"]
    assert events[-1].data["code"] == "undecodable"
