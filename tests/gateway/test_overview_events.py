"""The overview as a stream of events."""

from __future__ import annotations

from contextlib import AsyncExitStack

import anyio
import pytest

from hub.gateway.dashboard.sampler import OverviewSampler
from hub.gateway.dashboard.throughput import CounterSample
from hub.gateway.dashboard.timeseries import PERIOD
from hub.gateway.routes.overview_events import HEARTBEAT, OverviewEvents
from hub.histogram import HistogramSnapshot
from hub.types import ModelName, TaskState
from tests.gateway.stage import CONTRACT_A, CONTRACT_DIGITS, DIGITS, MODEL_A, Stage, open_stage
from tests.gateway.test_events import Event, Events, events
from tests.gateway.test_submit import problem
from tests.gateway.wire import serving

PATH = "/v1/overview/events"


async def expect(stream: Events, name: str) -> Event:
    event = await stream.next()
    assert event is not None
    assert event.name == name
    return event


def watch(stage: Stage) -> None:
    stage.tg.start_soon(stage.observer.watch, name="hub.test observer")


async def test_a_stream_begins_with_the_history_and_the_newest_sample(stage: Stage) -> None:
    await stage.model(live=2)
    watch(stage)
    async with serving(stage) as url, events(url, PATH) as stream:
        await stage.observer.newer_than(0)
        history = await expect(stream, "history")
        sample = await expect(stream, "sample")
    assert history.data["period"] == PERIOD
    assert len(history.data["models"]) in (0, 1)  # the stream may have come before the first sample
    (model,) = sample.data["models"]
    assert (model["name"], model["live"], sample.id) == ("ModelA", 2, "1")
    assert stream.retry == 1000


async def test_a_page_that_comes_later_sees_what_was_before(stage: Stage) -> None:
    await stage.model()
    watch(stage)
    await stage.observer.newer_than(0)
    async with serving(stage) as url, events(url, PATH) as stream:
        history = await expect(stream, "history")
    (model,) = history.data["models"]
    assert (model["name"], model["live"]) == ("ModelA", [1] * len(history.data["times"]))


@pytest.mark.parametrize("apart", [pytest.param(0.1, id="right after another"), pytest.param(0.0, id="in the silence")])
async def test_a_change_of_the_list_is_a_sample_at_once(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, apart: float
) -> None:
    monkeypatch.setattr("hub.gateway.dashboard.sampler.PERIOD", 3600)
    monkeypatch.setattr("hub.gateway.dashboard.sampler.APART", apart)
    await stage.tell(MODEL_A, CONTRACT_A, live=1)
    watch(stage)
    async with serving(stage) as url, events(url, PATH) as stream:
        await expect(stream, "history")
        await expect(stream, "sample")
        if not apart:
            await anyio.wait_all_tasks_blocked()
        await stage.tell(DIGITS, CONTRACT_DIGITS, live=1)
        while len((await expect(stream, "sample")).data["models"]) < 2:
            pass


async def test_samples_say_what_the_registry_says_of_the_work(stage: Stage) -> None:
    def reading(at: float, count: int) -> CounterSample:
        times = HistogramSnapshot(bounds=(1.0,), counts=(count, 0))
        return CounterSample(at=at, in_flight=4, outcomes={TaskState.FAILED: count}, waited=times, ran=times)

    await stage.model()
    overview = (await stage.client.get("/v1/overview")).json()
    assert (overview["figures"], overview["models"][0]["work"]) == (False, None)
    for at in (0, 10):
        stage.figures.take({MODEL_A: reading(at, at)}, {})
    overview = (await stage.client.get("/v1/overview")).json()
    assert overview["figures"]
    assert overview["models"][0]["work"] == {
        "in_flight": 4,
        "finished_per_second": 1.0,
        "failed_per_second": 1.0,
        "failed": 10,
        "run": {"p50": 0.5, "p95": 0.95},
        "wait": {"p50": 0.5, "p95": 0.95},
    }
    stage.figures.miss("out of reach")
    assert (await stage.client.get("/v1/overview")).json()["models"][0]["work"] is None


async def test_who_reads_slowly_gets_the_newest_and_nothing_piles_up(stage: Stage) -> None:
    watch(stage)
    await stage.observer.newer_than(0)
    written: list[bytes] = []
    free = anyio.Event()

    async def write(chunk: bytes) -> None:
        written.append(chunk)
        if chunk.startswith(b"event: sample"):
            await free.wait()

    async with anyio.create_task_group() as tg:
        sending, body = anyio.create_memory_object_stream[bytes](0)
        async with sending, body:
            tg.start_soon(OverviewEvents(stage.observer, stage.polls), body, write)
            names = [ModelName(f"Model{number}") for number in range(3)]
            for name in names:
                await stage.tell(name, CONTRACT_A, live=1)
                number = stage.observer.number
                await stage.observer.newer_than(number)
            free.set()
            while sum(chunk.startswith(b"event: sample") for chunk in written) < 2:
                await anyio.lowlevel.checkpoint()
            await anyio.wait_all_tasks_blocked()
            tg.cancel_scope.cancel("seen")
    samples = [chunk for chunk in written if chunk.startswith(b"event: sample")]
    assert b"Model2" in samples[1]
    assert len(samples) == len(set(samples)) <= 3  # none twice; a regular one may have come meanwhile


async def test_a_server_that_drains_ends_its_streams_at_once(stage: Stage) -> None:
    watch(stage)
    async with AsyncExitStack() as clients:
        async with serving(stage, grace=20) as url:
            stream = await clients.enter_async_context(events(url, PATH))
            await expect(stream, "history")
            await expect(stream, "sample")
            began = anyio.current_time()
        assert anyio.current_time() - began < 10
        while await stream.next() is not None:
            pass


async def test_a_client_that_hangs_up_leaves_nothing_behind(stage: Stage) -> None:
    watch(stage)
    async with serving(stage) as url:
        async with events(url, PATH) as stream:
            await expect(stream, "history")
            while not stage.polls.held:
                await anyio.lowlevel.checkpoint()
        while stage.polls.held:
            await anyio.lowlevel.checkpoint()


@pytest.mark.parametrize("path", [PATH, "/v1/instances", "/v1/overview"])
async def test_what_the_dashboard_reads_needs_the_key_of_a_client(path: str) -> None:
    with anyio.fail_after(10):
        async with open_stage(keys=("secret",)) as stage:
            assert problem(await stage.client.get(path)) == (401, "unauthorized")


async def test_silence_is_shorter_than_what_proxies_take_for_a_dead_connection() -> None:
    written: list[bytes] = []

    async def write(chunk: bytes) -> None:
        await anyio.lowlevel.checkpoint()
        written.append(chunk)

    async with open_stage() as stage:
        silent = OverviewSampler(stage.catalog, stage.observer.overview)  # nobody takes samples
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("hub.gateway.routes.overview_events.HEARTBEAT", 0.01)
            async with anyio.create_task_group() as tg:
                sending, body = anyio.create_memory_object_stream[bytes](0)
                async with sending, body:
                    tg.start_soon(OverviewEvents(silent, stage.polls), body, write)
                    while b": no news\n\n" not in written:
                        await anyio.lowlevel.checkpoint()
                    tg.cancel_scope.cancel("seen")
    assert HEARTBEAT < 30
