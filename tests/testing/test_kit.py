"""Models in a test: called, submitted and streamed, without a server."""

from __future__ import annotations

import traceback

import anyio
import pytest
from anyio.lowlevel import checkpoint

import hub
import hub.testing
from examples.model_a.v1.model_a_pb2 import ModelARequest, ModelAResponse
from hub.errors import ConfigurationError, UnknownModel
from hub.model.errors import ModelNotStarted
from tests.testing.models import Batched, Broken, BrokenApart, Caller, Echo, Plain, PlainWords, Words, running


def text(messages: str) -> ModelARequest:
    return ModelARequest(messages=messages)


async def test_a_call_returns_the_response() -> None:
    async with running(Echo) as client:
        assert await client.call(Echo, text("hello")) == ModelAResponse(reply="hello 1")


async def test_several_models_run_at_once() -> None:
    async with running(Plain, Echo, PlainWords) as client:
        assert (await client.call(Plain, text("a"))).reply == "A"
        assert (await client.call(Echo, text("b"))).reply == "b 1"
        async with client.stream(PlainWords, text("c d")) as chunks:
            assert [chunk.reply async for chunk in chunks] == ["c", "d"]


async def test_a_model_calls_another_one() -> None:
    async with running(Caller, Echo) as client:
        assert (await client.call(Caller, text("x"))).reply == "called: x 1"


async def test_a_model_that_is_not_run_cannot_be_called() -> None:
    async with running(Caller) as client:
        with pytest.raises(UnknownModel):
            await client.call(Echo, text("x"))
        with pytest.raises(hub.testing.ModelFailed) as failed:
            await client.call(Caller, text("x"))
        assert failed.value.failure["code"] == "unknown_model"


async def test_what_a_model_raises_is_an_error_with_code_type_and_message() -> None:
    async with running(Echo) as client:
        with pytest.raises(hub.testing.ModelFailed, match="as it was told") as failed:
            await client.call(Echo, text("fail"))
        assert failed.value.code == "task_failed"
        assert failed.value.state is hub.TaskState.FAILED
        assert failed.value.failure == {"code": "model_error", "type": "ValueError", "message": "as it was told"}
        assert (await client.call(Echo, text("on"))).reply == "on 1"


async def test_the_handle_of_a_task_has_its_state_and_its_result() -> None:
    async with running(Echo) as client:
        task = await client.submit(Echo, text("hello"))
        assert await task.result() == await task.result() == ModelAResponse(reply="hello 1")
        assert (task.state, task.attempt, task.model) == (hub.TaskState.SUCCEEDED, 1, "Echo")


async def test_a_task_is_cancelled_while_it_runs() -> None:
    async with running(Echo) as client:
        task = await client.submit(Echo, text("progress"))
        await task.wait_for(lambda task: task.progress is not None)
        assert task.progress is not None
        assert (task.progress.fraction, task.progress.message, task.state) == (0.5, "half", hub.TaskState.RUNNING)
        await task.cancel()
        with pytest.raises(hub.testing.TaskWasCancelled):
            await task.result()
        await task.cancel()
        assert task.state is hub.TaskState.CANCELLED


async def test_a_cancelled_call_cancels_its_task() -> None:
    class OneAtATime(Echo):
        concurrency = 1

    async with running(OneAtATime) as client:
        with anyio.move_on_after(0.1) as scope:
            await client.call(OneAtATime, text("sleep 1000"), timeout=2000)
        assert scope.cancelled_caught
        assert (await client.call(OneAtATime, text("next"))).reply == "next 1", "its only place is free"


async def test_a_deadline_ends_a_task() -> None:
    async with running(Echo) as client:
        with pytest.raises(hub.testing.DeadlineMissed) as missed:
            await client.call(Echo, text("sleep 1000"), timeout=0.05)
        assert (missed.value.code, missed.value.failure["code"]) == ("task_expired", "deadline_exceeded")
        with pytest.raises(ValueError, match="above 0"):
            await client.call(Echo, text("x"), timeout=0)


async def test_a_stream_that_is_left_cancels_its_task() -> None:
    async with running(Words) as client:
        async with client.stream(Words, text("one stop")) as chunks:
            assert chunks.task == ""
            assert (await anext(chunks)).reply == "one"
            assert (chunks.attempt, chunks.number) == (1, 1)
        task = await client.submit(Words, text("two three"))
        assert [chunk.reply async for chunk in task.chunks()] == ["two", "three"], "the first one ended, and made place"


async def test_a_stream_ends_with_the_failure_of_its_model() -> None:
    async with running(Words) as client:
        chunks = client.stream(Words, text("one fail two"))
        assert (await anext(chunks)).reply == "one"
        with pytest.raises(hub.testing.ModelFailed):
            await anext(chunks)
        with pytest.raises(StopAsyncIteration):
            await anext(chunks)


async def test_calls_and_streams_name_each_other_when_they_do_not_fit() -> None:
    async with running(Words, Echo) as client:
        with pytest.raises(TypeError, match=r"client\.stream\(Words, request\)"):
            await client.call(Words, text("x"))
        with pytest.raises(TypeError, match=r"client\.call\(Echo, request\)"):
            client.stream(Echo, text("x"))
        task = await client.submit(Words, text("x"))
        with pytest.raises(TypeError, match="chunks"):
            await task.result()
        with pytest.raises(TypeError, match="takes a ModelARequest"):
            await client.call(Echo, ModelAResponse())  # type: ignore[misc]


async def test_requests_that_wait_together_are_one_batch() -> None:
    replies: list[str] = []

    async with running(Batched) as client, anyio.create_task_group() as tg:

        async def call(number: int) -> None:
            replies.append((await client.call(Batched, text(str(number)))).reply)

        for number in range(32):
            tg.start_soon(call, number)
    assert sorted(replies) == sorted(f"{number} of 32" for number in range(32))


async def test_an_error_of_the_block_leaves_it_as_it_is() -> None:
    with pytest.raises(AssertionError, match="not so"):
        async with running(Echo):
            raise AssertionError("not so")
    with pytest.raises(pytest.skip.Exception):
        async with running(Echo):
            pytest.skip("left out")


async def test_what_still_runs_at_the_end_is_cancelled() -> None:
    async with running(Echo) as client:
        task = await client.submit(Echo, text("sleep 1000"))
        await task.wait_for(lambda task: task.state is hub.TaskState.RUNNING)
        await checkpoint()


async def test_a_model_that_cannot_begin_is_an_error_of_run() -> None:
    with pytest.raises(ModelNotStarted, match="no weights"):
        async with running(Broken):
            raise AssertionError("not reached")


async def test_the_reason_why_a_model_cannot_begin_is_shown_from_its_own_code_on() -> None:
    with pytest.raises(ModelNotStarted) as caught:
        async with running(Broken):
            raise AssertionError("not reached")
    assert caught.value.__cause__ is not None
    assert [frame.name for frame in traceback.extract_tb(caught.value.__cause__.__traceback__)] == ["setup"]


async def test_a_process_of_a_model_that_cannot_begin_is_an_error_of_run() -> None:
    with pytest.raises(ModelNotStarted, match="a process of model BrokenApart raised FileNotFoundError: no weights"):
        async with running(BrokenApart):
            raise AssertionError("not reached")


async def test_classes_that_cannot_run_together_are_refused() -> None:
    other = type("Echo", (Plain,), {})
    for models, reason in (((), "needs the class"), ((Echo, other), "two classes are called Echo")):
        with pytest.raises(ConfigurationError, match=reason):
            async with running(*models):
                raise AssertionError("not reached")


async def test_a_class_may_have_several_instances() -> None:
    async with running(Words, Words) as client:
        async with client.stream(Words, text("one stop")) as waiting:
            assert (await anext(waiting)).reply == "one"
            async with client.stream(Words, text("two")) as chunks:
                assert [chunk.reply async for chunk in chunks] == ["two"]
