"""Lists of tasks over a real RabbitMQ and a real Redis, while instances are killed and dead letters replayed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from anyio import fail_after, sleep
from anyio.to_thread import run_sync
from httpx2 import AsyncClient

from hub.http.client import open_client
from tests.support.rabbitmq import delete_queues
from tests.support.redis import emptied
from tests.system.processes import HubProcess, hub_process

TIMEOUT = 120.0
"""Seconds for a whole scenario: generous, since a machine under load starts processes slowly."""

ECHO = ["hub.model", "tests.system.models:Echo"]


@dataclass(frozen=True)
class Hub:
    """A registry and a gateway, the settings of instances, and a client."""

    settings: Mapping[str, str]
    gateway: str
    http: AsyncClient

    async def submit(self) -> str:
        """Submits a task of ten minutes to Echo, once Echo is listed."""
        while True:
            reply = await self.http.post(f"{self.gateway}/v1/models/Echo/tasks", json={"messages": "600 x"})
            if reply.status_code == 202:
                return str(reply.json()["id"])
            assert reply.status_code in {404, 503}, reply.text
            await sleep(0.1)

    async def listed(self, state: str) -> list[dict[str, Any]]:
        reply = await self.http.get(f"{self.gateway}/v1/tasks", params={"state": state, "model": "Echo"})
        assert reply.status_code == 200, reply.text
        tasks: list[dict[str, Any]] = reply.json()["tasks"]
        return tasks

    async def until_listed(self, state: str, task: str, **members: object) -> dict[str, Any]:
        """The one task of this list, once it is the only one and has these members."""
        while True:
            tasks = await self.listed(state)
            if [found["id"] for found in tasks] == [task] and members.items() <= tasks[0].items():
                return tasks[0]
            await sleep(0.1)

    async def until_empty(self, state: str) -> None:
        while await self.listed(state):
            await sleep(0.1)

    async def command(self, *arguments: str) -> str:
        """Runs `hub ...`; returns what it prints."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("HUB_")}
        environment |= {f"HUB_{name.upper()}": value for name, value in self.settings.items() if name != "backend"}
        command = [str(Path(sys.executable).with_name("hub")), *arguments]
        done = await run_sync(
            lambda: subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
async def hub(anyio_backend: tuple[str, dict[str, object]], amqp_url: str, redis_url: str) -> AsyncGenerator[Hub]:
    backend = anyio_backend[0]
    redis = emptied(redis_url, {"asyncio": 11, "trio": 12}[backend])
    await run_sync(delete_queues, amqp_url, "Echo")
    common = {"backend": backend, "broker_url": amqp_url, "ping_period": "1"}
    registry_settings = common | {"directory_url": redis, "registry_port": "0", "ping_timeout": "0.9"}
    async with open_client() as http:
        with hub_process(["hub.registry"], registry_settings) as registry:
            settings = common | {"registry_url": await up(registry), "store_url": redis}
            with hub_process(["hub.gateway"], settings | {"gateway_port": "0"}) as gateway:
                yield Hub(settings | {"attempt_limit": "2"}, await up(gateway), http)


async def up(process: HubProcess) -> str:
    return str((await run_sync(process.wait_for, "is up"))["url"])


async def test_a_task_is_on_the_right_list_through_two_kills_its_dead_letter_and_its_replay(hub: Hub) -> None:
    with fail_after(TIMEOUT):
        with hub_process(ECHO, hub.settings) as first:
            task = await hub.submit()
            begun = await hub.until_listed("running", task, attempt=1)
            first.kill()
        with hub_process(ECHO, hub.settings) as second:
            again = await hub.until_listed("running", task, attempt=2)
            assert again["started_at"] > begun["started_at"]
            assert again["instance"] != begun["instance"]
            second.kill()
        with hub_process(ECHO, hub.settings):
            dead = await hub.until_listed("dead", task, attempt=2)
            assert dead["failure"]["code"] == "attempts_exhausted"
            assert dead["started_at"] == again["started_at"], "it did not run a third time"
            await hub.until_empty("running")

            assert "1 of 1 replayed" in await hub.command("dead", "replay", "Echo", "--all")
            await hub.until_empty("dead")
            replayed = await hub.until_listed("running", task, attempt=3)
            assert replayed["started_at"] > dead["started_at"]
            assert (await hub.http.delete(hub.gateway + replayed["url"])).status_code == 200
            await hub.until_empty("running")
            cancelled = await hub.until_listed("cancelled", task)
            assert cancelled["started_at"] == replayed["started_at"]
