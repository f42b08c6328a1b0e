"""Calls and submits of the client, over a real gateway and real instances in this process."""

from __future__ import annotations

import anyio
import pytest
from anyio import create_task_group, fail_after, move_on_after
from httpx2 import AsyncClient, AsyncHTTPTransport, ReadError, Request, Response
from typing_extensions import override

import hub
from examples.digits.v1.digits_pb2 import DigitsRequest
from examples.model_a.v1.model_a_pb2 import ModelARequest, ModelAResponse
from hub.client import (
    BadRequest,
    Client,
    Conflict,
    DeadlineMissed,
    GatewayUnreachable,
    InvalidRequest,
    ModelFailed,
    NotFound,
    TaskSnapshot,
    TaskWasCancelled,
)
from hub.testing.proxy import FaultProxy
from hub.types import TaskState
from tests.client.models import Count, Echo, Endless
from tests.support.server import free_port

TIMEOUT = 30.0


async def until_running(handle: hub.client.TaskHandle[ModelAResponse]) -> None:
    async with handle.events() as events:
        async for snapshot in events:
            if snapshot.state is TaskState.RUNNING:
                return


async def test_a_call_by_class_name_or_json_returns_what_it_was_asked_for(client: Client) -> None:
    with fail_after(TIMEOUT):
        assert await client.call(Echo, ModelARequest(messages="a")) == ModelAResponse(reply="a")
        assert await client.call(Echo, {"messages": "b"}) == ModelAResponse(reply="b")
        assert await client.call("Echo", ModelARequest(messages="c"), ModelAResponse) == ModelAResponse(reply="c")
        assert await client.call("Echo", {"messages": "d"}) == {"reply": "d"}


async def test_a_call_that_cannot_be_typed_is_refused_before_it_is_sent(client: Client) -> None:
    with fail_after(TIMEOUT):
        with pytest.raises(TypeError, match="class of the response is missing"):
            await client.call("Echo", ModelARequest())  # type: ignore[call-overload]
        with pytest.raises(TypeError, match="Echo takes a ModelARequest"):
            await client.call(Echo, DigitsRequest())  # type: ignore[misc]
        with pytest.raises(TypeError, match=r"use stream\(\)"):
            await client.call(Count, ModelARequest())
        with pytest.raises(TypeError, match=r"use call\(\)"):
            client.stream(Echo, ModelARequest())
        with pytest.raises(ValueError, match="timeout is 0"):
            await client.call(Echo, ModelARequest(), timeout=0)
    with pytest.raises(RuntimeError, match="not open"):
        Client("http://127.0.0.1:1").task("x")


async def test_each_family_of_problems_has_its_error(client: Client) -> None:
    with fail_after(TIMEOUT):
        with pytest.raises(ModelFailed) as failed:
            await client.call(Echo, ModelARequest(messages="!no sound"))
        with pytest.raises(InvalidRequest) as invalid:
            await client.call(Echo, {"mesages": "x"})
        with pytest.raises(NotFound) as unknown:
            await client.call("Nothing", {})
        with pytest.raises(BadRequest) as bad:
            await client.submit(Endless, ModelARequest(), timeout=1000)
        with pytest.raises(DeadlineMissed) as late:
            await client.call(Echo, ModelARequest(messages="20"), timeout=0.3)
        await client.submit(Echo, ModelARequest(messages="1"), idempotency_key="of-errors")
        with pytest.raises(Conflict) as conflict:
            await client.submit(Echo, ModelARequest(messages="2"), idempotency_key="of-errors")
    assert (failed.value.code, failed.value.status, failed.value.state) == ("task_failed", 502, TaskState.FAILED)
    assert (failed.value.failure["type"], failed.value.failure["message"]) == ("ValueError", "no sound")
    assert failed.value.task
    assert [error["pointer"] for error in invalid.value.errors] == ["/mesages"]
    assert unknown.value.code == "unknown_model"
    assert "Nothing" in unknown.value.detail == str(unknown.value)
    assert (bad.value.code, bad.value.extensions["max_timeout"]) == ("timeout_too_long", 600)
    assert late.value.state is TaskState.EXPIRED
    assert (conflict.value.code, conflict.value.retry_after) == ("idempotency_conflict", None)


async def test_the_deadline_of_a_cancel_scope_is_that_of_the_task(client: Client) -> None:
    with fail_after(TIMEOUT):
        with move_on_after(20):
            assert (await client.call(Echo, ModelARequest(messages="x"))).reply == "x"
        runs, left = Endless.runs, Endless.left
        with move_on_after(0.5) as scope:
            await client.call(Endless, ModelARequest(), idempotency_key=f"scope-{id(scope)}")
        assert scope.cancelled_caught
        assert Endless.runs == runs + 1
        while Endless.left == left:  # by its deadline: a key of the caller's own keeps the cancellation from the task
            await anyio.sleep(0.02)


async def test_a_scope_beyond_the_limit_of_the_model_leaves_the_deadline_to_the_model(client: Client) -> None:
    with move_on_after(5000) as scope:
        with move_on_after(1.0):
            await client.call(Endless, ModelARequest())
        handle = await client.submit(Endless, ModelARequest())
        async with create_task_group() as tg:
            tg.start_soon(client.call, Endless, ModelARequest())
            with fail_after(TIMEOUT):
                while Endless.runs == Endless.left:
                    await anyio.sleep(0.02)
            tg.cancel_scope.cancel()
        await handle.cancel()
    assert not scope.cancelled_caught


async def test_a_cancelled_call_cancels_its_task(client: Client) -> None:
    runs, left = Endless.runs, Endless.left
    with fail_after(TIMEOUT):
        async with create_task_group() as tg:
            tg.start_soon(client.call, Endless, ModelARequest(messages="cancelled"))
            while Endless.runs == runs:
                await anyio.sleep(0.01)
            tg.cancel_scope.cancel()
        while Endless.left == left:
            await anyio.sleep(0.01)


async def test_a_call_survives_lost_connections_and_runs_once(unsteady: Client, proxy: FaultProxy) -> None:
    replies: list[ModelAResponse] = []
    runs = Echo.runs

    async def call() -> None:
        replies.append(await unsteady.call(Echo, ModelARequest(messages="1.5")))

    with fail_after(TIMEOUT):
        async with create_task_group() as tg:
            tg.start_soon(call)
            for _ in range(2):
                await anyio.sleep(0.4)
                proxy.cut()
    assert replies == [ModelAResponse(reply="1.5")]
    assert Echo.runs == runs + 1


class LosesReply(AsyncHTTPTransport):
    """Loses the first reply: the request has had its effect."""

    lost = False

    @override
    async def handle_async_request(self, request: Request) -> Response:
        response = await super().handle_async_request(request)
        if not self.lost:
            self.lost = True
            await response.aread()
            raise ReadError("lost")
        return response


async def test_a_submit_whose_reply_was_lost_makes_one_task(gateway_url: str) -> None:
    runs = Echo.runs
    with fail_after(TIMEOUT):
        async with AsyncClient(transport=LosesReply()) as http, Client(gateway_url, http=http) as client:
            handle = await client.submit(Echo, ModelARequest(messages="once"))
            assert await handle.result() == ModelAResponse(reply="once")
            await client.call(Echo, ModelARequest(messages="after it in the queue"))
    assert Echo.runs == runs + 2


async def test_an_unreachable_gateway_is_named_after_the_limit_for_retries() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with fail_after(TIMEOUT):
        async with Client(url, retry_for=0.3) as client:
            with pytest.raises(GatewayUnreachable) as lost:
                await client.call("Echo", {})
            with pytest.raises(GatewayUnreachable):
                await client.task("01890000-0000-7000-8000-000000000001").status()
    assert url in str(lost.value)
    assert (lost.value.exit_code, lost.value.code) == (3, "gateway_unreachable")


async def test_a_task_is_watched_waited_for_and_cancelled(client: Client) -> None:
    with fail_after(TIMEOUT):
        handle = await client.submit(Echo, ModelARequest(messages="0.5"), result_ttl=600)
        seen = [snapshot async for snapshot in handle.events()]
        ended = await handle.wait()
        assert await handle.result() == await handle.result() == ModelAResponse(reply="0.5")
        assert await client.task(handle.id).result() == {"reply": "0.5"}
        assert await client.task(handle.id, ModelAResponse).result() == ModelAResponse(reply="0.5")
        assert (await handle.cancel()).state is TaskState.SUCCEEDED
        endless = await client.submit("Endless", {})
        await until_running(endless)
        cancelled = await endless.cancel()
        with pytest.raises(TaskWasCancelled):
            await endless.result()
        with pytest.raises(NotFound):
            await client.task("01890000-0000-7000-8000-000000000001").status()
    assert seen[-1].state is ended.state is TaskState.SUCCEEDED
    assert isinstance(ended, TaskSnapshot)
    assert any(each.progress is not None and each.progress.message == "half" for each in seen)
    assert cancelled.state is TaskState.CANCELLED


async def test_models_are_listed(client: Client) -> None:
    with fail_after(TIMEOUT):
        models = {model.name: model for model in await client.models()}
    assert models.keys() == {"Echo", "Endless", "Count"}
    assert models["Count"].streaming
    assert (models["Echo"].request, models["Echo"].instances) == ("examples.model_a.v1.ModelARequest", 1)
