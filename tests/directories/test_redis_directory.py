"""What the directory in Redis makes of a server that is killed, frozen or written to by others."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from anyio import fail_after, to_thread

from hub.directories import open_directory
from hub.errors import ConnectionLost, Undecodable
from hub.ports.directory import ModelLimits
from tests.directories.helpers import ANOTHER, ONE, TIMEOUT, instance, instances_of, new_model
from tests.stores.conftest import CASES, Case, on_redis
from tests.stores.test_redis_outages import once_back
from tests.support.redis import Redis


@pytest.fixture(
    scope="module",
    params=[pytest.param(case, id=name, marks=case.marks) for name, case in CASES.items() if case.scheme != "memory"],
)
def case(request: pytest.FixtureRequest) -> Case:
    param = request.param
    assert isinstance(param, Case)
    return param


@pytest.fixture
def url(case: Case, private_redis: Redis) -> str:
    private_redis.ctl("DEL", *(f"hub:{{directory}}:{name}" for name in ("instances", "names", "contracts")))
    return on_redis(private_redis.url, case.scheme)


async def test_a_restart_of_the_server_keeps_all_instances(url: str, private_redis: Redis) -> None:
    entry = instance(new_model())
    with fail_after(TIMEOUT):
        async with open_directory(url) as directory:
            await directory.login(entry, ONE)
            private_redis.kill()
            with pytest.raises(ConnectionLost):
                await directory.instances()
            await to_thread.run_sync(private_redis.start)
            assert await once_back(directory.instances) == [entry]
            assert await directory.login(instance(entry.model, ANOTHER), ANOTHER) == ONE.fingerprint


async def test_a_frozen_server_is_noticed(url: str, private_redis: Redis) -> None:
    with fail_after(TIMEOUT):
        async with open_directory(url, read_timeout=1.0) as directory:
            private_redis.freeze()
            with pytest.raises(ConnectionLost):
                await directory.instances()
            private_redis.thaw()
            assert await once_back(directory.instances) == []


async def test_a_server_without_the_scripts_gets_them(url: str, private_redis: Redis) -> None:
    entry = instance(new_model())
    with fail_after(TIMEOUT):
        async with open_directory(url) as directory:
            private_redis.ctl("SCRIPT", "FLUSH")
            assert await directory.login(entry, ONE) is None
            private_redis.ctl("SCRIPT", "FLUSH")
            assert await directory.logout(entry.id) is True


async def test_an_emptied_server_is_an_empty_directory(url: str, private_redis: Redis) -> None:
    entry = instance(new_model())
    with fail_after(TIMEOUT):
        async with open_directory(url) as directory:
            await directory.login(entry, ONE)
            assert len(await directory.contracts()) == 1
            private_redis.ctl("FLUSHALL")
            assert await directory.instances() == []
            assert await directory.contracts() == []
            assert await directory.login(entry, ONE) is None
            assert [known.contract for known in await directory.contracts()] == [ONE]


@pytest.mark.parametrize("rubbish", ["text", "{}", '{"model": 1}', "\\xff"])
async def test_an_unreadable_entry_is_left_out_of_the_list_and_an_error_of_its_own_calls(
    url: str, private_redis: Redis, rubbish: str
) -> None:
    entry = instance(new_model())
    private_redis.ctl("HSET", "hub:{directory}:instances", entry.id, rubbish)
    private_redis.ctl("HSET", "hub:{directory}:contracts", f"{entry.model} {entry.fingerprint}", rubbish)
    with fail_after(TIMEOUT):
        async with open_directory(url) as directory:
            assert await directory.instances() == []
            for call in (lambda: directory.login(entry, ONE), lambda: directory.logout(entry.id)):
                with pytest.raises(Undecodable):
                    await call()
            private_redis.ctl("HDEL", "hub:{directory}:instances", entry.id)
            assert await directory.login(entry, ONE) is None
            assert await instances_of(directory, entry.model) == [entry]


async def test_an_entry_of_an_earlier_version_is_read(url: str, private_redis: Redis) -> None:
    entry = replace(instance(new_model()), example="", limits=ModelLimits(), comments=())
    facts = {"id": entry.id, "model": entry.model, "url": entry.url, "fingerprint": entry.fingerprint}
    text = json.dumps(facts | {"logged_in_at": entry.logged_in_at})
    private_redis.ctl("HSET", "hub:{directory}:instances", entry.id, text)
    with fail_after(TIMEOUT):
        async with open_directory(url) as directory:
            assert await directory.instances() == [entry]


async def test_another_type_under_a_key_is_undecodable(url: str, private_redis: Redis) -> None:
    private_redis.ctl("SET", "hub:{directory}:instances", "text")
    with fail_after(TIMEOUT):
        async with open_directory(url) as directory:
            with pytest.raises(Undecodable):
                await directory.instances()
            with pytest.raises(Undecodable):
                await directory.login(instance(new_model()), ONE)
