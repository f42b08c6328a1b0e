"""The fault injectors of the test kit, each with an effect that a test can see."""

from __future__ import annotations

import anyio
import pytest

import hub
import hub.testing
from examples.model_a.v1.model_a_pb2 import ModelARequest
from hub.types import ModelName
from tests.testing.models import Echo, Words, running


def text(messages: str) -> ModelARequest:
    return ModelARequest(messages=messages)


async def test_a_redelivered_task_is_run_again_as_another_attempt() -> None:
    async with running(Echo) as client:
        task = await client.submit(Echo, text("first sleep 1000"))
        await task.wait_for(lambda task: task.state is hub.TaskState.RUNNING)
        await client.redeliver(task)
        assert (await task.result()).reply == "first sleep 1000 2"
        assert task.attempt == 2


async def test_a_task_that_is_redelivered_at_any_moment_ends_once() -> None:
    async with running(Echo) as client:
        for moment in range(30):
            task = await client.submit(Echo, text("quick"))
            for _ in range(moment):
                await anyio.lowlevel.checkpoint()
            await client.redeliver(task)
            assert (await task.result()).reply in {"quick 1", "quick 2"}


async def test_a_redelivered_stream_begins_again() -> None:
    restarts: list[int] = []
    async with running(Words) as client:
        task = await client.submit(Words, text("one stop"))
        async with task.chunks(on_restart=restarts.append) as chunks:
            assert (await anext(chunks)).reply == "one"
            await client.redeliver(task)
            assert [chunk.reply async for chunk in chunks] == ["one", "stop"]
        assert restarts == [2]
        async with task.chunks() as again:
            assert [chunk.reply async for chunk in again] == ["one", "stop"]


async def test_a_stream_without_on_restart_says_that_its_chunks_are_void() -> None:
    async with running(Words) as client:
        task = await client.submit(Words, text("one stop"))
        chunks = task.chunks()
        assert (await anext(chunks)).reply == "one"
        await client.redeliver(task)
        with pytest.raises(hub.testing.StreamRestarted):
            await anext(chunks)


async def test_a_task_that_has_ended_is_not_run_again() -> None:
    async with running(Echo) as client:
        task = await client.submit(Echo, text("once"))
        assert (await task.result()).reply == "once 1"
        await client.redeliver(task)
        assert (await client.call(Echo, text("next"))).reply == "next 1"
        assert (await task.result()).reply == "once 1"
        assert task.attempt == 1


async def test_a_lost_connection_redelivers_a_running_task_without_a_second_run() -> None:
    async with running(Words) as client:
        async with client.stream(Words, text("one stop")) as chunks:
            assert (await anext(chunks)).reply == "one"
            client.lose_connection()
            while deliveries(client, "Words") < 2:
                await anyio.sleep(0.01)
            (instance,) = client._models[ModelName("Words")].workers
            assert instance.statistics().attempts == 1
        assert [chunk.reply async for chunk in client.stream(Words, text("two"))] == ["two"]


async def test_a_lost_connection_gives_tasks_to_another_instance_too() -> None:
    """The first outcome of a task counts, whichever of its runs it is of."""
    async with running(Echo, Echo) as client:
        tasks = [await client.submit(Echo, text(f"first sleep {number}")) for number in (0.3, 0.31, 0.32, 0.33)]
        for task in tasks:
            await task.wait_for(lambda task: task.state is hub.TaskState.RUNNING)
        while deliveries(client, "Echo") < 4:
            await anyio.lowlevel.checkpoint()
        client.lose_connection()
        for task in tasks:
            assert (await task.result()).reply.startswith("first sleep")
        while deliveries(client, "Echo") < 8:
            await anyio.sleep(0.01)


def deliveries(client: hub.testing.LocalClient, model: str) -> int:
    """Messages that the instances of a model have received, those included whose task they do not run."""
    found = [worker.statistics() for worker in client._models[ModelName(model)].workers]
    return sum(each.attempts + each.skipped for each in found)
