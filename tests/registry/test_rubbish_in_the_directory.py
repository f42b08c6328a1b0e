"""A registry whose directory was written to by something else: it goes on."""

from __future__ import annotations

from functools import partial

import pytest
from anyio import fail_after
from anyio.lowlevel import checkpoint

from hub.brokers import open_broker
from hub.directories import open_directory
from hub.directories.redis_directory import _KEYS
from hub.http.client import open_client
from hub.lifecycle import running
from hub.registry.service import run_registry
from hub.settings import RegistrySettings
from tests.support.redis import Redis

PATIENCE = 30.0


@pytest.mark.parametrize("key", _KEYS)
async def test_a_registry_outlives_another_type_under_a_key(private_redis: Redis, key: str) -> None:
    settings = RegistrySettings(registry_port=0, ping_period=0.4, ping_timeout=0.2)
    with fail_after(PATIENCE):
        async with (
            open_broker("memory://") as broker,
            open_directory(private_redis.url) as directory,
            open_client() as http,
        ):
            private_redis.ctl("DEL", *_KEYS)
            registry = partial(run_registry, settings, directory=directory, broker=broker)
            async with running(registry, name="registry") as url:
                private_redis.ctl("DEL", key)
                private_redis.ctl("LPUSH" if not key.endswith("history") else "SADD", key, "rubbish")
                for _ in range(100):
                    assert (await http.get(f"{url}/v1/models")).status_code == 200
                    await checkpoint()
                private_redis.ctl("DEL", key)
                while (await http.get(f"{url}/health/ready")).json()["status"] != "ok":
                    await checkpoint()


async def test_a_registry_starts_beside_values_that_cannot_be_read(private_redis: Redis) -> None:
    settings = RegistrySettings(registry_port=0, ping_period=0.4, ping_timeout=0.2)
    with fail_after(PATIENCE):
        async with (
            open_broker("memory://") as broker,
            open_directory(private_redis.url) as directory,
            open_client() as http,
        ):
            private_redis.ctl("DEL", *_KEYS)
            for part in ("instances", "contracts", "leases", "standings", "names"):
                private_redis.ctl("HSET", f"hub:{{directory}}:{part}", "rubbish", "{bad")
            registry = partial(run_registry, settings, directory=directory, broker=broker)
            async with running(registry, name="registry") as url:
                assert (await http.get(f"{url}/v1/models")).status_code == 200
            private_redis.ctl("DEL", *_KEYS)
