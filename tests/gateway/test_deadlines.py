"""Deadlines: a task whose deadline has passed is expired."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import datetime

import anyio
import pytest
import trio.testing

from hub.ports.directory import ModelLimits
from hub.stores import open_store
from hub.stores.options import StoreOptions
from hub.submission.outcomes import EXPIRY_GRACE, RUNNING_EXPIRY_GRACE
from hub.task import Outcome, Task
from hub.types import TaskState
from tests.gateway.clocks import Clock
from tests.gateway.fakes import LOST, FaultyStore
from tests.gateway.fixtures import INSTANCE, LocalGateway, echo_a, open_gateway
from tests.gateway.test_submit import TASKS, problem
from tests.support.backends import ASYNCIO

TIMEOUT = {"Hub-Timeout": "10"}
ALMOST = 0.02
"""Seconds that a test leaves for a timer to run, for the sake of asyncio, whose time is real."""


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> object:
    """Both backends; on trio time is virtual."""
    if request.param == "trio":
        return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}
    return ASYNCIO


@asynccontextmanager
async def timed_stage(limits: ModelLimits = ModelLimits()) -> AsyncGenerator[tuple[LocalGateway, Clock, FaultyStore]]:
    """A gateway and a store on one clock, and a model without instances."""
    clock = Clock()
    with anyio.fail_after(60):
        async with open_store("memory://", StoreOptions(clock=clock)) as memory:
            store = FaultyStore(memory)
            async with open_gateway(store=store, clock=clock) as gateway:
                await gateway.model(limits=limits)
                yield gateway, clock, store


def seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


async def run_first(gateway: LocalGateway) -> Task:
    """An instance takes the task, and is not heard of again."""
    async with gateway.broker.consume(gateway.parts.catalog.served[0].name, prefetch=1) as consumer:
        (delivery,) = await consumer.receive()
        task = Task.decode(delivery.body)
        (start,) = await gateway.store.start([task], INSTANCE, attempts=5)
        assert start.state is TaskState.RUNNING
        consumer.ack([delivery])
    return task


async def test_a_deadline_is_set_when_the_task_is_accepted_and_shown_from_then_on() -> None:
    async with timed_stage() as (gateway, _, _):
        accepted = await gateway.client.post(TASKS, json={}, headers=TIMEOUT)
        shown = await gateway.client.get(accepted.headers["location"])
        for body in (accepted.json(), shown.json()):
            assert seconds(body["deadline"]) - seconds(body["created_at"]) == pytest.approx(10.0)
        task = await run_first(gateway)
        assert task.deadline == pytest.approx(task.created_at + 10.0)


async def test_without_a_timeout_there_is_no_deadline() -> None:
    async with timed_stage() as (gateway, _, _):
        accepted = await gateway.client.post(TASKS, json={})
        assert "deadline" not in accepted.json()
        assert "deadline" not in (await gateway.client.get(accepted.headers["location"])).json()


async def test_the_model_has_a_default_timeout_and_a_limit() -> None:
    async with timed_stage(ModelLimits(default_timeout=5.0, max_timeout=20.0)) as (gateway, _, _):
        body = (await gateway.client.post(TASKS, json={})).json()
        assert seconds(body["deadline"]) - seconds(body["created_at"]) == pytest.approx(5.0)
        refused = await gateway.client.post(TASKS, json={}, headers={"Hub-Timeout": "21"})
        assert problem(refused) == (400, "timeout_too_long")
        assert refused.json()["max_timeout"] == 20.0
        call = await gateway.client.post("/v1/models/ModelA", json={}, headers={"Hub-Timeout": "never"})
        assert problem(call) == (400, "bad_parameter")


async def test_a_task_that_no_instance_received_is_expired_at_the_next_read() -> None:
    async with timed_stage() as (gateway, clock, _):
        task = (await gateway.client.post(TASKS, json={}, headers=TIMEOUT)).headers["location"]
        clock.advance(10.0)
        assert (await gateway.client.get(task)).json()["state"] == "queued"
        clock.advance(EXPIRY_GRACE)
        shown = (await gateway.client.get(task)).json()
        assert (shown["state"], shown["failure"]["code"]) == ("expired", "deadline_exceeded")
        assert problem(await gateway.client.get(f"{task}/result")) == (504, "task_expired")


async def test_a_task_that_has_expired_never_runs() -> None:
    async with timed_stage() as (gateway, clock, _):
        task = (await gateway.client.post(TASKS, json={}, headers=TIMEOUT)).headers["location"]
        clock.advance(10.0 + EXPIRY_GRACE)
        await gateway.client.get(task)
        await gateway.model(answer=echo_a)
        assert (await gateway.client.get(task, params={"wait": 5})).json()["state"] == "expired"
        async with gateway.broker.consume(gateway.parts.catalog.served[0].name, prefetch=1):
            await anyio.wait_all_tasks_blocked()
        assert (await gateway.client.get(task)).json()["attempt"] == 0


@pytest.mark.parametrize("known", [False, True])
async def test_a_wait_ends_when_its_task_expires(known: bool) -> None:
    async with timed_stage() as (gateway, clock, _):
        accepted = await gateway.client.post(TASKS, json={}, headers=TIMEOUT)
        etag = (await gateway.client.get(accepted.headers["location"])).headers["etag"]
        clock.advance(10.0 + EXPIRY_GRACE - ALMOST)
        began = anyio.current_time()
        headers = {"If-None-Match": etag} if known else {}
        reply = await gateway.client.get(accepted.headers["location"], params={"wait": 50}, headers=headers)
        assert reply.json()["state"] == "expired"
        assert anyio.current_time() - began < 5.0


async def test_a_call_ends_when_its_task_expires() -> None:
    async with timed_stage() as (gateway, _, _):
        reply = await gateway.client.post(
            "/v1/models/ModelA", json={}, headers={"Hub-Timeout": "0.01", "Prefer": "wait=50"}
        )
        assert problem(reply) == (504, "task_expired")
        assert reply.json()["failure"]["code"] == "deadline_exceeded"
        assert (await gateway.client.get(reply.headers["location"])).json()["state"] == "expired"


async def test_an_instance_has_time_to_end_its_late_run_itself() -> None:
    async with timed_stage() as (gateway, clock, _):
        location = (await gateway.client.post(TASKS, json={}, headers=TIMEOUT)).headers["location"]
        task = await run_first(gateway)
        clock.advance(10.0 + EXPIRY_GRACE)
        assert (await gateway.client.get(location)).json()["state"] == "running"
        outcome = Outcome(task_id=task.id, state=TaskState.SUCCEEDED, body=b"", attempt=1, finished_at=clock())
        assert await gateway.store.finish([outcome]) == [True]
        clock.advance(RUNNING_EXPIRY_GRACE)
        assert (await gateway.client.get(location)).json()["state"] == "succeeded"


async def test_a_run_without_an_outcome_long_after_its_deadline_is_expired() -> None:
    async with timed_stage() as (gateway, clock, _):
        location = (await gateway.client.post(TASKS, json={}, headers=TIMEOUT)).headers["location"]
        await run_first(gateway)
        clock.advance(10.0 + RUNNING_EXPIRY_GRACE - ALMOST)
        shown = (await gateway.client.get(location, params={"wait": 50})).json()
        assert (shown["state"], shown["attempt"], shown["instance"]) == ("expired", 1, INSTANCE)


async def test_an_outcome_that_comes_first_counts_even_when_the_gateway_is_about_to_expire_the_task() -> None:
    async with timed_stage() as (gateway, clock, store):
        location = (await gateway.client.post(TASKS, json={}, headers=TIMEOUT)).headers["location"]
        task = await run_first(gateway)
        clock.advance(10.0 + RUNNING_EXPIRY_GRACE)
        outcome = Outcome(task_id=task.id, state=TaskState.SUCCEEDED, body=b"", attempt=1, finished_at=clock())
        store.before_finish = lambda: store.store.finish([outcome])
        assert (await gateway.client.get(location)).json()["state"] == "succeeded"


async def test_a_store_that_cannot_store_the_outcome_is_a_503() -> None:
    async with timed_stage() as (gateway, clock, store):
        location = (await gateway.client.post(TASKS, json={}, headers=TIMEOUT)).headers["location"]
        clock.advance(10.0 + EXPIRY_GRACE)
        store.finish_error = LOST
        assert problem(await gateway.client.get(location)) == (503, "connection_lost")


async def test_an_outcome_is_kept_as_long_as_the_client_asked() -> None:
    async with timed_stage() as (gateway, clock, _):
        await gateway.model(answer=echo_a)
        headers = {"Hub-Result-TTL": "100", "Prefer": "wait=5"}
        reply = await gateway.client.post(TASKS, json={}, headers=headers)
        location = reply.headers["location"]
        assert seconds(reply.json()["expires_at"]) == pytest.approx(clock() + 100, abs=5)
        result = await gateway.client.get(f"{location}/result")
        assert seconds(result.headers["hub-expires-at"]) == seconds(reply.json()["expires_at"])
        clock.advance(95)
        assert (await gateway.client.get(location)).status_code == 200
        clock.advance(6)
        assert problem(await gateway.client.get(location)) == (410, "task_record_expired")


async def test_a_lifetime_out_of_range_is_a_400_with_the_range() -> None:
    async with timed_stage() as (gateway, _, _):
        refused = await gateway.client.post(TASKS, json={}, headers={"Hub-Result-TTL": "1"})
        assert problem(refused) == (400, "bad_parameter")
        assert "from 60 to 604800" in refused.json()["detail"]
