from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial

import anyio
import pytest

from hub.brokers.memory.broker import MemoryBroker
from hub.concurrency.services import background_service
from hub.directories import open_directory
from hub.directories.memory import MemoryDirectory
from hub.errors import ConfigurationError, ConnectionLost
from hub.http.client import open_client
from hub.model.instance.instance import run_instance
from hub.ports.directory import Directory
from hub.registry.client.client import RegistryClient
from hub.registry.client.snapshot import ModelsSnapshot
from hub.registry.client.watch import ModelWatch
from hub.registry.service import run_registry
from hub.settings.model import ModelSettings
from hub.settings.registry import RegistrySettings
from hub.stores import open_store
from hub.types import InstanceId, InstanceState
from tests.registry.fakes import FlakyDirectory, ping_server
from tests.registry.fixtures import ServedRegistry, served_registry
from tests.registry.helpers import DIGITS, MODEL, TEXTS, TIMEOUT, entry_of
from tests.support.redis import Redis, emptied
from tests.system.models import Echo

pytestmark = pytest.mark.usefixtures("no_leaked_tasks")


@asynccontextmanager
async def directory_in_redis(redis_url: str, backend: str) -> AsyncGenerator[Directory]:
    """An empty database for each backend."""
    database = {"asyncio": 13, "trio": 14}[backend]
    async with open_directory(emptied(redis_url, database)) as directory:
        yield directory


async def states(registry: ServedRegistry) -> dict[str, str]:
    return {each["id"]: each["state"] for each in (await registry.json("/v1/instances"))["instances"]}


async def test_a_registry_restarted_over_redis_lists_all_live_instances(
    redis_url: str, anyio_backend_name: str
) -> None:
    with anyio.fail_after(TIMEOUT):
        async with directory_in_redis(redis_url, anyio_backend_name) as directory, ping_server() as one:
            async with ping_server() as two, ping_server() as dead:
                async with served_registry(directory=directory) as registry:
                    await registry.login(one)
                    await registry.login(two, "Digits", DIGITS)
                    await registry.login(dead)
                    before = await registry.json("/v1/instances")
                pings = one.pings, two.pings
            async with served_registry(directory=directory) as again:
                after = await again.json("/v1/instances")
                assert [each["id"] for each in after["instances"]] == [one.id]
                assert after["instances"][0]["logged_in_at"] == before["instances"][0]["logged_in_at"]
                assert after["instances"][0]["state"] == "live"
                assert one.pings == pings[0] + 1
                snapshot = await again.client.models()
                assert {str(name) for name in snapshot.models} >= {MODEL, "Digits"}
                assert snapshot.models[MODEL].contract == TEXTS
                assert set(snapshot.active) == {MODEL}


async def test_a_name_stays_taken_over_a_restart(redis_url: str, anyio_backend_name: str) -> None:
    with anyio.fail_after(TIMEOUT):
        async with (
            directory_in_redis(redis_url, anyio_backend_name) as directory,
            ping_server() as incumbent,
            ping_server() as impostor,
        ):
            async with served_registry(directory=directory) as registry:
                await registry.login(incumbent)
            async with served_registry(directory=directory) as again:
                reply = await again.http.put(
                    f"{again.url}/v1/instances/{impostor.id}",
                    json={"model": MODEL, "url": impostor.url, "contract": b64encode(DIGITS.encode()).decode()},
                )
                assert reply.status_code == 409
                assert "pixels" in reply.text


async def test_a_killed_redis_delays_logins_only(private_redis: Redis) -> None:
    with anyio.fail_after(TIMEOUT):
        async with (
            open_directory(private_redis.url, read_timeout=1.0) as directory,
            ping_server() as one,
            ping_server() as two,
            served_registry(directory=directory) as registry,
        ):
            await registry.login(one)
            private_redis.kill()
            with pytest.raises(ConnectionLost):
                await registry.login(two)
            assert await registry.active() == [MODEL]
            private_redis.start()
            while True:
                try:
                    await registry.login(two)
                except ConnectionLost:
                    continue
                break
            assert await states(registry) == {one.id: "live", two.id: "live"}
            await registry.client.logout(one.id)
            await registry.client.logout(two.id)


async def test_pings_remove_dead_instances_and_list_recovered_ones_again() -> None:
    with anyio.fail_after(TIMEOUT):
        async with served_registry(ping_period=1) as registry, ping_server() as one:
            await registry.login(one)
            async with ping_server() as two:
                await registry.login(two)
                await registry.until(lambda snapshot: snapshot.models[MODEL].live == 2)
            await registry.until(lambda snapshot: snapshot.models[MODEL].instances == {"live": 1})
            one.consuming = False
            await registry.until(lambda snapshot: not snapshot.active)
            assert await states(registry) == {one.id: "not_consuming"}
            one.consuming = True
            await registry.until(lambda snapshot: MODEL in snapshot.active)


async def test_an_instance_without_a_broker_is_not_consuming_without_a_ping() -> None:
    def live(snapshot: ModelsSnapshot) -> bool:
        return bool(snapshot.active)

    with anyio.fail_after(TIMEOUT):
        async with (
            served_registry(ping_period=600) as registry,
            MemoryBroker() as broker,
            open_store("memory://") as store,
        ):
            settings = ModelSettings(registry_url=registry.url, ping_period=600)
            instance = partial(run_instance, Echo, settings, broker=broker, store=store)
            async with background_service(instance, name="instance"):
                await registry.until(live)
                for _ in range(3):
                    with broker.outage():
                        await registry.until(lambda snapshot: not live(snapshot))
                        assert list((await states(registry)).values()) == ["not_consuming"]
                    await registry.until(live)
            assert await states(registry) == {}


async def test_instances_log_in_again_at_an_empty_registry() -> None:
    with anyio.fail_after(TIMEOUT):
        async with ping_server() as server:
            async with served_registry() as registry:
                await registry.login(server)
            async with served_registry() as again:
                assert await states(again) == {}
                assert await again.login(server) is InstanceState.LIVE
                assert await again.active() == [MODEL]


async def test_two_registries_share_a_directory() -> None:
    directory = MemoryDirectory()
    with anyio.fail_after(TIMEOUT):
        async with (
            served_registry(directory=directory, ping_period=0.5) as one,
            served_registry(directory=directory, ping_period=0.5) as two,
            ping_server() as server,
        ):
            await one.login(server)
            await two.until(lambda snapshot: MODEL in snapshot.active)
            await one.client.logout(server.id)
            assert await one.active() == []


async def test_logouts_in_the_last_moment_reach_the_directory() -> None:
    directory = FlakyDirectory(MemoryDirectory())
    with anyio.fail_after(TIMEOUT):
        async with ping_server() as server:
            async with served_registry(directory=directory) as registry:
                await registry.login(server)
                directory.down = True
                await registry.client.logout(server.id)
                while (await registry.json("/health/ready"))["out_of_reach"] != ["directory"]:
                    await anyio.lowlevel.checkpoint()
                directory.down = False
            assert await directory.instances() == []


async def test_a_watcher_gets_a_login_without_polling() -> None:
    requests = 0

    async def count(_: object) -> None:
        nonlocal requests
        requests += 1

    with anyio.fail_after(TIMEOUT):
        async with served_registry() as registry, open_client() as http, ping_server() as server:
            http.event_hooks = {"request": [count]}
            watch = ModelWatch(RegistryClient(registry.url, http))
            await anext(watch)
            async with anyio.create_task_group() as tg:

                async def follow() -> None:
                    while MODEL not in (await anext(watch)).active:
                        pass

                tg.start_soon(follow)
                await registry.login(server)
    assert requests <= 4  # the first list, the login, its ping, and the contract


async def test_a_port_that_is_taken_ends_the_registry_with_a_clear_error() -> None:
    with anyio.fail_after(TIMEOUT):
        async with served_registry() as registry, MemoryBroker() as broker:
            settings = RegistrySettings(registry_port=int(registry.url.rpartition(":")[2]))
            with pytest.raises(ConfigurationError, match="choose another port"):
                await run_registry(settings, directory=MemoryDirectory(), broker=broker)


async def test_a_directory_out_of_reach_at_start_ends_the_registry() -> None:
    directory = FlakyDirectory(MemoryDirectory())
    directory.down = True
    with anyio.fail_after(TIMEOUT):
        async with MemoryBroker() as broker:
            with pytest.raises(ConnectionLost, match="pulled plug"):
                await run_registry(RegistrySettings(registry_port=0), directory=directory, broker=broker)


async def test_a_registry_cancelled_at_any_point_of_its_start_stops_cleanly() -> None:
    directory = MemoryDirectory()
    await directory.login(entry_of(id=InstanceId("another")), TEXTS)
    for checkpoints in (*range(12), 16, 24, 40, 80):
        with anyio.fail_after(TIMEOUT):
            async with MemoryBroker() as broker, anyio.create_task_group() as tg:
                settings = RegistrySettings(registry_port=0, ping_period=0.05, ping_timeout=0.02, depth_period=0.01)
                tg.start_soon(partial(run_registry, settings, directory=directory, broker=broker))
                for _ in range(checkpoints):
                    await anyio.lowlevel.checkpoint()
                tg.cancel_scope.cancel()
