"""Virtual time on both backends: waits that take no time, and clear errors where there is none."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import anyio
import pytest
from anyio.to_thread import run_sync
from typing_extensions import override

import hub
import hub.testing
from examples.model_a.v1.model_a_pb2 import ModelARequest, ModelAResponse
from hub.types import Backend
from tests.testing.models import Batched, Echo, Plain, Retried, Words, running

YEAR = 365 * 24 * 3600.0


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, object]]:
    backend: Backend = request.param
    return hub.testing.virtual_backend(backend)


def text(messages: str) -> ModelARequest:
    return ModelARequest(messages=messages)


async def test_a_long_sleep_takes_no_time() -> None:
    real, virtual = time.monotonic(), anyio.current_time()
    await anyio.sleep(YEAR)
    assert anyio.current_time() - virtual == pytest.approx(YEAR)
    assert time.monotonic() - real < YEAR / 1000


async def test_a_timer_is_not_skipped_by_work_that_is_ready() -> None:
    began = anyio.current_time()
    woken: list[float] = []

    async def sleeper(seconds: float) -> None:
        await anyio.sleep(seconds)
        woken.append(anyio.current_time() - began)

    async with anyio.create_task_group() as tg:
        for seconds in (3e6, 2e7, 1.0, 0.25):
            tg.start_soon(sleeper, seconds)
        for _ in range(100):
            await anyio.lowlevel.checkpoint()
        assert anyio.current_time() == began
    assert woken == pytest.approx([0.25, 1.0, 3e6, 2e7])


async def test_a_thread_wakes_the_loop() -> None:
    assert await run_sync(lambda: 42) == 42


async def test_a_model_sleeps_for_a_day() -> None:
    async with running(Echo, virtual_time=True, seconds=YEAR) as client:
        began = anyio.current_time()
        assert (await client.call(Echo, text("sleep 3600"))).reply == "sleep 3600 1"
        assert 3600 <= anyio.current_time() - began < 3601


async def test_a_deadline_passes() -> None:
    async with running(Echo, virtual_time=True, seconds=YEAR) as client:
        began = anyio.current_time()
        with pytest.raises(hub.testing.DeadlineMissed):
            await client.call(Echo, text("sleep 3600"), timeout=60)
        assert anyio.current_time() - began == pytest.approx(60)


async def test_retries_wait_for_hours() -> None:
    async with running(Retried, virtual_time=True, seconds=YEAR) as client:
        began = anyio.current_time()
        task = await client.submit(Retried, text(""))
        await task.wait_for(lambda task: task.retries == 1)
        assert task.state is hub.TaskState.QUEUED
        assert (await task.result()).reply == "attempt 3"
        assert task.retries == 2
        assert anyio.current_time() - began > 3600


async def test_a_batch_waits_for_a_minute() -> None:
    async with running(Batched, virtual_time=True, seconds=YEAR) as client:
        began = anyio.current_time()
        assert (await client.call(Batched, text("alone"))).reply == "alone of 1"
        assert anyio.current_time() - began == pytest.approx(60)


async def test_a_stalled_store_delays_the_outcome() -> None:
    async with running(Echo, virtual_time=True, seconds=YEAR) as client:
        task = await client.submit(Echo, text("sleep 1"))
        await task.wait_for(lambda task: task.state is hub.TaskState.RUNNING)
        began = anyio.current_time()
        client.stall_store(40)
        client.stall_store(5)
        assert (await task.result()).reply == "sleep 1 1"
        assert anyio.current_time() - began == pytest.approx(40)
        assert (await client.call(Echo, text("next"))).reply == "next 1"
        assert anyio.current_time() - began == pytest.approx(40)


async def test_a_stalled_store_holds_a_generator_at_its_yield() -> None:
    yielded: list[float] = []

    class Many(Words):
        @override
        async def process_request(self, request: ModelARequest) -> AsyncIterator[ModelAResponse]:
            async for chunk in super().process_request(request):
                yielded.append(anyio.current_time())
                yield chunk

    async with running(Many, virtual_time=True, seconds=YEAR) as client:
        async with client.stream(Many, text("word " * 1000)) as chunks:
            await anext(chunks)
            began = anyio.current_time()
            client.stall_store(30)
            assert len([chunk async for chunk in chunks]) == 999
        assert yielded[-1] - began == pytest.approx(30)


async def test_the_record_of_a_task_expires_after_a_day() -> None:
    async with running(Echo, virtual_time=True, seconds=YEAR) as client:
        task = await client.submit(Echo, text("x"))
        await task.result()
        await anyio.sleep(25 * 3600)
        with pytest.raises(hub.HubError) as forgotten:
            await task.result()
        assert forgotten.value.code == "task_record_expired"


async def test_a_model_with_threads_is_refused() -> None:
    class InProcess(Plain):
        run_in_process = True

    for model, reason in ((Plain, "process_request of Plain is a plain def"), (InProcess, "has run_in_process")):
        with pytest.raises(hub.testing.VirtualTimeUnavailable, match=reason):
            async with running(model, virtual_time=True):
                raise AssertionError("not reached")


async def test_a_loop_in_virtual_time_needs_models_in_virtual_time() -> None:
    with pytest.raises(hub.ConfigurationError, match="virtual_time=True"):
        async with running(Echo):
            raise AssertionError("not reached")


async def test_the_plugin_runs_models_in_the_time_of_the_loop(hub_client: hub.testing.LocalClient) -> None:
    began = anyio.current_time()
    await hub_client.call(Echo, text("sleep 3600"))
    assert anyio.current_time() - began >= 3600


@pytest.fixture
def hub_models() -> list[type[Echo]]:
    return [Echo]
