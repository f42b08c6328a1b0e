"""A stored contract that this release cannot use removes its own model and no other."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

import anyio
import msgspec
import pytest
from structlog.testing import capture_logs

from hub.directories import open_directory
from hub.directories.redis.directory import _KEYS
from hub.types import ModelName
from tests.contract.test_limits import chain, encoded
from tests.registry.fakes import PingServer, ping_server
from tests.registry.fixtures import ServedRegistry, served_registry
from tests.registry.helpers import DIGITS, TEXTS, TIMEOUT
from tests.support.redis import Redis

BAD = ModelName("Bad")
GOOD = ModelName("Good")
CONTRACTS = "hub:{directory}:contracts"

UNUSABLE: Mapping[str, object] = {
    "chain of 400": msgspec.Raw(msgspec.json.encode(encoded(chain(400)))),
    "ring of 3,000": msgspec.Raw(msgspec.json.encode(encoded(chain(3000, ring=True)))),
    "no descriptors": "AAAA",
    "no base64": "*",
    "empty": "",
}


@asynccontextmanager
async def served(redis: Redis, **settings: Any) -> AsyncGenerator[ServedRegistry]:
    async with (
        open_directory(redis.url) as directory,
        served_registry(directory=directory, ping_period=1, **settings) as registry,
    ):
        yield registry


def spoil(redis: Redis, contract: object) -> str:
    """Stores `contract` in place of the one of `BAD`, and returns the name that it is stored by."""
    names = [name for name in redis.ctl("HKEYS", CONTRACTS).splitlines() if DIGITS.fingerprint in name]
    (name,) = names
    value = msgspec.json.decode(redis.ctl("HGET", CONTRACTS, name))
    redis.ctl("HSET", CONTRACTS, name, msgspec.json.encode({**value, "contract": contract}).decode())
    return name


async def both_up(registry: ServedRegistry, bad: PingServer, good: PingServer) -> None:
    await registry.login(bad, BAD, DIGITS)
    await registry.login(good, GOOD, TEXTS)
    assert await registry.active() == [BAD, GOOD]


def reasons(logs: list[MutableMapping[str, Any]]) -> list[str]:
    """Log entries about unusable contracts; there are no other errors, and no tracebacks."""
    assert not any("exc_info" in each for each in logs)
    errors = [each for each in logs if each["log_level"] in ("error", "critical")]
    assert {each["event"] for each in errors} <= {"a value of the directory cannot be read, and is left out"}
    return [f"{each['name']} {each['reason']}" for each in errors]


@pytest.mark.parametrize("kind", UNUSABLE)
async def test_a_registry_starts_with_a_contract_that_it_cannot_use(private_redis: Redis, kind: str) -> None:
    private_redis.ctl("DEL", *_KEYS)
    with anyio.fail_after(TIMEOUT), capture_logs() as logs:
        async with ping_server() as bad, ping_server() as good:
            async with served(private_redis) as registry:
                await both_up(registry, bad, good)
                secrets = registry.client._secrets
            name = spoil(private_redis, UNUSABLE[kind])
            async with served(private_redis) as registry:
                while GOOD not in await registry.active():
                    await anyio.lowlevel.checkpoint()
                assert await registry.active() == [GOOD]
                for path in ("models", "instances", "schemas", f"schemas/{GOOD}", f"schemas/{GOOD}/history", "history"):
                    assert (await registry.get(f"/v1/{path}")).status_code == 200, path
                assert (await registry.get("/health/ready")).status_code == 200
                for part in ("", "/history", "/diff"):
                    reply = await registry.get(f"/v1/schemas/{BAD}{part}")
                    assert (reply.status_code, reply.json()["code"]) == (404, "unknown_model")
                # Its instance logs in again, as all do that are not pinged: with the contract that it really has.
                registry.client._secrets.update(secrets)
                await registry.login(bad, BAD, DIGITS)
                assert await registry.active() == [BAD, GOOD]
    (reason,) = reasons(logs)
    assert name in reason
    private_redis.ctl("DEL", *_KEYS)


async def test_an_instance_of_an_unusable_contract_does_not_hold_its_name(private_redis: Redis) -> None:
    private_redis.ctl("DEL", *_KEYS)
    with anyio.fail_after(TIMEOUT):
        async with ping_server() as good:
            async with ping_server() as bad, served(private_redis) as registry:
                await both_up(registry, bad, good)
            spoil(private_redis, UNUSABLE["chain of 400"])
            async with ping_server() as successor, served(private_redis) as registry:
                await registry.login(successor, BAD, TEXTS)
                assert BAD in await registry.active()
    private_redis.ctl("DEL", *_KEYS)


async def test_an_unusable_contract_goes_after_the_lifetime_with_the_instance_that_had_it(private_redis: Redis) -> None:
    private_redis.ctl("DEL", *_KEYS)
    with anyio.fail_after(TIMEOUT):
        async with ping_server() as good:
            async with ping_server() as bad, served(private_redis) as registry:
                await both_up(registry, bad, good)
            name = spoil(private_redis, UNUSABLE["chain of 400"])
            async with served(private_redis, contract_ttl=0.5):
                while name in private_redis.ctl("HKEYS", CONTRACTS).splitlines():
                    await anyio.sleep(0.05)
                assert private_redis.ctl("HLEN", "hub:{directory}:instances").strip() == "1"
                assert private_redis.ctl("HLEN", CONTRACTS).strip() == "1"
    private_redis.ctl("DEL", *_KEYS)
