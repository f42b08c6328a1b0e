"""Registry, gateway and instances as separate processes over a real RabbitMQ and a real Redis.

The processes run on the backend that the test itself runs on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from anyio import create_task_group, fail_after
from anyio.to_thread import run_sync

from examples.digits.pictures import split
from hub.http.client import open_client
from tests.support.rabbitmq import delete_queues
from tests.support.redis import emptied
from tests.support.server import free_port
from tests.system.processes import Hub, hub_process, up

PING_PERIOD = 2.0
LOAD = 120
TIMEOUT = 90.0
"""Seconds for a whole scenario: generous, since a machine under load starts processes slowly."""


@pytest.fixture(scope="module")
async def hub(anyio_backend: tuple[str, dict[str, object]], amqp_url: str, redis_url: str) -> AsyncGenerator[Hub]:
    """A registry and a gateway, each a process of its own."""
    backend = anyio_backend[0]
    database = {"asyncio": 11, "trio": 12}[backend]
    redis = emptied(redis_url, database)
    await run_sync(delete_queues, amqp_url, "Echo", "Digits")
    common = {"backend": backend, "broker_url": amqp_url, "ping_period": f"{PING_PERIOD}"}
    port = free_port()  # fixed, so that a second registry can take the place of the first
    registry_settings = common | {"directory_url": redis, "registry_port": f"{port}", "ping_timeout": "1"}
    async with open_client() as http:
        with hub_process(["hub.registry"], registry_settings) as registry:
            registry_url = await up(registry)
            rest = common | {"registry_url": registry_url, "store_url": redis}
            with hub_process(["hub.gateway"], rest | {"gateway_port": "0"}) as gateway:
                gateway_url = await up(gateway)
                yield Hub(rest, registry_settings, registry, registry_url, gateway_url, http)


async def test_a_held_out_digit_is_recognised_through_four_processes(hub: Hub) -> None:
    _, held_out = split()
    picture = {"pixels": held_out.pixels[0].tolist()}
    with fail_after(TIMEOUT):
        async with hub.instances(*["examples.digits:Digits"] * 2):
            reply = await hub.http.post(f"{hub.gateway}/v1/models/Digits", json=picture)
    assert reply.status_code == 200, reply.text
    assert reply.json()["label"] == held_out.labels[0]


async def test_no_accepted_task_is_lost_when_an_instance_is_killed_under_load(hub: Hub) -> None:
    tasks: list[dict[str, Any]] = []
    ids: list[str] = []

    async def follow(task_id: str) -> None:
        tasks.append(await hub.ended(task_id))

    with fail_after(TIMEOUT):
        async with hub.instances(*["tests.system.models:Echo"] * 2) as (victim, _):
            pings = f"{await up(victim)}/ping"
            for number in range(LOAD):
                ids.append(await hub.submit("Echo", {"messages": f"0.3 {number}"}))
                if number == LOAD // 2:
                    while (await hub.http.get(pings)).json()["in_flight"] == 0:
                        ids.append(await hub.submit("Echo", {"messages": "0.3 more"}))
                    victim.kill()
            with fail_after(PING_PERIOD + 1.5):  # one period, and the time of the refused ping
                await hub.until_listed("Echo", 1)
            async with create_task_group() as tg:
                for task_id in ids:
                    tg.start_soon(follow, task_id)
    assert Counter(task["state"] for task in tasks) == {"succeeded": len(ids)}
    assert {task["id"] for task in tasks} == set(ids)
    assert max(task["attempt"] for task in tasks) == 2  # some were running in the killed instance


async def test_an_instance_finishes_its_runs_after_sigterm_and_logs_out_at_once(hub: Hub) -> None:
    with fail_after(TIMEOUT):
        async with hub.instances("tests.system.models:Echo") as (only,):
            ids = [await hub.submit("Echo", {"messages": f"1 {number}"}) for number in range(8)]
            running = 0
            while running < 4:
                states = [(await hub.http.get(f"{hub.gateway}/v1/tasks/{task_id}")).json()["state"] for task_id in ids]
                running = states.count("running")
            only.terminate()
            assert await run_sync(only.wait) == 0
            live, _ = await hub.models()
            assert "Echo" not in live  # logged out before it ended, not removed by a ping
            states = [(await hub.http.get(f"{hub.gateway}/v1/tasks/{task_id}")).json()["state"] for task_id in ids]
            assert Counter(states) == {"succeeded": 4, "queued": 4}
            with hub.instance("tests.system.models:Echo"):
                tasks = [await hub.ended(task_id) for task_id in ids]
    assert [task["state"] for task in tasks] == ["succeeded"] * 8
    assert [task["attempt"] for task in tasks] == [1] * 8  # released before their start, so without an attempt


async def test_another_model_under_a_taken_name_is_refused_and_the_first_goes_on(hub: Hub) -> None:
    with fail_after(TIMEOUT):
        async with hub.instances("tests.system.models:Echo"):
            before, _ = await hub.models()
            with hub.instance("tests.system.models:Impostor") as impostor:
                code = await run_sync(impostor.wait)
                said = impostor.output()
            after, _ = await hub.models()
            reply = await hub.http.post(f"{hub.gateway}/v1/models/Echo", json={"messages": "0 still here"})
    assert code not in {0, None}
    assert "messages" in said  # the field of the first model
    assert "pixels" in said  # the field of the second one
    assert before == after
    assert reply.json() == {"reply": "still here"}


async def test_a_registry_that_is_killed_and_restarted_has_all_instances(hub: Hub) -> None:
    with fail_after(TIMEOUT):
        async with hub.instances(*["tests.system.models:Echo"] * 2):
            before, _ = await hub.models()
            hub.registry_process.kill()
            reply = await hub.http.post(f"{hub.gateway}/v1/models/Echo", json={"messages": "0 meanwhile"})
            assert reply.json() == {"reply": "meanwhile"}  # calls work without a registry
            with hub_process(["hub.registry"], hub.registry_settings) as again:
                await up(again)
                await hub.until_listed("Echo", 2)
                after, _ = await hub.models()
    assert sorted(before["Echo"]) == sorted(after["Echo"])
