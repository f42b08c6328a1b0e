"""Congestion: a gateway that does not keep up refuses requests at once; a burst alone is no reason."""

from __future__ import annotations

import gc
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
from hub.errors import ConnectionLost
from hub.gateway.tasks.congestion import BURST, FLOOR, WINDOW, Congestion
from hub.http.client import open_client
from tests.gateway.fakes import FaultyBroker
from tests.gateway.fixtures import LocalGateway, echo_a, open_gateway
from tests.gateway.test_submit import TASKS, problem
from tests.gateway.wire import serving
from tests.support.backends import ASYNCIO

BUSY_AFTER = 0.5
UNKNOWN = f"/v1/tasks/{'0' * 8}-0000-7000-8000-{'0' * 12}"
CALLS = 50
PLENTY = FLOOR + BURST
"""Submits at once that a gateway takes which has had nothing to do."""


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> object:
    """Both backends; on trio time is virtual."""
    if request.param == "trio":
        return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}
    return ASYNCIO


@asynccontextmanager
async def held(*, busy_after: float = BUSY_AFTER) -> AsyncGenerator[tuple[LocalGateway, FaultyBroker]]:
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


async def full(gateway: LocalGateway, tg: TaskGroup, replies: list[Response]) -> None:
    """Sends as many submits as the gateway takes, and returns when all of them are under way."""
    for _ in range(PLENTY):
        tg.start_soon(submit, gateway, replies)
    while await metric(gateway, "hub_gateway_requests_under_way") < PLENTY:
        await checkpoint()


async def test_requests_at_the_limit_are_refused_until_others_have_ended() -> None:
    async with held() as (gateway, broker):
        replies: list[Response] = []
        async with create_task_group() as tg:
            await full(gateway, tg, replies)
            for path in (TASKS, "/v1/models/ModelA", "/v1/models/ModelA/batches"):
                refused = await gateway.client.post(path, json={"messages": "x"})
                assert problem(refused) == (503, "gateway_busy")
                assert refused.headers["retry-after"] == "1"
                assert refused.headers["cache-control"] == "no-store"
                assert "hub-task" not in refused.headers
            for path in ("/v1/tasks", UNKNOWN):
                assert problem(await gateway.client.get(path)) == (503, "gateway_busy")
            assert (await gateway.client.head(UNKNOWN)).status_code == 503
            assert await metric(gateway, "hub_gateway_busy_refusals_total") == 6
            assert await metric(gateway, "hub_gateway_requests_limit") == FLOOR
            assert broker.stuck is not None
            broker.stuck.set()
        assert [reply.status_code for reply in replies] == [202] * PLENTY
        assert (await gateway.client.post(TASKS, json={})).status_code == 202
        assert await metric(gateway, "hub_gateway_requests_under_way") == 0
        assert await metric(gateway, "hub_gateway_oldest_request_seconds") == 0


async def test_other_requests_are_answered_by_a_busy_gateway() -> None:
    async with held() as (gateway, _broker):
        async with create_task_group() as tg:
            await full(gateway, tg, [])
            assert problem(await gateway.client.post(TASKS, json={})) == (503, "gateway_busy")
            for path in ("/health/live", "/v1/models", "/v1/models/ModelA", "/metrics", "/openapi.json"):
                assert (await gateway.client.get(path)).status_code == 200
            assert problem(await gateway.client.delete(UNKNOWN)) == (404, "unknown_task")
            tg.cancel_scope.cancel("tried")


async def test_pages_of_other_origins_can_read_the_refusal() -> None:
    origin = "https://app.example.com"
    async with open_gateway(busy_after=BUSY_AFTER, cors_origins=origin, root_path="/hub") as gateway:
        congestion = gateway.parts.tasks.congestion
        for _ in range(PLENTY):
            congestion.refuses()
            congestion.enter()
        refused = await gateway.client.get(f"/hub{UNKNOWN}", headers={"Origin": origin})
        assert problem(refused) == (503, "gateway_busy")
        assert refused.headers["access-control-allow-origin"] == origin
        plain = await gateway.client.get(f"/hub{UNKNOWN}")
        assert problem(plain) == (503, "gateway_busy")
        assert "access-control-allow-origin" not in plain.headers


async def test_a_short_stall_of_the_broker_refuses_nothing() -> None:
    """Few submits at a time are no load, however long each takes: they have `publish_patience`."""
    async with held() as (gateway, broker):
        replies: list[Response] = []
        async with create_task_group() as tg:
            for _ in range(FLOOR):
                tg.start_soon(submit, gateway, replies)
                await sleep(BUSY_AFTER / 10)
            assert replies == []
            assert broker.stuck is not None
            broker.stuck.set()
        assert [reply.status_code for reply in replies] == [202] * FLOOR


async def test_a_cancelled_submit_counts_no_longer() -> None:
    async with held() as (gateway, broker):
        with anyio.move_on_after(2 * BUSY_AFTER):
            await submit(gateway, [])
        assert await metric(gateway, "hub_gateway_requests_under_way") == 0
        assert broker.stuck is not None
        broker.stuck.set()
        assert (await gateway.client.post(TASKS, json={})).status_code == 202


async def test_waits_and_bodies_do_not_count_as_under_way() -> None:
    """The wait for an outcome, for a body, and for the lines of a batch, which has a limit of its own."""
    async with held() as (gateway, broker):

        async def body() -> AsyncIterator[bytes]:
            yield b'{"messages":'
            begun.set()
            await sleep_forever()

        for path, media_type in ((TASKS, "application/json"), ("/v1/models/ModelA/batches", "application/x-ndjson")):
            begun = Event()
            async with create_task_group() as tg:
                headers = {"Content-Type": media_type}
                tg.start_soon(partial(gateway.client.post, path, content=body(), headers=headers))
                await begun.wait()
                assert await metric(gateway, "hub_gateway_requests_under_way") == 0
                tg.cancel_scope.cancel("tried")
        assert broker.stuck is not None
        broker.stuck.set()
        for poll in (partial(gateway.client.post, "/v1/models/ModelA", json={}), partial(_poll, gateway)):
            async with create_task_group() as tg:  # the gateway has no instance that would answer
                broker.publishing = Event()
                tg.start_soon(poll)
                await broker.publishing.wait()
                await sleep(BUSY_AFTER)
                assert await metric(gateway, "hub_gateway_requests_under_way") == 0
                tg.cancel_scope.cancel("tried")


async def _poll(gateway: LocalGateway) -> None:
    task = (await gateway.client.post(TASKS, json={})).json()["id"]
    await gateway.client.get(f"/v1/tasks/{task}", headers={"Prefer": "wait=60"})


async def test_the_limit_is_the_number_that_ends_within_busy_after() -> None:
    congestion, began, ended = Congestion(BUSY_AFTER), current_time(), 0
    assert congestion.statistics().limit == FLOOR
    while (seconds := current_time() - began) < WINDOW:
        for _ in range(FLOOR):
            with congestion.step():
                ended += 1
        await sleep(WINDOW / 10)
    assert congestion.statistics().limit == pytest.approx(ended / seconds * BUSY_AFTER, rel=0.1)


async def test_requests_that_fail_do_not_raise_the_limit() -> None:
    """They may end sooner than those that succeed: their rate says nothing about what the gateway can do."""
    congestion, began = Congestion(BUSY_AFTER), current_time()
    while current_time() - began < WINDOW:
        for _ in range(10 * FLOOR):
            with pytest.raises(ConnectionLost), congestion.step():
                raise ConnectionLost("the broker", "tried")
        await sleep(WINDOW / 10)
    assert congestion.statistics().limit == FLOOR


async def test_calls_leave_no_reference_cycles() -> None:
    """Those of one round of a busy event loop would make the garbage collector search the whole heap."""
    async with open_gateway() as gateway, serving(gateway) as url, open_client() as client:
        await gateway.model(answer=echo_a)

        async def garbage() -> int:
            """Objects of `CALLS` calls that only the collector could free."""
            gc.collect()
            gc.disable()
            try:
                for _ in range(CALLS):
                    assert (await client.post(f"{url}/v1/models/ModelA", json={})).status_code == 200
                return gc.collect()
            finally:
                gc.enable()

        await garbage()
        assert await garbage() < CALLS


async def test_at_the_limit_one_is_accepted_for_each_that_ends() -> None:
    congestion = Congestion(BUSY_AFTER)
    marks = _fill(congestion)
    assert congestion.refuses()
    for mark in marks[: BURST + 1]:
        congestion.end(mark)
    assert not congestion.refuses()
    congestion.enter()
    assert congestion.refuses()


async def test_a_burst_may_exceed_the_limit_again_after_an_idle_time() -> None:
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
