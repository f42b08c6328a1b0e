"""The schema registry: what was accepted, what differs, and what could log in."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import anyio
import pytest

from hub.contract import Contract
from hub.directories.memory import MemoryDirectory
from hub.errors import UnknownModel
from hub.http.client import open_client
from hub.ports.directory import Directory
from hub.registry.client.client import RegistryClient
from hub.registry.client.contract_schemas import CheckReply
from hub.registry.client.errors import NameTaken
from hub.registry.client.login import LoginRequest
from hub.types import ModelName
from tests.registry.fakes import PingServer, ping_server
from tests.registry.fixtures import ServedRegistry, served_registry
from tests.registry.helpers import BROKEN, GROWN, GROWN_MORE, MODEL, PLAIN, TIMEOUT, grown
from tests.registry.test_http import problem
from tests.registry.test_service import directory_in_redis

pytestmark = pytest.mark.usefixtures("no_leaked_tasks")

NAME = ModelName(MODEL)


async def brought(registry: ServedRegistry, *contracts: Contract) -> list[str]:
    """Logs in one instance after the other, each removed before the next; the last one stays. Returns their ids."""
    ids: list[str] = []
    for contract in contracts:
        async with ping_server() as server:
            await registry.login(server, contract=contract)
            await registry.client.logout(server.id)
            ids.append(server.id)
    return ids


async def test_every_contract_is_listed_with_its_first_login() -> None:
    with anyio.fail_after(TIMEOUT):
        async with served_registry() as registry:
            ids = await brought(registry, PLAIN, GROWN)
            async with ping_server() as server:
                await registry.login(server, contract=PLAIN)
                history = await registry.client.schema_history(NAME)
                listed = await registry.client.schemas()
    assert [(each.fingerprint, each.first_seen_from) for each in history.contracts] == [
        (PLAIN.fingerprint, ids[0]),
        (GROWN.fingerprint, ids[1]),
    ]
    assert [(each.present, each.instances) for each in history.contracts] == [(True, 1), (False, 0)]
    assert history.contracts[0].first_seen_at <= history.contracts[1].first_seen_at
    assert {(each.request, each.response) for each in history.contracts} == {("grow.v1.Ask", "grow.v1.Answer")}
    assert listed.mode == "strict"
    [summary] = listed.schemas
    assert (summary.model, summary.fingerprint, summary.contracts, summary.active) == (
        MODEL,
        PLAIN.fingerprint,
        2,
        True,
    )
    assert summary.first_seen_from == ids[0]


async def test_two_contracts_are_compared_with_the_rules_that_are_broken() -> None:
    with anyio.fail_after(TIMEOUT):
        async with served_registry() as registry:
            await brought(registry, PLAIN, GROWN, BROKEN)
            path = f"/v1/schemas/{MODEL}/diff"
            last = await registry.json(path)
            growth = await registry.json(f"{path}?from={PLAIN.fingerprint[:8]}&to={GROWN.fingerprint}")
            back = await registry.json(f"{path}?from={GROWN.fingerprint}&to={PLAIN.fingerprint}")
            same = await registry.json(f"{path}?to={PLAIN.fingerprint}")
    assert (last["from"], last["to"], last["breaks"]) == (GROWN.fingerprint, BROKEN.fingerprint, True)
    named = {(each["path"], each["rule"]) for each in last["differences"]}
    assert ("grow.v1.Ask.text", "FIELD_SAME_NAME") in named
    assert ("grow.v1.Answer.tone", "FIELD_NO_DELETE_UNLESS_NAME_RESERVED") in named
    assert growth["breaks"] is False
    assert [(each["path"], each["rule"], each["breaks"]) for each in growth["differences"]] == [
        ("grow.v1.Answer.tone", "", False),
        ("grow.v1.Ask.tone", "", False),
    ]
    assert back["breaks"] is True
    assert (same["from"], same["differences"]) == (PLAIN.fingerprint, []), "the first one has none before it"


async def test_after_a_restart_without_instances_the_newest_contract_is_the_current_one() -> None:
    directory = MemoryDirectory()
    with anyio.fail_after(TIMEOUT):
        async with served_registry(directory=directory) as registry:
            await brought(registry, PLAIN, GROWN)
        async with served_registry(directory=directory) as registry:
            history = await registry.client.schema_history(NAME)
    assert [(each.fingerprint, each.present) for each in history.contracts] == [
        (PLAIN.fingerprint, False),
        (GROWN.fingerprint, True),
    ]


async def test_a_registry_that_starts_again_in_the_middle_of_a_deployment_lists_old_and_new() -> None:
    directory = MemoryDirectory()
    with anyio.fail_after(TIMEOUT):
        async with ping_server() as old, ping_server() as new, open_client() as http:
            async with served_registry(directory=directory, contract_mode="compatible") as registry:
                owner, port = RegistryClient(registry.url, http), urlsplit(registry.url).port or 0
                await owner.login(LoginRequest(instance=old.id, model=MODEL, url=old.url, contract=PLAIN))
                await owner.login(LoginRequest(instance=new.id, model=MODEL, url=new.url, contract=GROWN))
            async with served_registry(directory=directory, contract_mode="compatible", port=port) as registry:
                await serves(registry, MODEL, PLAIN, 2)
                await owner.logout(old.id)
                await serves(registry, MODEL, GROWN, 1)


@pytest.mark.parametrize("path", ["/v1/schemas", f"/v1/schemas/{MODEL}/history", f"/v1/schemas/{MODEL}/diff"])
async def test_an_unchanged_reply_is_a_304(path: str) -> None:
    with anyio.fail_after(TIMEOUT):
        async with served_registry() as registry:
            await brought(registry, PLAIN)
            first = await registry.get(path)
            assert (await registry.get(path, if_none_match=first.headers["etag"])).status_code == 304
            await brought(registry, GROWN)
            assert (await registry.get(path, if_none_match=first.headers["etag"])).status_code == 200


@pytest.mark.parametrize("query", ["fingerprint=", "diff?from=", "diff?to="])
async def test_the_error_for_an_unknown_contract_names_the_known_ones(query: str) -> None:
    with anyio.fail_after(TIMEOUT):
        async with served_registry() as registry:
            await brought(registry, PLAIN, GROWN)
            for unknown in ("0" * 64, PLAIN.fingerprint[:5]):
                path = f"/{query}{unknown}" if "diff" in query else f"?{query}{unknown}"
                body = problem(await registry.get(f"/v1/schemas/{MODEL}{path}"), 404, "unknown_contract")
                assert body["known"] == [PLAIN.fingerprint, GROWN.fingerprint]
                assert f"/v1/schemas/{MODEL}/history" in body["detail"]


async def test_an_unknown_model_has_no_schema() -> None:
    with anyio.fail_after(TIMEOUT):
        async with served_registry() as registry:
            for path in ("history", "diff"):
                problem(await registry.get(f"/v1/schemas/Unknown/{path}"), 404, "unknown_model")
            with pytest.raises(UnknownModel):
                await registry.client.check(ModelName("Unknown"), PLAIN)
            with pytest.raises(UnknownModel):
                await registry.client.schema_history(ModelName("Unknown"))


async def checks(registry: ServedRegistry) -> list[CheckReply]:
    return [await registry.client.check(NAME, contract) for contract in (PLAIN, GROWN, BROKEN)]


async def test_in_strict_mode_only_the_same_contract_could_log_in() -> None:
    with anyio.fail_after(TIMEOUT):
        async with served_registry() as registry:
            await brought(registry, PLAIN)
            replies = await checks(registry)
    assert {reply.mode for reply in replies} == {"strict"}
    assert [(reply.could_log_in, reply.compatible) for reply in replies] == [
        (True, True),
        (False, True),
        (False, False),
    ]
    assert {each.rule for each in replies[2].differences if each.breaks} == {"FIELD_SAME_NAME", "FIELD_SAME_JSON_NAME"}


async def test_in_compatible_mode_a_contract_without_breaking_changes_could_log_in() -> None:
    with anyio.fail_after(TIMEOUT):
        async with served_registry(contract_mode="compatible") as registry:
            await brought(registry, PLAIN)
            replies = await checks(registry)
            async with ping_server() as server:
                await registry.login(server, contract=GROWN_MORE)
                assert not (await registry.client.check(NAME, GROWN)).could_log_in, "smaller, and never seen"
                assert (await registry.client.check(NAME, PLAIN)).could_log_in, "smaller, and seen before"
    assert {reply.mode for reply in replies} == {"compatible"}
    assert [(reply.could_log_in, reply.compatible) for reply in replies] == [(True, True), (True, True), (False, False)]


@pytest.fixture(params=["memory", "redis"])
async def two(
    request: pytest.FixtureRequest, redis_url: str, anyio_backend_name: str
) -> AsyncGenerator[tuple[ServedRegistry, ServedRegistry]]:
    """Two registries in compatible mode over one directory. They apply each other's changes."""

    @asynccontextmanager
    async def opened() -> AsyncGenerator[Directory]:
        if request.param == "memory":
            yield MemoryDirectory()
        else:
            async with directory_in_redis(redis_url, anyio_backend_name) as directory:
                yield directory

    async with (
        opened() as directory,
        served_registry(directory=directory, contract_mode="compatible") as one,
        served_registry(directory=directory, contract_mode="compatible") as other,
    ):
        yield one, other


async def serves(registry: ServedRegistry, model: str, contract: Contract, instances: int) -> None:
    """Returns once the registry lists the model with this contract, and that many live instances."""

    def listed(live: int, fingerprint: str) -> bool:
        return (live, fingerprint) == (instances, contract.fingerprint)

    await registry.until(
        lambda snapshot: (
            ModelName(model) in snapshot.models
            and listed(snapshot.models[ModelName(model)].live, snapshot.models[ModelName(model)].fingerprint)
        )
    )


async def test_a_grown_contract_joins_and_takes_over_when_the_last_old_instance_goes(
    two: tuple[ServedRegistry, ServedRegistry], request: pytest.FixtureRequest
) -> None:
    one, other = two
    model = f"M{abs(hash(request.node.nodeid))}"

    async def login(registry: ServedRegistry, server: PingServer, contract: Contract) -> frozenset[str]:
        admission = await registry.client.login(
            LoginRequest(instance=server.id, model=ModelName(model), url=server.url, contract=contract)
        )
        return admission.accepts

    with anyio.fail_after(TIMEOUT):
        async with ping_server() as old, ping_server() as replica, ping_server() as new, ping_server() as bad:
            assert await login(one, old, PLAIN) == frozenset()
            assert await login(other, new, GROWN) == {PLAIN.fingerprint}
            for registry in two:
                await serves(registry, model, PLAIN, 2)
            assert await login(other, replica, PLAIN) == frozenset(), "an old replica restarts"
            with pytest.raises(NameTaken, match="FIELD_SAME_NAME"):
                await login(one, bad, BROKEN)
            await one.client.logout(old.id)
            for registry in two:
                await serves(registry, model, PLAIN, 2)
            await other.client.logout(replica.id)
            for registry in two:
                await serves(registry, model, GROWN, 1)
            history = await one.client.schema_history(ModelName(model))
            assert [(each.present, each.instances) for each in history.contracts] == [(False, 0), (True, 1)]
            assert await login(one, old, PLAIN) == frozenset(), "the deployment is taken back"
            for registry in two:
                await serves(registry, model, PLAIN, 2)


async def test_of_two_incompatible_successors_one_is_accepted(
    two: tuple[ServedRegistry, ServedRegistry], request: pytest.FixtureRequest
) -> None:
    model = ModelName(f"M{abs(hash(request.node.nodeid))}")
    contracts = (grown("tone"), grown("tune"))
    refusals: list[NameTaken] = []

    async def login(registry: ServedRegistry, server: PingServer, contract: Contract) -> None:
        try:
            await registry.client.login(
                LoginRequest(instance=server.id, model=model, url=server.url, contract=contract)
            )
        except NameTaken as taken:
            refusals.append(taken)

    with anyio.fail_after(TIMEOUT):
        async with ping_server() as old, ping_server() as left, ping_server() as right:
            await two[0].client.login(LoginRequest(instance=old.id, model=model, url=old.url, contract=PLAIN))
            async with anyio.create_task_group() as tg:
                for registry, server, contract in zip(two, (left, right), contracts, strict=True):
                    tg.start_soon(login, registry, server, contract)
            [taken] = refusals
            assert any("FIELD_SAME_NAME" in difference for difference in taken.differences)
            for registry in two:
                await serves(registry, model, PLAIN, 2)
