"""What a directory has room for, and what it forgets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from anyio import fail_after

from hub.directories import open_directory
from hub.errors import NotYourInstance, RegistryFull
from hub.ports.directory import Directory, LoginLimits
from tests.directories.helpers import ANOTHER, ONE, THIRD, TIMEOUT, instance, new_model
from tests.stores.conftest import Case, on_redis
from tests.support.redis import Redis

LARGE = LoginLimits()


@pytest.fixture
async def empty(case: Case, request: pytest.FixtureRequest) -> AsyncIterator[Directory]:
    """A directory that no other test uses: bounds and lifetimes are about all that is in it."""
    url = "memory://"
    if case.scheme != "memory":
        server = request.getfixturevalue("private_redis")
        assert isinstance(server, Redis)
        url = on_redis(server.url, case.scheme)
    with fail_after(TIMEOUT):
        async with open_directory(url) as opened:
            yield opened


async def refused(directory: Directory, limits: LoginLimits) -> str:
    with pytest.raises(RegistryFull) as full:
        await directory.login(instance(new_model()), ONE, limits=limits)
    assert f"HUB_{full.value.setting.upper()}" in str(full.value)
    return full.value.setting


async def test_models_and_instances_are_bounded(empty: Directory) -> None:
    model = new_model()
    first, second = instance(model), instance(model)
    for entry in (first, second):
        assert await empty.login(entry, ONE, limits=LARGE) is None
    assert await refused(empty, replace(LARGE, max_models=1)) == "max_models"
    assert await refused(empty, replace(LARGE, max_instances=2)) == "max_instances"
    with pytest.raises(RegistryFull) as full:
        await empty.login(instance(model), ONE, limits=replace(LARGE, max_model_instances=2))
    assert (full.value.setting, full.value.status) == ("max_model_instances", 503)
    tight = LoginLimits(max_models=1, max_instances=2, max_model_instances=2, max_contracts=1)
    assert await empty.login(replace(first, url="http://10.0.0.9:1"), ONE, limits=tight) is None, "it is in already"
    await empty.logout(first.id)
    await empty.logout(second.id)
    assert await empty.login(instance(new_model()), ONE, limits=tight) is None, "who leaves makes room"


async def test_the_only_instance_may_change_its_model_when_there_is_no_room_for_another(empty: Directory) -> None:
    tight = replace(LARGE, max_models=1, max_instances=1)
    entry = instance(new_model())
    assert await empty.login(entry, ONE, limits=tight) is None
    assert await empty.login(replace(entry, model=new_model()), ONE, limits=tight) is None


async def test_a_new_contract_takes_the_place_of_the_longest_unused_one(empty: Directory) -> None:
    model, used = new_model(), instance(new_model())
    await empty.login(used, ONE)
    for contract in (ONE, ANOTHER):
        entry = instance(model, contract)
        await empty.login(entry, contract)
        await empty.logout(entry.id)
    assert await empty.login(instance(model, THIRD), THIRD, limits=replace(LARGE, max_contracts=3)) is None
    kept = {(one.model, one.contract.fingerprint) for one in await empty.contracts()}
    assert kept == {
        (used.model, ONE.fingerprint),
        (model, ANOTHER.fingerprint),
        (model, THIRD.fingerprint),
    }, "the one of the instance that is up stays, and of the others the latest"
    for full in (replace(LARGE, max_contracts=2), replace(LARGE, max_contract_bytes=10)):
        with pytest.raises(RegistryFull, match="max_contract"):
            await empty.login(instance(new_model(), ANOTHER), ANOTHER, limits=full)


async def test_names_that_came_and_went_leave_nothing_after_their_lifetime(
    empty: Directory, case: Case, request: pytest.FixtureRequest
) -> None:
    stays = instance(new_model())
    await empty.login(stays, ONE)
    for _ in range(600):
        entry = instance(new_model())
        await empty.login(entry, ONE, limits=LARGE)
        await empty.logout(entry.id)
    assert await empty.forget(3600) == 0
    assert len(await empty.contracts()) == 601
    assert await empty.forget(0) == 600
    assert [each.model for each in await empty.contracts()] == [stays.model]
    assert await empty.forget(0) == 0
    await empty.logout(stays.id)
    assert await empty.forget(0) == 1
    if case.scheme != "memory":
        server = request.getfixturevalue("private_redis")
        left = set(server.ctl("keys", "*").split())
        bounded = {f"hub:{{directory}}:{part}" for part in ("changes", "revision", "weight", "history")}
        assert left <= bounded, "no name is in any of the keys that are left but the one of changes, which is bounded"
        assert server.ctl("get", "hub:{directory}:weight").strip() == "0"


async def test_contracts_of_an_earlier_release_get_a_lifetime_and_a_weight(
    empty: Directory, case: Case, request: pytest.FixtureRequest
) -> None:
    entry = instance(new_model())
    await empty.login(entry, ONE)
    await empty.logout(entry.id)
    if case.scheme != "memory":
        request.getfixturevalue("private_redis").ctl("del", "hub:{directory}:unused", "hub:{directory}:weight")
    assert await empty.forget(3600) == 0
    assert len(await empty.contracts()) == 1
    assert await empty.forget(0) == 1


async def test_an_instance_with_a_secret_is_changed_with_it_only(empty: Directory) -> None:
    entry = replace(instance(new_model()), secret_hash="a" * 64)
    assert await empty.login(entry, ONE) is None
    for proof in ("", "b" * 64):
        with pytest.raises(NotYourInstance):
            await empty.login(replace(entry, url="http://10.0.0.8:1", secret_hash=proof), ONE, proof=proof)
    assert await empty.instances() == [entry]
    moved = replace(entry, url="http://10.0.0.8:1")
    assert await empty.login(moved, ONE, proof="a" * 64) is None
    assert await empty.instances() == [moved]
