"""Models that call models, as processes over a real RabbitMQ and a real Redis, some of which are killed with `kill -9`."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import anyio
import pytest
from anyio import fail_after
from anyio.to_thread import run_sync

from hub.http.client import open_client
from tests.support.rabbitmq import delete_queues
from tests.support.redis import emptied
from tests.system.processes import Hub, hub_process, up

TIMEOUT = 90.0
SOON = 1.0
MODELS = "tests.system.models"


@pytest.fixture(scope="module")
async def hub(anyio_backend: tuple[str, dict[str, object]], amqp_url: str, redis_url: str) -> AsyncGenerator[Hub]:
    backend = anyio_backend[0]
    redis = emptied(redis_url, {"asyncio": 9, "trio": 10}[backend])
    await run_sync(delete_queues, amqp_url, "Writer", "Caller", "Middle", "Top")
    common = {"backend": backend, "broker_url": amqp_url, "ping_period": "2"}
    registry_settings = common | {"directory_url": redis, "registry_port": "0", "ping_timeout": "1"}
    async with open_client() as http:
        with hub_process(["hub.registry"], registry_settings) as registry:
            registry_url = await up(registry)
            rest = common | {"registry_url": registry_url, "store_url": redis}
            with hub_process(["hub.gateway"], rest | {"gateway_port": "0"}) as gateway:
                yield Hub(rest, registry_settings, registry, registry_url, await up(gateway), http)


async def until_written(journal: Path, text: str) -> None:
    while not journal.exists() or journal.read_text() != text:  # noqa: ASYNC240 - a file of a few bytes
        await anyio.sleep(0.02)


async def test_a_killed_instance_and_the_next_attempt_finds_the_finished_child(hub: Hub, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    with fail_after(TIMEOUT):
        async with hub.instances(f"{MODELS}:Writer", f"{MODELS}:Caller") as (_, first):
            task = await hub.submit("Caller", {"messages": f"{journal}"})
            await until_written(journal, "began\nleft\n")
            first.kill()
            with hub.instance(f"{MODELS}:Caller"):
                ended = await hub.ended(task)
        child = (await hub.http.get(f"{hub.gateway}/v1/tasks/{ended['result']['reply']}")).json()
    assert (ended["state"], ended["attempt"]) == ("succeeded", 2)
    assert journal.read_text() == "began\nleft\n"
    assert (child["model"], child["attempt"], child["parent"]) == ("Writer", 1, task)


async def test_a_cancelled_task_ends_what_runs_below_although_the_instance_in_between_was_killed(
    hub: Hub, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    with fail_after(TIMEOUT):
        async with hub.instances(f"{MODELS}:Writer", f"{MODELS}:Middle", f"{MODELS}:Top") as (_, middle, _):
            task = await hub.submit("Top", {"messages": f"{journal} stay"})
            await until_written(journal, "began\n")
            middle.kill()
            assert (await hub.http.delete(f"{hub.gateway}/v1/tasks/{task}")).status_code == 200
            with fail_after(SOON):
                await until_written(journal, "began\nleft\n")
