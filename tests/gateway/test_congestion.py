"""A gateway that does not keep up refuses what arrives, before it costs anything; a burst is no reason for that."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial

import anyio
import pytest
import trio.testing
from anyio import Event, create_task_group, fail_after, sleep
from httpx2 import Response

from hub.brokers import open_broker
from hub.gateway.tasks.congestion import Congestion
from tests.gateway.faults import FaultyBroker
from tests.gateway.stage import Stage, open_stage
from tests.gateway.test_submit import TASKS, problem

LIMIT = 0.1
BURST = 1_000


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> object:
    """Both backends; on trio time is virtual."""
    if request.param == "trio":
        return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}
    return "asyncio", {"debug": True}


@asynccontextmanager
async def held(*, busy_after: float = LIMIT) -> AsyncGenerator[tuple[Stage, FaultyBroker]]:
    """A gateway whose broker confirms nothing before `broker.stuck` is set."""
    with fail_after(60):
        async with open_broker("memory://") as memory:
            broker = FaultyBroker(memory)
            broker.stuck = Event()
            async with open_stage(broker=broker, busy_after=busy_after, step_timeout=30) as stage:
                await stage.model()
                yield stage, broker


async def submit(stage: Stage, replies: list[Response]) -> None:
    replies.append(await stage.client.post(TASKS, json={"messages": "x"}))


async def metric(stage: Stage, name: str) -> float:
    page = (await stage.client.get("/metrics")).text
    return next(float(line.split()[1]) for line in page.splitlines() if line.startswith(f"{name} "))


async def test_what_arrives_is_refused_while_the_oldest_submit_is_too_old_and_taken_afterwards() -> None:
    async with held() as (stage, broker):
        replies: list[Response] = []
        async with create_task_group() as tg:
            tg.start_soon(submit, stage, replies)
            await broker.publishing.wait()
            await sleep(2 * LIMIT)
            for path in (TASKS, "/v1/models/ModelA", "/v1/models/ModelA/batches"):
                refused = await stage.client.post(path, json={"messages": "x"})
                assert problem(refused) == (503, "gateway_busy")
                assert refused.headers["retry-after"] == "1"
                assert "hub-task" not in refused.headers
            for path in ("/v1/tasks", f"/v1/tasks/{'0' * 8}-0000-7000-8000-{'0' * 12}"):
                assert problem(await stage.client.get(path)) == (503, "gateway_busy")
            assert await metric(stage, "hub_gateway_busy_refusals_total") == 5
            assert await metric(stage, "hub_gateway_requests_under_way") == 1
            assert await metric(stage, "hub_gateway_oldest_request_seconds") > LIMIT
            assert broker.stuck is not None
            broker.stuck.set()
        assert [reply.status_code for reply in replies] == [202]
        assert (await stage.client.post(TASKS, json={})).status_code == 202
        assert await metric(stage, "hub_gateway_requests_under_way") == 0
        assert await metric(stage, "hub_gateway_oldest_request_seconds") == 0


async def test_other_requests_are_answered_by_a_busy_gateway() -> None:
    async with held() as (stage, broker):
        async with create_task_group() as tg:
            tg.start_soon(submit, stage, [])
            await broker.publishing.wait()
            await sleep(2 * LIMIT)
            for path in ("/health/live", "/v1/models", "/v1/models/ModelA", "/metrics", "/openapi.json"):
                assert (await stage.client.get(path)).status_code == 200
            unknown = f"/v1/tasks/{'0' * 8}-0000-7000-8000-{'0' * 12}"
            assert problem(await stage.client.delete(unknown)) == (404, "unknown_task")
            tg.cancel_scope.cancel("tried")


async def test_a_burst_is_taken_however_large_it_is() -> None:
    async with held(busy_after=30) as (stage, broker):
        replies: list[Response] = []
        async with create_task_group() as tg:
            for _ in range(BURST):
                tg.start_soon(submit, stage, replies)
            await broker.publishing.wait()
            assert broker.stuck is not None
            broker.stuck.set()
        assert {reply.status_code for reply in replies} == {202}
        assert len(replies) == BURST


async def test_a_submit_that_is_given_up_counts_no_longer() -> None:
    async with held() as (stage, broker):
        with anyio.move_on_after(2 * LIMIT):
            await submit(stage, [])
        assert await metric(stage, "hub_gateway_requests_under_way") == 0
        assert broker.stuck is not None
        broker.stuck.set()
        assert (await stage.client.post(TASKS, json={})).status_code == 202


async def test_a_caller_that_waits_for_its_outcome_does_not_make_the_gateway_busy() -> None:
    async with held() as (stage, broker):
        assert broker.stuck is not None
        broker.stuck.set()
        async with create_task_group() as tg:  # the stage has no instance that would answer
            tg.start_soon(partial(stage.client.post, "/v1/models/ModelA", json={}))
            await broker.publishing.wait()
            await sleep(2 * LIMIT)
            assert (await stage.client.post(TASKS, json={})).status_code == 202
            tg.cancel_scope.cancel("tried")


async def test_a_gateway_without_the_bound_refuses_nothing() -> None:
    congestion = Congestion(0)
    with congestion.step():
        await sleep(2 * LIMIT)
        assert congestion.refusal() is None
    assert congestion.statistics().refused == 0
