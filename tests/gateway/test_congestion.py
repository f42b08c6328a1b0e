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
from tests.gateway.fixtures import LocalGateway, open_gateway
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
async def held(*, busy_after: float = LIMIT) -> AsyncGenerator[tuple[LocalGateway, FaultyBroker]]:
    """A gateway whose broker confirms nothing before `broker.stuck` is set."""
    with fail_after(60):
        async with open_broker("memory://") as memory:
            broker = FaultyBroker(memory)
            broker.stuck = Event()
            async with open_gateway(broker=broker, busy_after=busy_after, publish_timeout=15) as gateway:
                await gateway.model()
                yield gateway, broker


async def submit(gateway: LocalGateway, replies: list[Response]) -> None:
    replies.append(await gateway.client.post(TASKS, json={"messages": "x"}))


async def metric(gateway: LocalGateway, name: str) -> float:
    page = (await gateway.client.get("/metrics")).text
    return next(float(line.split()[1]) for line in page.splitlines() if line.startswith(f"{name} "))


async def test_requests_are_refused_while_the_oldest_submit_is_too_old_and_accepted_afterwards() -> None:
    async with held() as (gateway, broker):
        replies: list[Response] = []
        async with create_task_group() as tg:
            tg.start_soon(submit, gateway, replies)
            await broker.publishing.wait()
            await sleep(2 * LIMIT)
            for path in (TASKS, "/v1/models/ModelA", "/v1/models/ModelA/batches"):
                refused = await gateway.client.post(path, json={"messages": "x"})
                assert problem(refused) == (503, "gateway_busy")
                assert refused.headers["retry-after"] == "1"
                assert "hub-task" not in refused.headers
            for path in ("/v1/tasks", f"/v1/tasks/{'0' * 8}-0000-7000-8000-{'0' * 12}"):
                assert problem(await gateway.client.get(path)) == (503, "gateway_busy")
            assert await metric(gateway, "hub_gateway_busy_refusals_total") == 5
            assert await metric(gateway, "hub_gateway_requests_under_way") == 1
            assert await metric(gateway, "hub_gateway_oldest_request_seconds") > LIMIT
            assert broker.stuck is not None
            broker.stuck.set()
        assert [reply.status_code for reply in replies] == [202]
        assert (await gateway.client.post(TASKS, json={})).status_code == 202
        assert await metric(gateway, "hub_gateway_requests_under_way") == 0
        assert await metric(gateway, "hub_gateway_oldest_request_seconds") == 0


async def test_other_requests_are_answered_by_a_busy_gateway() -> None:
    async with held() as (gateway, broker):
        async with create_task_group() as tg:
            tg.start_soon(submit, gateway, [])
            await broker.publishing.wait()
            await sleep(2 * LIMIT)
            for path in ("/health/live", "/v1/models", "/v1/models/ModelA", "/metrics", "/openapi.json"):
                assert (await gateway.client.get(path)).status_code == 200
            unknown = f"/v1/tasks/{'0' * 8}-0000-7000-8000-{'0' * 12}"
            assert problem(await gateway.client.delete(unknown)) == (404, "unknown_task")
            tg.cancel_scope.cancel("tried")


async def test_a_burst_of_any_size_is_accepted() -> None:
    async with held(busy_after=30) as (gateway, broker):
        replies: list[Response] = []
        async with create_task_group() as tg:
            for _ in range(BURST):
                tg.start_soon(submit, gateway, replies)
            await broker.publishing.wait()
            assert broker.stuck is not None
            broker.stuck.set()
        assert {reply.status_code for reply in replies} == {202}
        assert len(replies) == BURST


async def test_a_cancelled_submit_counts_no_longer() -> None:
    async with held() as (gateway, broker):
        with anyio.move_on_after(2 * LIMIT):
            await submit(gateway, [])
        assert await metric(gateway, "hub_gateway_requests_under_way") == 0
        assert broker.stuck is not None
        broker.stuck.set()
        assert (await gateway.client.post(TASKS, json={})).status_code == 202


async def test_a_wait_for_an_outcome_does_not_make_the_gateway_busy() -> None:
    async with held() as (gateway, broker):
        assert broker.stuck is not None
        broker.stuck.set()
        async with create_task_group() as tg:  # the gateway has no instance that would answer
            tg.start_soon(partial(gateway.client.post, "/v1/models/ModelA", json={}))
            await broker.publishing.wait()
            await sleep(2 * LIMIT)
            assert (await gateway.client.post(TASKS, json={})).status_code == 202
            tg.cancel_scope.cancel("tried")


async def test_a_gateway_without_the_bound_refuses_nothing() -> None:
    congestion = Congestion(0)
    with congestion.step():
        await sleep(2 * LIMIT)
        assert congestion.refusal() is None
    assert congestion.statistics().refused == 0
