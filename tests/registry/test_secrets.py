"""Instances prove themselves: what a login or logout can do without the secret of the instance."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from anyio import fail_after
from httpx2 import Response

from hub.directories.memory import MemoryDirectory
from hub.errors import NotYourInstance
from hub.registry.client.client import RegistryClient
from hub.registry.client.login import LoginRequest
from hub.types import ModelName
from tests.registry.fakes import PingServer, ping_server
from tests.registry.fixtures import ServedRegistry, served_registry
from tests.registry.helpers import DIGITS, MODEL, TEXTS, TIMEOUT

SECRET = "Hub-Instance-Secret"


async def put(registry: ServedRegistry, server: PingServer, secret: str = "", **changes: object) -> Response:
    body = {"model": MODEL, "url": server.url, "contract": base64.b64encode(TEXTS.encode()).decode(), **changes}
    headers = {SECRET: secret} if secret else {}
    return await registry.http.put(f"{registry.url}/v1/instances/{server.id}", json=body, headers=headers)


async def delete(registry: ServedRegistry, server: PingServer, secret: str = "") -> Response:
    headers = {SECRET: secret} if secret else {}
    return await registry.http.delete(f"{registry.url}/v1/instances/{server.id}", headers=headers)


async def listed(registry: ServedRegistry) -> Any:
    return (await registry.json("/v1/instances"))["instances"]


async def test_only_the_secret_of_the_login_logs_out() -> None:
    with fail_after(TIMEOUT):
        async with served_registry() as registry, ping_server() as server:
            secret = (await put(registry, server)).json()["secret"]
            assert len(secret) >= 32
            for wrong in ("", "x" * 40, secret + "x"):
                refused = await delete(registry, server, wrong)
                assert refused.status_code == 403, refused.text
                assert refused.json()["code"] == "not_your_instance"
                assert SECRET in refused.json()["detail"]
            assert [one["state"] for one in await listed(registry)] == ["live"]
            assert secret not in (await registry.get("/v1/instances")).text
            assert (await delete(registry, server, secret)).status_code == 204
            assert await listed(registry) == []
            assert (await delete(registry, server)).status_code == 204, "it is idempotent"


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"url": "http://127.0.0.1:9"},
        {"model": "Other"},
        {"contract": base64.b64encode(DIGITS.encode()).decode()},
    ],
    ids=["thief's url", "dead url", "model", "contract"],
)
async def test_a_listed_id_is_not_taken_over(change: dict[str, object]) -> None:
    with fail_after(TIMEOUT):
        async with served_registry() as registry, ping_server() as server, ping_server(server.id) as thief:
            assert (await put(registry, server)).status_code == 201
            before = await listed(registry)
            for secret in ("", "y" * 40):
                refused = await put(registry, server, secret, **{"url": thief.url, **change})
                assert refused.status_code == 403, refused.text
                now = await listed(registry)
                assert [(one["url"], one["model"], one["fingerprint"], one["state"]) for one in now] == [
                    (one["url"], one["model"], one["fingerprint"], one["state"]) for one in before
                ]


async def test_without_the_secret_a_login_with_the_same_facts_only_has_the_instance_pinged() -> None:
    with fail_after(TIMEOUT):
        async with served_registry() as registry, ping_server() as server:
            secret = (await put(registry, server)).json()["secret"]
            again = await put(registry, server, consuming=False, example='{"x":1}', limits={"concurrency": 9})
            assert again.status_code == 200
            assert (again.json()["secret"], again.json()["state"]) == ("", "live")
            assert (await registry.json(f"/v1/models/{MODEL}"))["example"] == ""
            assert (await put(registry, server, secret, consuming=False)).status_code == 200


async def test_the_owner_may_move_and_repeat_a_login_whose_reply_was_lost() -> None:
    own = "s" * 43
    with fail_after(TIMEOUT):
        async with served_registry() as registry, ping_server() as server, ping_server(server.id) as moved:
            assert (await put(registry, server, own)).status_code == 201
            again = await put(registry, server, own)
            assert (again.status_code, again.json()["secret"]) == (200, own)
            assert (await put(registry, server, own, url=moved.url)).status_code == 201
            assert [one["url"] for one in await listed(registry)] == [moved.url]


async def test_an_id_whose_instance_is_dead_is_free_for_its_next_start() -> None:
    with fail_after(TIMEOUT):
        async with served_registry() as registry, ping_server() as server:
            async with ping_server(server.id) as first:
                await put(registry, first)
            assert (await put(registry, server)).status_code == 201
            assert [one["url"] for one in await listed(registry)] == [server.url]


async def test_the_secret_holds_after_a_restart_and_at_other_registries() -> None:
    directory = MemoryDirectory()
    with fail_after(TIMEOUT):
        async with ping_server() as server, ping_server(server.id) as thief:
            async with served_registry(directory=directory) as registry:
                secret = (await put(registry, server)).json()["secret"]
                async with served_registry(directory=directory) as other:
                    assert (await put(other, thief)).status_code == 403
                    assert (await delete(other, server)).status_code == 403
            (entry,) = await directory.instances()
            assert secret not in repr(entry), "it is hashed"
            async with served_registry(directory=directory) as restarted:
                assert (await put(restarted, thief)).status_code == 403
                assert (await put(restarted, server, secret)).status_code == 200
                assert (await delete(restarted, server, secret)).status_code == 204


async def test_the_directory_refuses_when_a_registry_does_not_know_the_instance_yet() -> None:
    directory = MemoryDirectory()
    with fail_after(TIMEOUT):
        async with (
            ping_server() as server,
            ping_server(server.id) as thief,
            served_registry(directory=directory) as one,
            served_registry(directory=directory) as other,
        ):
            await put(one, server)
            assert (await put(other, thief)).status_code == 403
            assert [each["url"] for each in await listed(other)] == [server.url]


async def test_the_client_keeps_its_secret_and_an_empty_registry_accepts_it() -> None:
    with fail_after(TIMEOUT):
        async with ping_server() as server:
            async with served_registry() as registry:
                await registry.login(server)
                await registry.login(server)
                stranger = RegistryClient(registry.url, registry.http)
                with pytest.raises(NotYourInstance):
                    await stranger.logout(server.id)
                with pytest.raises(NotYourInstance):
                    await stranger.login(
                        LoginRequest(instance=server.id, model=ModelName("Other"), url=server.url, contract=TEXTS)
                    )
                await registry.client.logout(server.id)
                assert await listed(registry) == []


@pytest.mark.parametrize("secret", ["short", "x" * 129])
async def test_a_chosen_secret_has_length_limits(secret: str) -> None:
    with fail_after(TIMEOUT):
        async with served_registry() as registry, ping_server() as server:
            refused = await put(registry, server, secret)
            assert (refused.status_code, refused.json()["field"]) == (422, SECRET)
