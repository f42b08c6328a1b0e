"""A registry whose directory has foreign values or refuses changes goes on, and reports it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import structlog
from anyio import fail_after
from anyio.lowlevel import checkpoint
from httpx2 import AsyncClient
from redis import client

from hub.brokers import open_broker
from hub.concurrency.services import background_service
from hub.directories import open_directory
from hub.directories.redis.directory import _KEYS
from hub.http.client import open_client
from hub.registry.service import run_registry
from hub.settings.registry import RegistrySettings
from tests.directories.helpers import ONE, instance, new_model
from tests.support.redis import Redis

TIMEOUT = 30.0
PERIOD = 0.4


@dataclass
class Served:
    url: str
    http: AsyncClient

    async def health(self) -> dict[str, Any]:
        reply = await self.http.get(f"{self.url}/health/ready")
        assert reply.status_code == 200
        health: dict[str, Any] = reply.json()
        return health

    async def until(self, satisfied: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        while not satisfied(health := await self.health()):
            await checkpoint()
        return health

    async def stays(self, satisfied: Callable[[dict[str, Any]], bool], polls: int = 100) -> None:
        """Checks for some polls; each is a round trip, in which the registry goes on."""
        for _ in range(polls):
            assert satisfied(await self.health())
            assert (await self.http.get(f"{self.url}/v1/models")).status_code == 200


@asynccontextmanager
async def registry_on(redis: Redis) -> AsyncGenerator[Served]:
    settings = RegistrySettings(registry_port=0, ping_period=PERIOD, ping_timeout=0.2)
    async with (
        open_broker("memory://") as broker,
        open_directory(redis.url) as directory,
        open_client() as http,
        background_service(partial(run_registry, settings, directory=directory, broker=broker), name="registry") as url,
    ):
        yield Served(url, http)


def is_ok(health: dict[str, Any]) -> bool:
    return bool(health["status"] == "ok")


def is_degraded(health: dict[str, Any]) -> bool:
    return bool(health["status"] == "degraded")


@pytest.mark.parametrize("key", _KEYS)
async def test_a_registry_survives_another_type_under_a_key(private_redis: Redis, key: str) -> None:
    settings = RegistrySettings(registry_port=0, ping_period=0.4, ping_timeout=0.2)
    with fail_after(TIMEOUT):
        async with (
            open_broker("memory://") as broker,
            open_directory(private_redis.url) as directory,
            open_client() as http,
        ):
            private_redis.ctl("DEL", *_KEYS)
            registry = partial(run_registry, settings, directory=directory, broker=broker)
            async with background_service(registry, name="registry") as url:
                private_redis.ctl("DEL", key)
                private_redis.ctl("LPUSH" if not key.endswith("history") else "SADD", key, "unreadable")
                for _ in range(100):
                    assert (await http.get(f"{url}/v1/models")).status_code == 200
                    await checkpoint()
                private_redis.ctl("DEL", key)
                while (await http.get(f"{url}/health/ready")).json()["status"] != "ok":
                    await checkpoint()


async def test_a_registry_starts_with_unreadable_values_in_the_directory(private_redis: Redis) -> None:
    settings = RegistrySettings(registry_port=0, ping_period=0.4, ping_timeout=0.2)
    with fail_after(TIMEOUT):
        async with (
            open_broker("memory://") as broker,
            open_directory(private_redis.url) as directory,
            open_client() as http,
        ):
            private_redis.ctl("DEL", *_KEYS)
            for part in ("instances", "contracts", "leases", "health", "names"):
                private_redis.ctl("HSET", f"hub:{{directory}}:{part}", "unreadable", "{bad")
            registry = partial(run_registry, settings, directory=directory, broker=broker)
            async with background_service(registry, name="registry") as url:
                assert (await http.get(f"{url}/v1/models")).status_code == 200
            private_redis.ctl("DEL", *_KEYS)


@pytest.mark.parametrize("key", _KEYS)
async def test_a_registry_starts_with_another_type_under_a_key_and_reports_it(private_redis: Redis, key: str) -> None:
    private_redis.ctl("LPUSH" if not key.endswith("history") else "SADD", key, "unreadable")
    with fail_after(TIMEOUT), structlog.testing.capture_logs() as log:
        async with registry_on(private_redis) as registry:
            used = key.rpartition(":")[2] not in {"names", "health", "history", "weight", "changes"}
            if used:  # the others are not touched while there is no instance
                health = await registry.until(is_degraded)
                assert key in health["reason"]
                assert "directory" not in health["out_of_reach"]
            await registry.stays(lambda health: is_degraded(health) == used, polls=200)
            private_redis.ctl("DEL", key)
            await registry.until(is_ok)
    said = [line["event"] for line in log if line["log_level"] in {"warning", "error"}]
    assert not [event for event in said if "out of reach" in event]
    assert len([event for event in said if "directory" in event]) == used


RUBBISH = {
    "no JSON": b"{bad",
    "no UTF-8": b"\xff",
    "nested deeply": b"[" * 100_000,
    "a key of it nested deeply": b'{"id": ' + b"[" * 100_000,
    "no object": b"7",
    "a number beyond all": b'{"logged_in_at": 1e400}',
    "a number of 5000 digits": b'{"logged_in_at": ' + b"9" * 5000 + b"}",
    "no values": b"{}",
}


@pytest.mark.parametrize("value", RUBBISH.values(), ids=list(RUBBISH))
async def test_unreadable_instances_are_left_out_of_the_list(private_redis: Redis, value: bytes) -> None:
    private_redis.ctl("DEL", *_KEYS)
    async with open_directory(private_redis.url) as directory:
        entry = instance(new_model())
        await directory.login(entry, ONE)
        with client.Redis.from_url(private_redis.url) as link:
            link.hset("hub:{directory}:instances", "unreadable", value)
        assert await directory.instances() == [entry]
    private_redis.ctl("DEL", *_KEYS)


@pytest.mark.parametrize("value", RUBBISH.values(), ids=list(RUBBISH))
async def test_an_unreadable_value_is_left_out_and_logged_once(private_redis: Redis, value: bytes) -> None:
    with client.Redis.from_url(private_redis.url) as link:
        for part in ("instances", "contracts", "leases", "health", "names"):
            for name in (b"unreadable", b"\xff\xfe", b"", b"a b c"):
                link.hset(f"hub:{{directory}}:{part}", name, value)
        link.lpush("hub:{directory}:history", value)
    with fail_after(TIMEOUT), structlog.testing.capture_logs() as log:
        async with registry_on(private_redis) as registry:
            await registry.stays(is_ok, polls=200)
            assert (await registry.http.get(f"{registry.url}/v1/instances")).json()["instances"] == []
            assert (await registry.http.get(f"{registry.url}/v1/history")).json()["events"] == []
    said = [line for line in log if "left out" in line["event"] or "cannot be used" in line["event"]]
    assert 1 <= len(said) <= 10  # four names of instances and of contracts, an id that is no text, and an event
    assert len({repr(line) for line in said}) == len(said)


def out_of_memory(redis: Redis) -> Callable[[], object]:
    redis.ctl("CONFIG", "SET", "maxmemory", "1")
    return lambda: redis.ctl("CONFIG", "SET", "maxmemory", "0")


def without_scripts(redis: Redis) -> Callable[[], object]:
    redis.ctl("ACL", "SETUSER", "default", "-@scripting")
    return lambda: redis.ctl("ACL", "SETUSER", "default", "+@all")


@pytest.mark.parametrize(("trouble", "words"), [(out_of_memory, "maxmemory"), (without_scripts, "permissions")])
async def test_a_directory_that_refuses_changes_degrades_its_registry_with_the_reason(
    private_redis: Redis, trouble: Callable[[Redis], Callable[[], object]], words: str
) -> None:
    with fail_after(TIMEOUT):
        async with registry_on(private_redis) as registry:
            await registry.until(is_ok)
            mended = trouble(private_redis)
            try:
                health = await registry.until(is_degraded)
                await registry.stays(is_degraded, polls=200)  # what only reads goes on
                assert words in health["reason"]
            finally:
                mended()
            await registry.until(is_ok)
