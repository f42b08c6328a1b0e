"""Waits go on over lost connections to the store, until their own time is over."""

from __future__ import annotations

import pytest
from anyio import create_task_group, fail_after
from anyio.lowlevel import checkpoint
from anyio.to_thread import run_sync
from redis import client as redispy

from hub.stores import open_store
from hub.types import TaskState
from tests.gateway.fakes import LOST, FaultyStore
from tests.gateway.fixtures import echo_a, open_gateway
from tests.support.redis import Redis

TIMEOUT = 30.0
WAIT = {"Prefer": "wait=20"}


@pytest.mark.parametrize("path", ["/v1/models/ModelA", "/v1/models/ModelA/tasks"])
async def test_a_call_waits_on_after_a_lost_connection(path: str) -> None:
    with fail_after(TIMEOUT):
        async with open_store("memory://") as memory:
            store = FaultyStore(memory)
            async with open_gateway(store=store) as gateway:
                await gateway.model()
                store.changed_error = LOST
                statuses: list[int] = []

                async def call() -> None:
                    reply = await gateway.client.post(path, json={"messages": "x"}, headers=WAIT)
                    statuses.append(reply.status_code)

                async with create_task_group() as tg:
                    tg.start_soon(call)
                    while store.refused_changes < 3:
                        await checkpoint()
                    assert not statuses, "its own time is not over"
                    store.changed_error = None
                    await gateway.model(answer=echo_a)
                assert statuses == [200]


async def test_a_long_poll_waits_on_after_a_lost_connection() -> None:
    with fail_after(TIMEOUT):
        async with open_store("memory://") as memory:
            store = FaultyStore(memory)
            async with open_gateway(store=store) as gateway:
                await gateway.model()
                accepted = await gateway.client.post("/v1/models/ModelA/tasks", json={"messages": "x"})
                location = accepted.headers["location"]
                store.changed_error = LOST
                states: list[str] = []

                async def poll() -> None:
                    reply = await gateway.client.get(location, headers=WAIT)
                    states.append(reply.json().get("state", str(reply.status_code)))

                async with create_task_group() as tg:
                    tg.start_soon(poll)
                    while store.refused_changes < 3:
                        await checkpoint()
                    assert not states
                    store.changed_error = None
                    await gateway.model(answer=echo_a)
                assert states == [TaskState.SUCCEEDED]


async def test_no_call_ends_early_while_every_connection_is_killed(private_redis: Redis) -> None:
    answers: list[tuple[int, str]] = []
    with fail_after(TIMEOUT), redispy.Redis(port=private_redis.port) as killer:
        async with open_store(private_redis.url) as store, open_gateway(store=store) as gateway:
            await gateway.model()

            async def call() -> None:
                reply = await gateway.client.post("/v1/models/ModelA", json={"messages": "x"}, headers=WAIT)
                answers.append((reply.status_code, reply.json().get("code", "")))

            def kill() -> None:
                killer.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
                killer.execute_command("CLIENT", "KILL", "TYPE", "pubsub")

            async with create_task_group() as tg:
                for _ in range(8):
                    tg.start_soon(call)
                while store.statistics().waiting < 8:
                    await checkpoint()
                for _ in range(20):
                    await run_sync(kill)
                    links = store.statistics().reconnects
                    while store.statistics().reconnects == links:
                        await checkpoint()
                early = list(answers)
                await gateway.model(answer=echo_a)
    assert early == []
    assert answers == [(200, "")] * 8


async def test_a_call_whose_store_stays_away_ends_with_its_own_time() -> None:
    with fail_after(TIMEOUT):
        async with open_store("memory://") as memory:
            store = FaultyStore(memory)
            async with open_gateway(store=store) as gateway:
                await gateway.model()
                store.changed_error = LOST
                call = await gateway.client.post("/v1/models/ModelA", json={}, headers={"Prefer": "wait=1"})
                submit = await gateway.client.post("/v1/models/ModelA/tasks", json={}, headers={"Prefer": "wait=1"})
                assert (call.status_code, submit.status_code) == (504, 202)
                assert store.refused_changes > 2, "it was asked again"
