"""The overview as a stream of events."""

from __future__ import annotations

from contextlib import AsyncExitStack

import anyio
import pytest

from hub.gateway.dashboard.sampler import PERIOD, OverviewSampler
from hub.gateway.dashboard.stats import CounterSample
from hub.gateway.routes.events import HEARTBEAT, OverviewEvents
from hub.histogram import HistogramSnapshot
from hub.types import ModelName, TaskState
from tests.gateway.fixtures import CONTRACT_A, CONTRACT_DIGITS, DIGITS, MODEL_A, LocalGateway, open_gateway
from tests.gateway.test_events import Event, Events, events
from tests.gateway.test_submit import problem
from tests.gateway.wire import serving

PATH = "/v1/overview/events"


async def expect(stream: Events, name: str) -> Event:
    event = await stream.next()
    assert event is not None
    assert event.name == name
    return event


def watch(gateway: LocalGateway) -> None:
    gateway.tg.start_soon(gateway.parts.sampler.run, name="hub.test observer")


async def test_a_stream_begins_with_the_history_and_the_newest_sample(gateway: LocalGateway) -> None:
    await gateway.model(live=2)
    watch(gateway)
    async with serving(gateway) as url, events(url, PATH) as stream:
        await gateway.parts.sampler.wait_for_newer(0)
        history = await expect(stream, "history")
        sample = await expect(stream, "sample")
    assert history.data["period"] == PERIOD
    assert len(history.data["models"]) in (0, 1)  # the stream may have come before the first sample
    (model,) = sample.data["models"]
    assert (model["name"], model["live"], sample.id) == ("ModelA", 2, "1")
    assert stream.retry == 1000


async def test_a_later_client_gets_the_history(gateway: LocalGateway) -> None:
    await gateway.model()
    watch(gateway)
    await gateway.parts.sampler.wait_for_newer(0)
    async with serving(gateway) as url, events(url, PATH) as stream:
        history = await expect(stream, "history")
    (model,) = history.data["models"]
    assert (model["name"], model["live"]) == ("ModelA", [1] * len(history.data["times"]))


async def test_a_page_of_the_stream_gets_the_history_of_models_that_come_into_it(gateway: LocalGateway) -> None:
    for name in ("B", "C", "D"):
        await gateway.model(ModelName(name))
    watch(gateway)
    await gateway.parts.sampler.wait_for_newer(0)
    async with serving(gateway) as url, events(url, f"{PATH}?limit=2") as stream:
        first = await expect(stream, "history")
        sample = await expect(stream, "sample")
        await gateway.model(ModelName("A"))
        event = await stream.next()
        while event is not None and event.name == "sample":  # of before the change
            event = await stream.next()
        later = await expect(stream, "sample")
    assert event is not None
    assert event.name == "history"
    for history, own, names in ((first, sample, ["B", "C"]), (event, later, ["A", "B"])):
        assert [model["name"] for model in history.data["models"]] == names
        assert [model["name"] for model in own.data["models"]] == names
    assert later.data["totals"]["known"] == later.data["matching"] == 4


@pytest.mark.parametrize("apart", [pytest.param(0.1, id="right after another"), pytest.param(0.0, id="in the silence")])
async def test_a_change_of_the_list_is_a_sample_at_once(
    gateway: LocalGateway, monkeypatch: pytest.MonkeyPatch, apart: float
) -> None:
    monkeypatch.setattr("hub.gateway.dashboard.sampler.PERIOD", 3600)
    monkeypatch.setattr("hub.gateway.dashboard.sampler.MIN_INTERVAL", apart)
    await gateway.list_model(MODEL_A, CONTRACT_A, live=1)
    watch(gateway)
    async with serving(gateway) as url, events(url, PATH) as stream:
        await expect(stream, "history")
        await expect(stream, "sample")
        if not apart:
            await anyio.wait_all_tasks_blocked()
        await gateway.list_model(DIGITS, CONTRACT_DIGITS, live=1)
        while len((await expect(stream, "sample")).data["models"]) < 2:
            pass


async def test_samples_have_the_throughput_of_the_registry(gateway: LocalGateway) -> None:
    def reading(at: float, count: int) -> CounterSample:
        times = HistogramSnapshot(bounds=(1.0,), counts=(count, 0))
        return CounterSample(at=at, in_flight=4, outcomes={TaskState.FAILED: count}, queue_time=times, run_time=times)

    await gateway.model()
    overview = (await gateway.client.get("/v1/overview")).json()
    assert (overview["figures"], overview["models"][0]["work"]) == (False, None)
    for at in (0, 10):
        gateway.parts.stats.update({MODEL_A: reading(at, at)}, {})
    overview = (await gateway.client.get("/v1/overview")).json()
    assert overview["figures"]
    assert overview["models"][0]["work"] == {
        "in_flight": 4,
        "finished_per_second": 1.0,
        "failed_per_second": 1.0,
        "failed": 10,
        "run": {"p50": 0.5, "p95": 0.95},
        "wait": {"p50": 0.5, "p95": 0.95},
    }
    gateway.parts.stats.mark_stale("out of reach")
    assert (await gateway.client.get("/v1/overview")).json()["models"][0]["work"] is None


async def test_a_slow_client_gets_the_newest_sample_and_no_backlog(gateway: LocalGateway) -> None:
    watch(gateway)
    await gateway.parts.sampler.wait_for_newer(0)
    written: list[bytes] = []
    free = anyio.Event()

    async def write(chunk: bytes) -> None:
        written.append(chunk)
        if chunk.startswith(b"event: sample"):
            await free.wait()

    async with anyio.create_task_group() as tg:
        sending, body = anyio.create_memory_object_stream[bytes](0)
        async with sending, body:
            tg.start_soon(OverviewEvents(gateway.parts.sampler, gateway.parts.polls).write, body, write)
            names = [ModelName(f"Model{number}") for number in range(3)]
            for name in names:
                await gateway.list_model(name, CONTRACT_A, live=1)
                number = gateway.parts.sampler.number
                await gateway.parts.sampler.wait_for_newer(number)
            free.set()
            while sum(chunk.startswith(b"event: sample") for chunk in written) < 2:
                await anyio.lowlevel.checkpoint()
            await anyio.wait_all_tasks_blocked()
            tg.cancel_scope.cancel("seen")
    samples = [chunk for chunk in written if chunk.startswith(b"event: sample")]
    assert b"Model2" in samples[1]
    assert len(samples) == len(set(samples)) <= 3  # none twice; a regular one may have come meanwhile


async def test_a_draining_server_ends_its_streams_at_once(gateway: LocalGateway) -> None:
    watch(gateway)
    async with AsyncExitStack() as clients:
        async with serving(gateway, grace=20) as url:
            stream = await clients.enter_async_context(events(url, PATH))
            await expect(stream, "history")
            await expect(stream, "sample")
            began = anyio.current_time()
        assert anyio.current_time() - began < 10
        while await stream.next() is not None:
            pass


async def test_a_disconnect_ends_the_stream(gateway: LocalGateway) -> None:
    watch(gateway)
    async with serving(gateway) as url:
        async with events(url, PATH) as stream:
            await expect(stream, "history")
            while not gateway.parts.polls.waiting:
                await anyio.lowlevel.checkpoint()
        while gateway.parts.polls.waiting:
            await anyio.lowlevel.checkpoint()


@pytest.mark.parametrize("path", [PATH, "/v1/instances", "/v1/overview"])
async def test_the_routes_of_the_dashboard_require_a_key(path: str) -> None:
    with anyio.fail_after(10):
        async with open_gateway(api_keys="secret") as gateway:
            assert problem(await gateway.client.get(path)) == (401, "unauthorized")


async def test_heartbeats_are_more_frequent_than_timeouts_of_proxies() -> None:
    written: list[bytes] = []

    async def write(chunk: bytes) -> None:
        await anyio.lowlevel.checkpoint()
        written.append(chunk)

    async with open_gateway() as gateway:
        silent = OverviewSampler(gateway.parts.catalog, gateway.parts.sampler.overview)  # it does not run
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("hub.gateway.routes.events.HEARTBEAT", 0.01)
            with anyio.fail_after(10):
                async with anyio.create_task_group() as tg:
                    sending, body = anyio.create_memory_object_stream[bytes](0)
                    async with sending, body:
                        tg.start_soon(OverviewEvents(silent, gateway.parts.polls).write, body, write)
                        while b": no change\n\n" not in written:
                            await anyio.lowlevel.checkpoint()
                        tg.cancel_scope.cancel("seen")
    assert HEARTBEAT < 30
