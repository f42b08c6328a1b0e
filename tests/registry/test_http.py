from __future__ import annotations

import base64
import gzip
import pickle
from collections.abc import AsyncGenerator
from hashlib import sha1
from typing import Any

import anyio
import msgspec
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from httpx2 import Response

from hub.contract import Contract
from hub.registry.client.errors import InstanceUnreachable, NameTaken
from hub.registry.client.schemas import SECRET_HEADER
from hub.stores.redis.commands import FINISH
from hub.types import InstanceState, new_instance_id
from hub.v1 import contract_pb2
from tests.registry.fakes import ping_server
from tests.registry.fixtures import ServedRegistry, served_registry
from tests.registry.helpers import BROKEN, DIGITS, GROWN, MODEL, PLAIN, TEXTS, TIMEOUT

pytestmark = pytest.mark.usefixtures("no_leaked_tasks")


@pytest.fixture
async def registry() -> AsyncGenerator[ServedRegistry]:
    with anyio.fail_after(TIMEOUT):
        async with served_registry() as served:
            yield served


def problem(reply: Response, status: int, code: str) -> dict[str, Any]:
    assert reply.status_code == status, reply.text
    assert reply.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = reply.json()
    assert (body["status"], body["code"]) == (status, code)
    return body


def login_body(**changes: object) -> dict[str, object]:
    body: dict[str, object] = {
        "model": MODEL,
        "url": "http://127.0.0.1:9",
        "contract": base64.b64encode(TEXTS.encode()).decode(),
    }
    return body | changes


async def test_every_get_has_its_head_and_every_path_one_allow(registry: ServedRegistry) -> None:
    paths = {
        "/v1/models": "GET, HEAD, OPTIONS",
        "/v1/instances": "GET, HEAD, OPTIONS",
        f"/v1/instances/{new_instance_id()}": "DELETE, OPTIONS, PUT",
        "/v1/schemas": "GET, HEAD, OPTIONS",
        "/v1/prometheus/targets": "GET, HEAD, OPTIONS",
        "/v1/store/scripts": "GET, HEAD, OPTIONS",
        "/health/live": "GET, HEAD, OPTIONS",
        "/health/ready": "GET, HEAD, OPTIONS",
        "/metrics": "GET, HEAD, OPTIONS",
        "/docs": "GET, HEAD, OPTIONS",
        "/openapi.json": "GET, HEAD, OPTIONS",
        "/": "GET, HEAD, OPTIONS",
    }
    for path, allow in paths.items():
        url = registry.url + path
        options, refused = await registry.http.options(url), await registry.http.patch(url)
        assert (options.status_code, refused.status_code) == (204, 405), path
        assert options.headers["allow"] == refused.headers["allow"] == allow, path
        assert problem(refused, 405, "method_not_allowed")
        head, get = await registry.http.head(url), await registry.http.get(url)
        assert (head.status_code, head.content) == (get.status_code, b""), path
        if path != "/metrics":  # whose stats change
            assert {**head.headers, "date": ""} == {**get.headers, "date": ""}, path
    problem(await registry.http.options(f"{registry.url}/none"), 404, "not_found")


async def test_a_login_may_come_compressed_and_no_larger_than_a_plain_one(registry: ServedRegistry) -> None:
    packed = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    async with ping_server() as server:
        url = f"{registry.url}/v1/instances/{server.id}"
        body = gzip.compress(msgspec.json.encode(login_body(url=server.url)))
        assert (await registry.http.put(url, content=body, headers=packed)).status_code == 201
        bomb = gzip.compress(msgspec.json.encode(login_body(url=server.url, example="x" * 50_000_000)))
        problem(await registry.http.put(url, content=bomb, headers=packed), 413, "content_too_large")
        problem(await registry.http.put(url, content=body[:-1], headers=packed), 400, "malformed_content_encoding")
        other = await registry.http.put(url, content=body, headers={**packed, "Content-Encoding": "br"})
        problem(other, 415, "unsupported_content_encoding")
        assert other.headers["accept-encoding"] == "gzip, deflate"


async def test_comments_beyond_the_limit_are_refused(registry: ServedRegistry) -> None:
    async with ping_server() as server:
        url = f"{registry.url}/v1/instances/{server.id}"
        body = login_body(url=server.url, comments={"a.Message": "x" * 32_760})
        assert "32769 characters" in problem(await registry.http.put(url, json=body), 422, "invalid_login")["detail"]
        body = login_body(url=server.url, comments={"a.Message": "x" * 32_759})
        assert (await registry.http.put(url, json=body)).status_code == 201


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"a":' * 100_000, b'{"model": "A", "x": ' + b"[" * 200_000])
async def test_json_that_is_nested_too_deep_is_a_bad_request(registry: ServedRegistry, body: bytes) -> None:
    for method, path in (("PUT", f"/v1/instances/{new_instance_id()}"), ("POST", "/v1/schemas/ModelA/check")):
        headers = {"Content-Type": "application/json"}
        reply = await registry.http.request(method, registry.url + path, content=body, headers=headers)
        assert "nested too deep" in problem(reply, 400, "bad_request")["detail"]


@pytest.mark.parametrize("media_type", [None, "", "text/plain", "application/x-www-form-urlencoded"])
async def test_a_body_has_to_be_declared_as_json(registry: ServedRegistry, media_type: str | None) -> None:
    headers = {} if media_type is None else {"Content-Type": media_type}
    for method, path in (("PUT", f"/v1/instances/{new_instance_id()}"), ("POST", "/v1/schemas/ModelA/check")):
        body = msgspec.json.encode(login_body())
        reply = await registry.http.request(method, registry.url + path, content=body, headers=headers)
        assert "application/json" in problem(reply, 415, "unsupported_media_type")["detail"]


async def test_cross_site_requests_and_rebound_names_are_refused(registry: ServedRegistry) -> None:
    url = f"{registry.url}/v1/instances/{new_instance_id()}"
    for method in ("PUT", "DELETE", "POST"):
        reply = await registry.http.request(method, url, headers={"Origin": "http://evil.example"})
        problem(reply, 403, "cross_site_request")
    for path in ("/v1/models", "/metrics", "/health/live", "/docs", "/none"):
        problem(await registry.get(path, host="evil.example"), 421, "unknown_host")
    assert (await registry.get("/v1/models", host="localhost:1")).status_code == 200


async def test_refusals_of_other_sites_and_hosts_are_counted_by_reason(registry: ServedRegistry) -> None:
    async def refused(reason: str) -> float:
        text = (await registry.get("/metrics")).text
        name = f'hub_http_requests_refused_total{{reason="{reason}"}}'
        (line,) = [each for each in text.splitlines() if each.startswith(name)]
        return float(line.split()[-1])

    sites, hosts = await refused("cross_site"), await refused("unknown_host")
    await registry.http.post(f"{registry.url}/v1/models", headers={"Origin": "http://evil.example"})
    for _ in range(2):
        await registry.get("/v1/models", host="evil.example")
    assert (await refused("cross_site"), await refused("unknown_host")) == (sites + 1, hosts + 2)


@pytest.mark.parametrize("accept", ["text/plain;version=abc", "application/openmetrics-text;version=", ";;;="])
async def test_metrics_are_served_for_any_accept_header(registry: ServedRegistry, accept: str) -> None:
    assert (await registry.get("/metrics", accept=accept)).status_code == 200


async def test_a_long_list_comes_compressed_and_is_watched_under_its_etag(registry: ServedRegistry) -> None:
    document = await registry.get("/openapi.json", accept_encoding="gzip")
    assert (document.headers["content-encoding"], document.headers["etag"][:2]) == ("gzip", "W/")
    again = await registry.get("/openapi.json", accept_encoding="gzip", if_none_match=document.headers["etag"])
    assert (again.status_code, again.headers["etag"]) == (304, document.headers["etag"])


async def test_a_login_is_created_once_and_lists_its_model(registry: ServedRegistry) -> None:
    async with ping_server() as server:
        url = f"{registry.url}/v1/instances/{server.id}"
        first = await registry.http.put(url, json=login_body(url=server.url))
        again = await registry.http.put(url, json=login_body(url=server.url))
        assert (first.status_code, again.status_code) == (201, 200)
        assert first.json()["state"] == "live"
        (model,) = (await registry.json("/v1/models"))["models"]
        (instance,) = model["instances"]
        assert (model["name"], model["active"], model["fingerprint"]) == (MODEL, True, TEXTS.fingerprint)
        assert (model["request"], model["response"]) == (TEXTS.request, TEXTS.response)
        assert (instance["id"], instance["url"], instance["state"]) == (server.id, server.url, "live")
        assert instance["answered_at"] >= instance["logged_in_at"] > 0
        assert await registry.json("/v1/instances") == {"instances": [instance]}
        assert (await registry.json(f"/v1/models/{MODEL}"))["name"] == MODEL


async def test_a_logout_removes_at_once_and_may_be_repeated(registry: ServedRegistry) -> None:
    async with ping_server() as server:
        url = f"{registry.url}/v1/instances/{server.id}"
        login = await registry.http.put(url, json=login_body(url=server.url))
        for _ in range(2):
            reply = await registry.http.delete(url, headers={SECRET_HEADER: login.json()["secret"]})
            assert (reply.status_code, reply.content) == (204, b"")
            assert await registry.active() == []
    assert (await registry.http.delete(f"{registry.url}/v1/instances/unknown")).status_code == 204


async def test_a_model_without_instances_is_known_but_not_listed(registry: ServedRegistry) -> None:
    async with ping_server() as server:
        await registry.login(server)
        await registry.client.logout(server.id)
    assert await registry.active() == []
    known = (await registry.json("/v1/models?known=true"))["models"]
    assert [(model["name"], model["active"], model["instances"]) for model in known] == [(MODEL, False, [])]
    assert (await registry.json(f"/v1/models/{MODEL}"))["active"] is False


async def test_an_instance_that_does_not_consume_has_a_reason_and_does_not_make_its_model_active(
    registry: ServedRegistry,
) -> None:
    async with ping_server() as server:
        server.consuming = False
        assert await registry.login(server) is InstanceState.NOT_CONSUMING
        (instance,) = (await registry.json("/v1/instances"))["instances"]
        assert (instance["state"], instance["reason"]) == ("not_consuming", "no connection")
        assert await registry.active() == []


async def test_a_taken_name_is_a_409_that_names_each_differing_field_and_the_incumbents(
    registry: ServedRegistry,
) -> None:
    async with ping_server() as incumbent, ping_server() as impostor:
        await registry.login(incumbent)
        before = await registry.get("/v1/models")
        reply = await registry.http.put(
            f"{registry.url}/v1/instances/{impostor.id}",
            json=login_body(url=impostor.url, contract=base64.b64encode(DIGITS.encode()).decode()),
        )
        body = problem(reply, 409, "name_taken")
        text = " ".join(body["differences"])
        for field in ("messages", "pixels", "reply", "label", "probabilities"):
            assert field in text
        assert body["incumbents"] == [f"live instance {incumbent.id} at {incumbent.url}"]
        assert (await registry.get("/v1/models")).headers["etag"] == before.headers["etag"]
        assert impostor.pings == 0


async def test_the_client_raises_the_error_of_the_reply(registry: ServedRegistry) -> None:
    async with ping_server() as incumbent, ping_server() as impostor:
        await registry.login(incumbent)
        with pytest.raises(NameTaken, match="pixels") as taken:
            await registry.login(impostor, contract=DIGITS)
        assert taken.value.incumbents == (f"live instance {incumbent.id} at {incumbent.url}",)
        with pytest.raises(InstanceUnreachable, match="another instance answers there") as unreachable:
            await registry.login(impostor, "Other", url=incumbent.url)
        assert unreachable.value.url == incumbent.url


async def test_the_error_for_a_grown_message_names_the_mode_that_accepts_it(registry: ServedRegistry) -> None:
    async with ping_server() as incumbent, ping_server() as newer:
        await registry.login(incumbent, "Grower", PLAIN)
        with pytest.raises(NameTaken, match=r"HUB_CONTRACT_MODE=compatible.*or give your model another name") as grown:
            await registry.login(newer, "Grower", GROWN)
        assert grown.value.compatible
        assert pickle.loads(pickle.dumps(grown.value)).compatible
        for contract in (BROKEN, DIGITS):
            with pytest.raises(NameTaken, match="Give your model another name") as broken:
                await registry.login(newer, "Grower", contract)
            assert "HUB_CONTRACT_MODE" not in str(broken.value)


async def test_in_compatible_mode_the_error_does_not_name_the_mode() -> None:
    async with served_registry(contract_mode="compatible") as registry, ping_server() as one, ping_server() as two:
        await registry.login(one, "Grower", PLAIN)
        with pytest.raises(NameTaken) as broken:
            await registry.login(two, "Grower", BROKEN)
        assert "HUB_CONTRACT_MODE" not in str(broken.value)


async def test_a_login_from_an_unreachable_address_is_a_502_that_names_the_setting(registry: ServedRegistry) -> None:
    async with ping_server() as server:
        pass
    reply = await registry.http.put(f"{registry.url}/v1/instances/{server.id}", json=login_body(url=server.url))
    body = problem(reply, 502, "instance_unreachable")
    assert "HUB_ADVERTISE_HOST" in body["detail"]
    assert (body["url"], body["reason"]) == (server.url, "connection refused")
    assert reply.headers["retry-after"] == "1"


@pytest.mark.parametrize(
    ("changes", "code", "repair"),
    [
        ({"model": "1st"}, "invalid_name", "start with a letter"),
        ({"model": "../x"}, "invalid_name", "start with a letter"),
        ({"url": "127.0.0.1:9"}, "invalid_login", "write http://host:port"),
        ({"url": "http://10.0.0.7:9"}, "invalid_login", "HUB_INSTANCE_NETWORKS"),
        ({"contract": base64.b64encode(b"\xff\xff").decode()}, "invalid_contract", "hub.v1.Contract"),
        ({"contract": ""}, "invalid_contract", "does not declare|do not declare|names"),
        ({"limits": {"concurrency": 0}}, "invalid_login", "limits.concurrency: 0 is less than one task at a time"),
        ({"limits": {"max_batch_size": 0}}, "invalid_login", "limits.max_batch_size: 0 is less than one task"),
        ({"limits": {"default_timeout": 0}}, "invalid_login", "limits.default_timeout: 0 is no time"),
        ({"limits": {"max_timeout": -2.5}}, "invalid_login", "limits.max_timeout: -2.5 is no time"),
        (
            {"limits": {"default_timeout": 9, "max_timeout": 8.5}},
            "invalid_login",
            "it is 9 s, and max_timeout is 8.5 s",
        ),
    ],
)
async def test_a_login_that_cannot_be_accepted_is_a_422_that_names_the_repair(
    registry: ServedRegistry, changes: dict[str, object], code: str, repair: str
) -> None:
    reply = await registry.http.put(f"{registry.url}/v1/instances/{new_instance_id()}", json=login_body(**changes))
    body = problem(reply, 422, code)
    assert any(words in body["detail"] for words in repair.split("|")), body["detail"]


async def test_limits_of_a_login_are_listed_with_its_model_and_changing_them_is_a_change(
    registry: ServedRegistry,
) -> None:
    limits = {"concurrency": 8, "default_timeout": 20.5, "max_timeout": 3600, "max_batch_size": 32}
    async with ping_server() as server:
        own = {SECRET_HEADER: "s" * 43}
        url = f"{registry.url}/v1/instances/{server.id}"
        assert (
            await registry.http.put(url, json=login_body(url=server.url, limits=limits), headers=own)
        ).status_code == 201
        shown = await registry.get(f"/v1/models/{MODEL}")
        assert shown.json()["limits"] == limits
        assert (
            await registry.http.put(url, json=login_body(url=server.url, limits=limits), headers=own)
        ).status_code == 200
        assert (await registry.get("/v1/models")).headers["etag"] == shown.headers["etag"]
        limits["max_timeout"] = 60
        assert (
            await registry.http.put(url, json=login_body(url=server.url, limits=limits), headers=own)
        ).status_code == 201
        assert (await registry.get("/v1/models")).headers["etag"] != shown.headers["etag"]
        assert (await registry.json(f"/v1/models/{MODEL}"))["limits"] == limits


async def test_a_login_without_limits_gets_the_default_ones(registry: ServedRegistry) -> None:
    async with ping_server() as server:
        await registry.http.put(f"{registry.url}/v1/instances/{server.id}", json=login_body(url=server.url))
        usual = {"concurrency": 1, "default_timeout": None, "max_timeout": None, "max_batch_size": 1}
        assert (await registry.json(f"/v1/models/{MODEL}"))["limits"] == usual


async def test_an_instance_id_is_a_uuid(registry: ServedRegistry) -> None:
    reply = await registry.http.put(f"{registry.url}/v1/instances/first", json=login_body())
    assert "UUID" in problem(reply, 422, "invalid_login")["detail"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"model": "A"}', b'{"model": 1, "url": "", "contract": ""}'])
async def test_a_body_that_is_no_login_is_a_400(registry: ServedRegistry, content: bytes) -> None:
    reply = await registry.http.put(
        f"{registry.url}/v1/instances/{new_instance_id()}",
        content=content,
        headers={"Content-Type": "application/json"},
    )
    problem(reply, 400, "bad_request")


async def test_a_body_over_the_limit_is_a_413(registry: ServedRegistry) -> None:
    reply = await registry.http.put(
        f"{registry.url}/v1/instances/{new_instance_id()}",
        content=b'{"contract": "' + b"x" * 5_000_000,
        headers={"Content-Type": "application/json"},
    )
    problem(reply, 413, "content_too_large")


@pytest.mark.parametrize("path", ["/v1/models/Unknown", "/v1/schemas/Unknown", "/v1/nothing"])
async def test_an_unknown_path_is_a_404(registry: ServedRegistry, path: str) -> None:
    problem(await registry.get(path), 404, "not_found" if path == "/v1/nothing" else "unknown_model")


async def test_the_etag_of_a_list_changes_only_with_the_list(registry: ServedRegistry) -> None:
    async with ping_server() as server:
        await registry.login(server)
        first = await registry.get("/v1/models")
        again = await registry.get("/v1/models", if_none_match=first.headers["etag"])
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == first.headers["etag"]
        await registry.client.logout(server.id)
        changed = await registry.get("/v1/models", if_none_match=first.headers["etag"])
        assert changed.status_code == 200
        assert changed.headers["etag"] != first.headers["etag"]


async def test_etags_of_two_starts_never_match(registry: ServedRegistry) -> None:
    async with served_registry() as other:
        one, two = await registry.get("/v1/models"), await other.get("/v1/models")
    assert one.content == two.content
    assert one.headers["etag"] != two.headers["etag"]


@pytest.mark.parametrize("path", ["/v1/models?known=true", "/v1/instances"])
async def test_a_watched_list_is_answered_at_the_next_change(registry: ServedRegistry, path: str) -> None:
    replies: list[Response] = []
    etag = (await registry.get(path)).headers["etag"]

    async def watch() -> None:
        replies.append(await registry.get(path, if_none_match=etag, prefer="wait=60"))

    async with ping_server() as server, anyio.create_task_group() as tg:
        tg.start_soon(watch)
        await registry.watched()
        assert replies == []
        await registry.login(server)
    (reply,) = replies
    assert (reply.status_code, reply.headers["preference-applied"]) == (200, "wait=60")
    assert server.id in reply.text


async def test_a_watch_without_a_change_ends_in_304(registry: ServedRegistry) -> None:
    etag = (await registry.get("/v1/models")).headers["etag"]
    reply = await registry.get("/v1/models", if_none_match=etag, prefer="wait=1")
    assert (reply.status_code, reply.headers["etag"]) == (304, etag)


async def test_a_schema_is_given_in_json_and_in_binary(registry: ServedRegistry) -> None:
    async with ping_server() as server:
        await registry.login(server)
    body = await registry.json(f"/v1/schemas/{MODEL}")
    assert (body["fingerprint"], body["first_seen_from"]) == (TEXTS.fingerprint, server.id)
    assert [message["name"] for file in body["descriptors"]["file"] for message in file["messageType"]]
    binary = await registry.get(f"/v1/schemas/{MODEL}", accept="application/x-protobuf")
    assert binary.headers["content-type"] == "application/x-protobuf; proto=google.protobuf.FileDescriptorSet"
    assert binary.content == TEXTS.files
    assert FileDescriptorSet.FromString(binary.content).file
    unchanged = await registry.get(
        f"/v1/schemas/{MODEL}", accept="application/x-protobuf", if_none_match=binary.headers["etag"]
    )
    assert unchanged.status_code == 304


async def test_a_contract_is_given_with_the_names_of_its_messages(registry: ServedRegistry) -> None:
    async with ping_server() as server:
        await registry.login(server)
    media_type = "application/x-protobuf; proto=hub.v1.Contract"
    reply = await registry.get(f"/v1/schemas/{MODEL}", accept=media_type)
    assert reply.headers["content-type"] == media_type
    assert Contract.decode(reply.content) == TEXTS
    etags = {
        (await registry.get(f"/v1/schemas/{MODEL}", accept=accept)).headers["etag"]
        for accept in ("*/*", "application/x-protobuf", media_type)
    }
    assert len(etags) == 3


async def test_an_earlier_contract_stays_available_by_its_fingerprint(registry: ServedRegistry) -> None:
    async with ping_server() as first:
        await registry.login(first)
        await registry.client.logout(first.id)
    async with ping_server() as second:
        await registry.login(second, contract=DIGITS)
        assert (await registry.json(f"/v1/schemas/{MODEL}"))["fingerprint"] == DIGITS.fingerprint
        earlier = await registry.json(f"/v1/schemas/{MODEL}?fingerprint={TEXTS.fingerprint}")
        assert earlier["request"] == TEXTS.request
    problem(await registry.get(f"/v1/schemas/{MODEL}?fingerprint=00"), 404, "unknown_contract")


async def test_a_contract_can_be_checked_before_it_is_deployed(registry: ServedRegistry) -> None:
    async with ping_server() as server:
        await registry.login(server)

    async def check(contract: bytes) -> Response:
        body = {"contract": base64.b64encode(contract).decode()}
        return await registry.http.post(f"{registry.url}/v1/schemas/{MODEL}/check", json=body)

    same, other = await check(TEXTS.encode()), await check(DIGITS.encode())
    assert (same.status_code, same.json()["compatible"], same.json()["differences"]) == (200, True, [])
    assert other.json()["compatible"] is False
    assert other.json()["known_fingerprint"] == TEXTS.fingerprint
    assert {each["rule"] for each in other.json()["differences"]} == {"RPC_SAME_REQUEST_TYPE", "RPC_SAME_RESPONSE_TYPE"}
    problem(await check(b"\xff"), 422, "invalid_contract")


async def test_prometheus_finds_every_instance(registry: ServedRegistry) -> None:
    async with ping_server() as server:
        await registry.login(server)
        assert await registry.json("/v1/prometheus/targets") == [
            {
                "targets": [server.url.removeprefix("http://")],
                "labels": {
                    "__scheme__": "http",
                    "__metrics_path__": "/metrics",
                    "model": MODEL,
                    "hub_instance": server.id,
                },
            }
        ]


async def test_health_and_documentation_answer(registry: ServedRegistry) -> None:
    assert await registry.json("/health/live") == {"status": "ok", "out_of_reach": [], "reason": ""}
    assert await registry.json("/health/ready") == {"status": "ok", "out_of_reach": [], "reason": ""}
    page = await registry.get("/docs")
    assert page.status_code == 200
    assert "/openapi.json" in page.text
    assert "https://" not in page.text
    home = await registry.get("/")
    assert (home.status_code, home.headers["location"]) == (302, "/docs")


async def test_the_description_is_the_same_at_each_start_and_shows_every_route(registry: ServedRegistry) -> None:
    async with served_registry() as other:
        assert await other.json("/openapi.json") == await registry.json("/openapi.json")
    description = await registry.json("/openapi.json")
    assert set(description["paths"]) == {
        "/v1/instances",
        "/v1/instances/{instance_id}",
        "/v1/history",
        "/v1/models",
        "/v1/models/{model}",
        "/v1/stats",
        "/v1/schemas",
        "/v1/schemas/{model}",
        "/v1/schemas/{model}/history",
        "/v1/schemas/{model}/diff",
        "/v1/schemas/{model}/check",
        "/v1/prometheus/targets",
        "/v1/store/scripts",
        "/metrics",
        "/health/live",
        "/health/ready",
    }
    reply = await registry.get("/openapi.json")
    again = await registry.get("/openapi.json", if_none_match=reply.headers["etag"])
    assert again.status_code == 304


async def test_with_a_token_every_route_of_data_requires_it() -> None:
    with anyio.fail_after(TIMEOUT):
        async with served_registry(token="sesame") as registry, ping_server() as server:
            for path in (
                "/v1/models",
                "/v1/models/A",
                "/v1/stats",
                "/v1/instances",
                "/v1/schemas",
                "/v1/schemas/A",
                "/v1/schemas/A/history",
                "/v1/schemas/A/diff",
                "/v1/prometheus/targets",
                "/v1/store/scripts",
                "/metrics",
            ):
                problem(await registry.get(path), 401, "unauthorized")
                problem(await registry.get(path, authorization="Bearer wrong"), 401, "unauthorized")
            problem(await registry.http.delete(f"{registry.url}/v1/instances/{server.id}"), 401, "unauthorized")
            url = f"{registry.url}/v1/instances/{server.id}"
            problem(await registry.http.put(url, json=login_body()), 401, "unauthorized")
            for path in ("/health/live", "/health/ready", "/docs", "/openapi.json"):
                assert (await registry.get(path)).status_code == 200
            assert await registry.login(server) is InstanceState.LIVE
            assert server.tokens == ["Bearer sesame"]


async def test_the_scripts_of_the_store_are_served_with_their_digests() -> None:
    with anyio.fail_after(TIMEOUT):
        async with served_registry(token="sesame") as registry:
            assert (await registry.get("/v1/store/scripts")).status_code == 401
            reply = await registry.get("/v1/store/scripts", authorization="Bearer sesame")
            etag = reply.headers["etag"]
            again = await registry.get("/v1/store/scripts", authorization="Bearer sesame", if_none_match=etag)
    scripts = reply.json()["scripts"]
    assert scripts.keys() == {"start", "finish", "release", "resync", "report", "list"}
    assert all(sha1(each["text"].encode()).hexdigest() == each["sha1"] for each in scripts.values())
    assert scripts["finish"] == {"sha1": FINISH.sha, "text": FINISH.text}
    assert (again.status_code, again.content) == (304, b"")


async def test_a_contract_with_a_rule_in_cel_is_refused_by_the_name_of_the_field(registry: ServedRegistry) -> None:
    message = contract_pb2.Contract.FromString(TEXTS.encode())
    field = next(each for file in message.files.file for each in file.message_type if each.field).field[0]
    # Field 1159 of the options (`buf.validate.field`) with its field 29 (`cel_expression`), as protoc writes them.
    field.options.MergeFromString(b"\xba\x48\x07\xea\x01\x04true")
    async with ping_server() as server:
        body = login_body(url=server.url, contract=base64.b64encode(message.SerializeToString()).decode())
        reply = await registry.http.put(f"{registry.url}/v1/instances/{server.id}", json=body)
        detail = problem(reply, 422, "invalid_contract")["detail"]
    assert f".{field.name}: the rule `cel_expression` is not supported" in detail
