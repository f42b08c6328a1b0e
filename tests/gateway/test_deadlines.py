"""A task is late when its deadline has passed, whoever notices."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import datetime

import anyio
import pytest
import trio.testing

from hub.gateway.tasks.outcomes import GRACE, RUNNING_GRACE
from hub.ports.directory import ModelLimits
from hub.stores import open_store
from hub.stores.options import StoreOptions
from hub.task import Outcome, Task
from hub.types import TaskState
from tests.gateway.clocks import Clock
from tests.gateway.faults import LOST, FaultyStore
from tests.gateway.stage import INSTANCE, Stage, echo_a, open_stage
from tests.gateway.test_submit import TASKS, problem

TIMEOUT = {"Hub-Timeout": "10"}
ALMOST = 0.02
"""Seconds that a test leaves for a timer to run, for the sake of asyncio, whose time is real."""


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> object:
    """Both backends; on trio time is virtual."""
    if request.param == "trio":
        return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}
    return "asyncio", {"debug": True}


@asynccontextmanager
async def timed_stage(limits: ModelLimits = ModelLimits()) -> AsyncGenerator[tuple[Stage, Clock, FaultyStore]]:
    """A gateway and a store on one clock, and a model that nobody runs."""
    clock = Clock()
    with anyio.fail_after(60):
        async with open_store("memory://", StoreOptions(clock=clock)) as memory:
            store = FaultyStore(memory)
            async with open_stage(store=store, clock=clock) as stage:
                await stage.model(limits=limits)
                yield stage, clock, store


def seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


async def run_first(stage: Stage) -> Task:
    """An instance takes the task, and is not heard of again."""
    async with stage.broker.consume(stage.catalog.served[0].name, prefetch=1) as consumer:
        (delivery,) = await consumer.receive()
        task = Task.decode(delivery.body)
        (start,) = await stage.store.start([task], INSTANCE, attempts=5)
        assert start.state is TaskState.RUNNING
        consumer.ack([delivery])
    return task


async def test_a_deadline_is_set_when_the_task_is_accepted_and_shown_from_then_on() -> None:
    async with timed_stage() as (stage, _, _):
        accepted = await stage.client.post(TASKS, json={}, headers=TIMEOUT)
        shown = await stage.client.get(accepted.headers["location"])
        for body in (accepted.json(), shown.json()):
            assert seconds(body["deadline"]) - seconds(body["created_at"]) == pytest.approx(10.0)
        task = await run_first(stage)
        assert task.deadline == pytest.approx(task.created_at + 10.0)


async def test_without_a_timeout_there_is_no_deadline() -> None:
    async with timed_stage() as (stage, _, _):
        accepted = await stage.client.post(TASKS, json={})
        assert "deadline" not in accepted.json()
        assert "deadline" not in (await stage.client.get(accepted.headers["location"])).json()


async def test_the_model_sets_the_timeout_of_those_who_do_not_and_a_limit_to_those_who_do() -> None:
    async with timed_stage(ModelLimits(default_timeout=5.0, max_timeout=20.0)) as (stage, _, _):
        body = (await stage.client.post(TASKS, json={})).json()
        assert seconds(body["deadline"]) - seconds(body["created_at"]) == pytest.approx(5.0)
        refused = await stage.client.post(TASKS, json={}, headers={"Hub-Timeout": "21"})
        assert problem(refused) == (400, "timeout_too_long")
        assert refused.json()["max_timeout"] == 20.0
        call = await stage.client.post("/v1/models/ModelA", json={}, headers={"Hub-Timeout": "never"})
        assert problem(call) == (400, "bad_parameter")


async def test_a_task_that_nobody_took_has_expired_for_whoever_looks() -> None:
    async with timed_stage() as (stage, clock, _):
        task = (await stage.client.post(TASKS, json={}, headers=TIMEOUT)).headers["location"]
        clock.advance(10.0)
        assert (await stage.client.get(task)).json()["state"] == "queued"
        clock.advance(GRACE)
        shown = (await stage.client.get(task)).json()
        assert (shown["state"], shown["failure"]["code"]) == ("expired", "deadline_exceeded")
        assert problem(await stage.client.get(f"{task}/result")) == (504, "task_expired")


async def test_a_task_that_has_expired_never_runs() -> None:
    async with timed_stage() as (stage, clock, _):
        task = (await stage.client.post(TASKS, json={}, headers=TIMEOUT)).headers["location"]
        clock.advance(10.0 + GRACE)
        await stage.client.get(task)
        await stage.model(answer=echo_a)
        assert (await stage.client.get(task, params={"wait": 5})).json()["state"] == "expired"
        async with stage.broker.consume(stage.catalog.served[0].name, prefetch=1):
            await anyio.wait_all_tasks_blocked()
        assert (await stage.client.get(task)).json()["attempt"] == 0


@pytest.mark.parametrize("known", [False, True])
async def test_who_waits_for_a_task_hears_when_it_expires_and_not_when_the_wait_ends(known: bool) -> None:
    async with timed_stage() as (stage, clock, _):
        accepted = await stage.client.post(TASKS, json={}, headers=TIMEOUT)
        etag = (await stage.client.get(accepted.headers["location"])).headers["etag"]
        clock.advance(10.0 + GRACE - ALMOST)
        began = anyio.current_time()
        headers = {"If-None-Match": etag} if known else {}
        reply = await stage.client.get(accepted.headers["location"], params={"wait": 50}, headers=headers)
        assert reply.json()["state"] == "expired"
        assert anyio.current_time() - began < 5.0


async def test_a_caller_hears_when_its_task_expires() -> None:
    async with timed_stage() as (stage, _, _):
        reply = await stage.client.post(
            "/v1/models/ModelA", json={}, headers={"Hub-Timeout": "0.01", "Prefer": "wait=50"}
        )
        assert problem(reply) == (504, "task_expired")
        assert reply.json()["failure"]["code"] == "deadline_exceeded"
        assert (await stage.client.get(reply.headers["location"])).json()["state"] == "expired"


async def test_an_instance_has_the_first_word_on_what_it_runs() -> None:
    async with timed_stage() as (stage, clock, _):
        location = (await stage.client.post(TASKS, json={}, headers=TIMEOUT)).headers["location"]
        task = await run_first(stage)
        clock.advance(10.0 + GRACE)
        assert (await stage.client.get(location)).json()["state"] == "running"
        outcome = Outcome(task_id=task.id, state=TaskState.SUCCEEDED, body=b"", attempt=1, finished_at=clock())
        assert await stage.store.finish([outcome]) == [True]
        clock.advance(RUNNING_GRACE)
        assert (await stage.client.get(location)).json()["state"] == "succeeded"


async def test_a_run_that_is_not_heard_of_long_after_its_deadline_has_expired() -> None:
    async with timed_stage() as (stage, clock, _):
        location = (await stage.client.post(TASKS, json={}, headers=TIMEOUT)).headers["location"]
        await run_first(stage)
        clock.advance(10.0 + RUNNING_GRACE - ALMOST)
        shown = (await stage.client.get(location, params={"wait": 50})).json()
        assert (shown["state"], shown["attempt"], shown["instance"]) == ("expired", 1, INSTANCE)


async def test_an_outcome_that_comes_first_counts_even_when_the_gateway_is_about_to_expire_the_task() -> None:
    async with timed_stage() as (stage, clock, store):
        location = (await stage.client.post(TASKS, json={}, headers=TIMEOUT)).headers["location"]
        task = await run_first(stage)
        clock.advance(10.0 + RUNNING_GRACE)
        outcome = Outcome(task_id=task.id, state=TaskState.SUCCEEDED, body=b"", attempt=1, finished_at=clock())
        store.before_finish = lambda: store.store.finish([outcome])
        assert (await stage.client.get(location)).json()["state"] == "succeeded"


async def test_a_store_that_cannot_take_the_verdict_is_a_503() -> None:
    async with timed_stage() as (stage, clock, store):
        location = (await stage.client.post(TASKS, json={}, headers=TIMEOUT)).headers["location"]
        clock.advance(10.0 + GRACE)
        store.finish_error = LOST
        assert problem(await stage.client.get(location)) == (503, "connection_lost")


async def test_an_outcome_is_kept_as_long_as_the_client_asked() -> None:
    async with timed_stage() as (stage, clock, _):
        await stage.model(answer=echo_a)
        headers = {"Hub-Result-TTL": "100", "Prefer": "wait=5"}
        reply = await stage.client.post(TASKS, json={}, headers=headers)
        location = reply.headers["location"]
        assert seconds(reply.json()["expires_at"]) == pytest.approx(clock() + 100, abs=5)
        result = await stage.client.get(f"{location}/result")
        assert seconds(result.headers["hub-expires-at"]) == seconds(reply.json()["expires_at"])
        clock.advance(95)
        assert (await stage.client.get(location)).status_code == 200
        clock.advance(6)
        assert problem(await stage.client.get(location)) == (410, "task_record_expired")


async def test_a_lifetime_that_is_not_offered_is_a_400_that_tells_the_range() -> None:
    async with timed_stage() as (stage, _, _):
        refused = await stage.client.post(TASKS, json={}, headers={"Hub-Result-TTL": "1"})
        assert problem(refused) == (400, "bad_parameter")
        assert "from 60 to 604800" in refused.json()["detail"]
