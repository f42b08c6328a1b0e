"""A gateway that does not keep up refuses what arrives, before it costs anything; a burst is no reason for that."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import anyio
import pytest
import trio.testing
from anyio import Event, create_task_group, current_time, fail_after, sleep, sleep_forever
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint
from httpx2 import Response

from hub.brokers import open_broker
from hub.gateway.congestion import BURST, FLOOR, WINDOW, Congestion
from tests.gateway.faults import FaultyBroker
from tests.gateway.stage import Stage, open_stage
from tests.gateway.test_submit import TASKS, problem

BUSY_AFTER = 0.5
UNKNOWN = f"/v1/tasks/{'0' * 8}-0000-7000-8000-{'0' * 12}"
PLENTY = FLOOR + BURST
"""Submits at once that a gateway takes which has had nothing to do."""


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> object:
    """Both backends; on trio time is virtual."""
    if request.param == "trio":
        return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}
    return "asyncio", {"debug": True}


@asynccontextmanager
async def held(*, busy_after: float = BUSY_AFTER) -> AsyncGenerator[tuple[Stage, FaultyBroker]]:
    """A gateway whose broker confirms nothing before `broker.stuck` is set."""
    with fail_after(60):
        async with open_broker("memory://") as memory:
            broker = FaultyBroker(memory)
            broker.stuck = Event()
            async with open_stage(broker=broker, busy_after=busy_after, patience=30) as stage:
                await stage.model()
                yield stage, broker


async def submit(stage: Stage, replies: list[Response]) -> None:
    replies.append(await stage.client.post(TASKS, json={"messages": "x"}))


async def metric(stage: Stage, name: str) -> float:
    page = (await stage.client.get("/metrics")).text
    return next(float(line.split()[1]) for line in page.splitlines() if line.startswith(f"{name} "))


async def full(stage: Stage, tg: TaskGroup, replies: list[Response]) -> None:
    """Sends as many submits as the gateway takes, and returns when all of them are under way."""
    for _ in range(PLENTY):
        tg.start_soon(submit, stage, replies)
    while await metric(stage, "hub_gateway_requests_under_way") < PLENTY:
        await checkpoint()


async def test_what_arrives_at_the_limit_is_refused_until_requests_have_ended() -> None:
    async with held() as (stage, broker):
        replies: list[Response] = []
        async with create_task_group() as tg:
            await full(stage, tg, replies)
            for path in (TASKS, "/v1/models/ModelA", "/v1/models/ModelA/batches"):
                refused = await stage.client.post(path, json={"messages": "x"})
                assert problem(refused) == (503, "gateway_busy")
                assert refused.headers["retry-after"] == "1"
                assert refused.headers["cache-control"] == "no-store"
                assert "hub-task" not in refused.headers
            for path in ("/v1/tasks", UNKNOWN):
                assert problem(await stage.client.get(path)) == (503, "gateway_busy")
            assert (await stage.client.head(UNKNOWN)).status_code == 503
            assert await metric(stage, "hub_gateway_busy_refusals_total") == 6
            assert await metric(stage, "hub_gateway_requests_limit") == FLOOR
            assert broker.stuck is not None
            broker.stuck.set()
        assert [reply.status_code for reply in replies] == [202] * PLENTY
        assert (await stage.client.post(TASKS, json={})).status_code == 202
        assert await metric(stage, "hub_gateway_requests_under_way") == 0
        assert await metric(stage, "hub_gateway_oldest_request_seconds") == 0


async def test_other_requests_are_answered_by_a_busy_gateway() -> None:
    async with held() as (stage, _broker):
        async with create_task_group() as tg:
            await full(stage, tg, [])
            assert problem(await stage.client.post(TASKS, json={})) == (503, "gateway_busy")
            for path in ("/health/live", "/v1/models", "/v1/models/ModelA", "/metrics", "/openapi.json"):
                assert (await stage.client.get(path)).status_code == 200
            assert problem(await stage.client.delete(UNKNOWN)) == (404, "unknown_task")
            tg.cancel_scope.cancel("tried")


async def test_pages_of_other_origins_can_read_the_refusal() -> None:
    origin = "https://app.example.com"
    async with open_stage(busy_after=BUSY_AFTER, cors_origins=frozenset({origin}), root_path="/hub") as stage:
        congestion = stage.dispatch.congestion
        for _ in range(PLENTY):
            congestion.refuses()
            congestion.enter()
        refused = await stage.client.get(f"/hub{UNKNOWN}", headers={"Origin": origin})
        assert problem(refused) == (503, "gateway_busy")
        assert refused.headers["access-control-allow-origin"] == origin


async def test_a_broker_that_stalls_for_a_moment_is_waited_for() -> None:
    """Few submits at a time are no load, however long each takes: they have `publish_patience`."""
    async with held() as (stage, broker):
        replies: list[Response] = []
        async with create_task_group() as tg:
            for _ in range(FLOOR):
                tg.start_soon(submit, stage, replies)
                await sleep(BUSY_AFTER / 10)
            assert replies == []
            assert broker.stuck is not None
            broker.stuck.set()
        assert [reply.status_code for reply in replies] == [202] * FLOOR


async def test_a_submit_that_is_given_up_counts_no_longer() -> None:
    async with held() as (stage, broker):
        with anyio.move_on_after(2 * BUSY_AFTER):
            await submit(stage, [])
        assert await metric(stage, "hub_gateway_requests_under_way") == 0
        assert broker.stuck is not None
        broker.stuck.set()
        assert (await stage.client.post(TASKS, json={})).status_code == 202


async def test_what_is_no_work_of_the_gateway_does_not_count() -> None:
    """The wait for an outcome, for a body, and for the lines of a batch, which has a limit of its own."""
    async with held() as (stage, broker):

        async def body() -> AsyncIterator[bytes]:
            yield b'{"messages":'
            begun.set()
            await sleep_forever()

        for path, media_type in ((TASKS, "application/json"), ("/v1/models/ModelA/batches", "application/x-ndjson")):
            begun = Event()
            async with create_task_group() as tg:
                headers = {"Content-Type": media_type}
                tg.start_soon(partial(stage.client.post, path, content=body(), headers=headers))
                await begun.wait()
                assert await metric(stage, "hub_gateway_requests_under_way") == 0
                tg.cancel_scope.cancel("tried")
        assert broker.stuck is not None
        broker.stuck.set()
        for poll in (partial(stage.client.post, "/v1/models/ModelA", json={}), partial(_poll, stage)):
            async with create_task_group() as tg:  # the stage has no instance that would answer
                broker.publishing = Event()
                tg.start_soon(poll)
                await broker.publishing.wait()
                await sleep(BUSY_AFTER)
                assert await metric(stage, "hub_gateway_requests_under_way") == 0
                tg.cancel_scope.cancel("tried")


async def _poll(stage: Stage) -> None:
    task = (await stage.client.post(TASKS, json={})).json()["id"]
    await stage.client.get(f"/v1/tasks/{task}", headers={"Prefer": "wait=60"})


async def test_the_limit_is_what_ends_in_the_time_that_a_request_may_take() -> None:
    congestion, began, ended = Congestion(BUSY_AFTER), current_time(), 0
    assert congestion.statistics().limit == FLOOR
    while (seconds := current_time() - began) < WINDOW:
        for _ in range(FLOOR):
            with congestion.step():
                ended += 1
        await sleep(WINDOW / 10)
    assert congestion.statistics().limit == pytest.approx(ended / seconds * BUSY_AFTER, rel=0.1)


async def test_at_the_limit_one_is_let_in_for_each_that_ends() -> None:
    congestion = Congestion(BUSY_AFTER)
    marks = _fill(congestion)
    assert congestion.refuses()
    for mark in marks[: BURST + 1]:
        congestion.end(mark)
    assert not congestion.refuses()
    congestion.enter()
    assert congestion.refuses()


async def test_a_burst_may_exceed_the_limit_again_when_the_gateway_had_nothing_to_do() -> None:
    congestion = Congestion(BUSY_AFTER)
    marks = _fill(congestion)
    for mark in marks:
        congestion.leave(mark)
    marks = [_enter(congestion) for _ in range(FLOOR)]
    assert congestion.refuses()
    for mark in marks:
        congestion.leave(mark)
    await sleep(2 * BUSY_AFTER)
    assert len(_fill(congestion)) == PLENTY


async def test_a_gateway_without_the_bound_refuses_nothing() -> None:
    congestion = Congestion(0)
    for _ in range(2 * PLENTY):
        _enter(congestion)
    assert congestion.statistics().refused == 0


def _enter(congestion: Congestion) -> object:
    assert not congestion.refuses()
    return congestion.enter()


def _fill(congestion: Congestion) -> list[object]:
    """Lets in what is not refused."""
    marks: list[object] = []
    while not congestion.refuses():
        marks.append(congestion.enter())
    return marks
