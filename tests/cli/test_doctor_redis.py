"""Each finding of `hub doctor` about a Redis that can be produced, over real servers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pytest
from anyio import fail_after
from redis import client

from hub.cli.doctor.findings import Findings, Status
from hub.cli.doctor.redis import check_redis
from hub.types import wall_clock
from tests.cli.doctor import HOUR, TIME_LIMIT, difference, problems, status
from tests.support.markers import starts
from tests.support.redis import Redis, redis
from tests.support.server import free_port

CLIENTS: Final = ("redis", "redis+redispy")


@pytest.fixture(scope="module")
@starts("redis")
def own_redis() -> Iterator[Redis]:
    with redis(appendonly=True) as server:
        yield server


async def store(url: str, *, shift: float = 0.0, scheme: str = "redis") -> Findings:
    with fail_after(TIME_LIMIT):
        url = url.replace("redis://", f"{scheme}://")
        return await check_redis("store", "store_url", url, lambda: wall_clock() + shift)


@pytest.fixture(params=CLIENTS)
def redis_scheme(request: pytest.FixtureRequest, anyio_backend_name: str) -> str:
    """Both clients; on trio hub's own twice, since redis-py does not run there, which has a test of its own."""
    return "redis" if anyio_backend_name == "trio" else str(request.param)


async def test_a_store_as_it_should_be(own_redis: Redis, redis_scheme: str) -> None:
    found = await store(own_redis.url, scheme=redis_scheme)
    assert problems(found) == []
    for check in ("reachable", "version", "writable", "eviction", "memory", "persistence", "clock", "subscribe"):
        assert status(found, check)[0] is Status.OK, check
    assert "appendfsync always" in status(found, "persistence")[1]


async def test_the_clock_of_redis_is_compared(own_redis: Redis, redis_scheme: str) -> None:
    found = await store(own_redis.url, shift=HOUR, scheme=redis_scheme)
    assert status(found, "clock")[0] is Status.PROBLEM
    assert difference(status(found, "clock")[1]) == pytest.approx(HOUR, abs=TIME_LIMIT)


async def test_a_client_that_cannot_run_on_this_backend(own_redis: Redis, anyio_backend_name: str) -> None:
    found = await store(own_redis.url, scheme="redis+redispy")
    expected = Status.PROBLEM if anyio_backend_name == "trio" else Status.OK
    assert status(found, "reachable")[0] is expected


SETTINGS: Final[dict[str, tuple[dict[str, str], str, Status, str]]] = {
    "eviction": ({"maxmemory": "100mb", "maxmemory-policy": "allkeys-lru"}, "eviction", Status.PROBLEM, "noeviction"),
    "eviction without a limit": ({"maxmemory-policy": "volatile-ttl"}, "eviction", Status.WARNING, "noeviction"),
    "nearly full": ({"maxmemory": "NOW"}, "memory", Status.WARNING, "raise maxmemory"),
    "full": ({"maxmemory": "1"}, "writable", Status.PROBLEM, "raise maxmemory"),
    "no append-only file": ({"appendonly": "no"}, "persistence", Status.WARNING, "appendonly yes"),
    "late synchronization": ({"appendfsync": "everysec"}, "persistence", Status.WARNING, "appendfsync always"),
}


@pytest.mark.parametrize("case", [pytest.param(case, id=name) for name, case in SETTINGS.items()])
async def test_settings_of_redis(
    case: tuple[dict[str, str], str, Status, str], own_redis: Redis, redis_scheme: str
) -> None:
    values, check, expected, repair = case
    usual = {"maxmemory": "0", "maxmemory-policy": "noeviction", "appendonly": "yes", "appendfsync": "always"}
    with client.Redis(port=own_redis.port) as connection:
        try:
            for name, value in values.items():
                used = int(connection.info("memory")["used_memory"])
                connection.config_set(name, str(int(used * 1.05)) if value == "NOW" else value)
            found = await store(own_redis.url, scheme=redis_scheme)
        finally:
            for name, value in usual.items():
                connection.config_set(name, value)
    found_status, text = status(found, check)
    assert found_status is expected, found.found
    assert repair in text


USERS: Final[dict[str, tuple[str, str, Status]]] = {
    "no scripts": ("~* &* +@all -eval -evalsha", "writable", Status.PROBLEM),
    "other keys": ("~mine:* &* +@all", "writable", Status.PROBLEM),
    "no publishing": ("~* &* +@all -publish", "publish", Status.PROBLEM),
    "no subscriptions": ("~* &* +@all -subscribe", "subscribe", Status.PROBLEM),
    "no information": ("~* &* +@all -info", "eviction", Status.UNKNOWN),
    "no configuration": ("~* &* +@all -config", "persistence", Status.UNKNOWN),
    "no time": ("~* &* +@all -time", "clock", Status.UNKNOWN),
}


@pytest.mark.parametrize("case", [pytest.param(case, id=name) for name, case in USERS.items()])
async def test_permissions_in_redis(
    case: tuple[str, str, Status], own_redis: Redis, redis_scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.cli.doctor.redis.SILENCE", 1.0)  # a client waits for so long for a refused subscription
    rules, check, expected = case
    with client.Redis(port=own_redis.port) as connection:
        connection.execute_command("ACL", "SETUSER", "ann", "reset", "on", ">pw", *rules.split())
    found = await store(own_redis.url.replace("//", "//ann:pw@"), scheme=redis_scheme)
    assert status(found, check)[0] is expected, found.found


async def test_a_replica_is_not_written_to(own_redis: Redis, redis_scheme: str) -> None:
    with redis() as replica, client.Redis(port=replica.port) as connection:
        connection.replicaof("127.0.0.1", own_redis.port)
        found = await store(replica.url, scheme=redis_scheme)
    assert status(found, "writable")[0] is Status.PROBLEM
    assert f"127.0.0.1:{own_redis.port}" in status(found, "writable")[1]


async def test_redis_refuses_or_is_down(own_redis: Redis, redis_scheme: str) -> None:
    refused = await store(own_redis.url.replace("//", "//ann:wrong@"), scheme=redis_scheme)
    assert status(refused, "reachable")[0] is Status.PROBLEM
    assert "HUB_STORE_URL" in status(refused, "reachable")[1]
    down = await store(f"redis://u:secret@127.0.0.1:{free_port()}", scheme=redis_scheme)
    assert "start it" in status(down, "reachable")[1]
    assert "secret" not in status(down, "reachable")[1]


async def test_a_frozen_redis_does_not_hold_the_command_up(own_redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.cli.doctor.redis.TIMEOUT", 0.5)
    own_redis.freeze()
    try:
        found = await store(own_redis.url)
    finally:
        own_redis.thaw()
    assert "no answer within 0.5 s" in status(found, "reachable")[1]
