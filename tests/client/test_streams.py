"""Streams of the client: chunks as they come, over lost connections and further attempts."""

from __future__ import annotations

import anyio
import pytest
from anyio import Event, fail_after

from examples.model_a.v1.model_a_pb2 import ModelARequest, ModelAResponse
from hub.client import Client, MessageStream, ModelFailed, NotFound, StreamRestarted, UnexpectedReply
from hub.client.events import EventDecoder, ServerEvent
from hub.testing.proxy import FaultProxy
from hub.types import TaskState
from tests.client.models import Count

TIMEOUT = 30.0


def texts(attempt: int, count: int) -> list[str]:
    return [f"{attempt}-{number}" for number in range(1, count + 1)]


async def read(stream: MessageStream[ModelAResponse], found: list[str]) -> None:
    async for chunk in stream:
        found.append(chunk.reply)  # noqa: PERF401 - what was read before an error counts


async def test_chunks_come_in_order_as_messages_or_json(client: Client) -> None:
    with fail_after(TIMEOUT):
        assert [chunk.reply async for chunk in client.stream(Count, ModelARequest(messages="5"))] == texts(1, 5)
        assert [chunk["reply"] async for chunk in client.stream("Count", {"messages": "2"})] == texts(1, 2)
        handle = await client.submit(Count, ModelARequest(messages="3"))
        await handle.wait()
        for _ in range(2):
            assert [chunk.reply async for chunk in handle.chunks()] == texts(1, 3)
        with pytest.raises(UnexpectedReply, match="streams"):
            await handle.result()


async def test_a_lost_connection_is_resumed_after_the_last_chunk(unsteady: Client, proxy: FaultProxy) -> None:
    found: list[str] = []
    with fail_after(TIMEOUT):
        async with unsteady.stream(Count, ModelARequest(messages="3000")) as stream:
            async for chunk in stream:
                found.append(chunk.reply)
                if len(found) in (10, 500, 1500):
                    proxy.cut()
    assert found == texts(1, 3000)
    assert proxy.statistics().accepted >= 2  # a cut between two connections, while what was received is read, cuts none
    assert (stream.attempt, stream.number) == (1, 3000)


async def test_a_further_attempt_is_reported_before_its_first_chunk(client: Client) -> None:
    found: list[str] = []

    def restart(attempt: int) -> None:
        assert found == texts(1, 2)
        assert attempt == 2
        found.clear()

    with fail_after(TIMEOUT):
        async for chunk in client.stream(Count, ModelARequest(messages="4 retry"), on_restart=restart):
            found.append(chunk.reply)  # noqa: PERF401 - `restart` empties the list meanwhile
        assert found == texts(2, 4)
        with pytest.raises(StreamRestarted, match="attempt 2"):
            await read(client.stream(Count, ModelARequest(messages="4 retry")), [])


async def test_a_task_that_fails_ends_its_stream_with_the_reason_after_its_chunks(client: Client) -> None:
    found: list[str] = []
    with fail_after(TIMEOUT):
        with pytest.raises(ModelFailed, match="three"):
            await read(client.stream(Count, ModelARequest(messages="4 fail")), found)
        with pytest.raises(NotFound):
            await anext(client.stream("Nothing", {}))
        handle = await client.submit("Echo", {"messages": "x"})
        with pytest.raises(NotFound, match="one message"):
            await anext(handle.chunks())
    assert found == texts(1, 2)


async def test_leaving_a_stream_early_cancels_its_task(client: Client) -> None:
    Count.left = Event()
    try:
        with fail_after(TIMEOUT):
            async with client.stream(Count, ModelARequest(messages="1000000")) as stream:
                await anext(stream)
            await Count.left.wait()
            ended = await client.task(stream.task).wait()
            with pytest.raises(StopAsyncIteration):
                await anext(stream)
    finally:
        Count.left = None
    assert ended.state is TaskState.CANCELLED


async def test_a_cancelled_reader_cancels_the_task(client: Client) -> None:
    stream = client.stream(Count, ModelARequest(messages="1000000"))
    with fail_after(TIMEOUT):
        with anyio.move_on_after(0.5):
            async for _ in stream:
                pass
        ended = await client.task(stream.task).wait()
    assert ended.state in {TaskState.CANCELLED, TaskState.EXPIRED}


async def test_leaving_the_chunks_of_a_submitted_task_leaves_it_running(client: Client) -> None:
    with fail_after(TIMEOUT):
        handle = await client.submit(Count, ModelARequest(messages="100000"))
        async with handle.chunks() as stream:
            assert await anext(stream) == ModelAResponse(reply="1-1")
        assert (await handle.status()).state is TaskState.RUNNING
        await handle.cancel()


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_events_are_read_however_their_bytes_are_cut(size: int) -> None:
    content = (
        b"retry: 1000\n\n: idle\n\nevent: task\ndata: {}\n\nevent: chunk\r\nid: 1-1\r\ndata: a\r\n\r\n"
        b"data: one\ndata: two\n\nevent: empty\n\nevent: cut\ndata: x\n"
    )
    decoder = EventDecoder()

    found = [event for start in range(0, len(content), size) for event in decoder.feed(content[start : start + size])]

    assert found == [ServerEvent("task", b"{}"), ServerEvent("chunk", b"a", "1-1"), ServerEvent("message", b"one\ntwo")]
