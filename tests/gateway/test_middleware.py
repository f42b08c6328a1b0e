"""HTTP around the API: every route of a gateway with HEAD and OPTIONS, encoded bodies, pages of other origins, a root path."""

from __future__ import annotations

import gzip
import random
import re
import zlib
from typing import Any

import anyio
import msgspec
import pytest
from httpx2 import Response
from litestar.routes import HTTPRoute

from hub.gateway.batch.errors import LineTooLong
from hub.http.client import open_client
from hub.types import new_task_id
from tests.gateway.fixtures import MODEL_A, LocalGateway, echo_a, open_gateway
from tests.gateway.wire import exchange, serving

CALL = "/v1/models/ModelA"
PACKED = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
LINES = {"Content-Type": "application/x-ndjson", "Content-Encoding": "gzip"}
APP = "https://app.example.com"


def problem(reply: Response) -> tuple[int, str]:
    assert reply.headers["content-type"] == "application/problem+json"
    return reply.status_code, reply.json()["code"]


def paths(gateway: LocalGateway) -> dict[str, set[str]]:
    """A path for each route of the gateway, and the methods that it has, by the router."""
    found: dict[str, set[str]] = {}
    for route in gateway.app.routes:
        assert isinstance(route, HTTPRoute)
        path = route.path_format.replace("{model}", MODEL_A).replace("{task_id}", str(new_task_id()))
        path = re.sub(r"{path}", "hub/page.js", path)
        found.setdefault(route.path_format, set())
        found[route.path_format] |= set(route.methods)
        found.setdefault(path, found[route.path_format])
    return {path: methods for path, methods in found.items() if "{" not in path}


async def test_every_get_of_the_gateway_has_its_head_and_every_path_one_allow(gateway: LocalGateway) -> None:
    await gateway.model(answer=echo_a)
    checked = 0
    async with serving(gateway) as url, open_client() as client:
        for path, methods in paths(gateway).items():
            allowed = {*methods, "OPTIONS"} | ({"HEAD"} if "GET" in methods else set())
            options = await client.options(url + path)
            refused = await client.patch(url + path)
            assert (options.status_code, refused.status_code) == (204, 405), path
            assert options.headers["allow"] == refused.headers["allow"] == ", ".join(sorted(allowed)), path
            with anyio.fail_after(10):
                head = await client.head(url + path)
            if "GET" not in methods:
                assert head.status_code == 405, path
            elif path not in ("/metrics", "/v1/overview", "/v1/overview/events"):  # which change, or never end
                get = await client.get(url + path)
                assert (head.status_code, head.content) == (get.status_code, b""), path
                assert {**head.headers, "date": ""} == {**get.headers, "date": ""}, path
                checked += 1
            else:
                assert (head.status_code, head.content) == (200, b""), path
    assert checked >= 12


async def test_a_call_and_a_submit_may_come_compressed(gateway: LocalGateway) -> None:
    await gateway.model(answer=echo_a)
    body = gzip.compress(b'{"messages": "packed"}')
    called = await gateway.client.post(CALL, content=body, headers=PACKED)
    assert called.json() == {"reply": "Processed message: packed\n"}
    submitted = await gateway.client.post(f"{CALL}/tasks", content=body, headers={**PACKED, "Prefer": "wait=5"})
    assert submitted.json()["result"] == {"reply": "Processed message: packed\n"}


async def test_the_same_request_is_the_same_under_its_key_compressed_or_not(gateway: LocalGateway) -> None:
    await gateway.model()
    key = {"Idempotency-Key": "k"}
    plain = await gateway.client.post(f"{CALL}/tasks", json={"messages": "same"}, headers=key)
    packed = gzip.compress(b'{"messages": "same"}')
    again = await gateway.client.post(f"{CALL}/tasks", content=packed, headers={**PACKED, **key})
    assert again.json()["id"] == plain.json()["id"]
    assert again.headers["idempotent-replayed"] == "true"


@pytest.mark.parametrize("path", [CALL, f"{CALL}/tasks"])
async def test_a_bomb_is_refused_and_no_task_is_made(gateway: LocalGateway, path: str) -> None:
    await gateway.model()
    bomb = gzip.compress(b'{"messages": "' + b"a" * 50_000_000 + b'"}', compresslevel=1)
    async with serving(gateway) as url, open_client() as client:
        assert problem(await client.post(url + path, content=bomb, headers=PACKED)) == (413, "content_too_large")
    assert (await gateway.broker.depths([MODEL_A]))[MODEL_A].ready == 0  # type: ignore[union-attr]  # it is declared


async def test_a_batch_may_come_compressed_and_is_answered_while_it_arrives(gateway: LocalGateway) -> None:
    await gateway.model()
    packer = zlib.compressobj(wbits=31)
    async with (
        serving(gateway) as url,
        exchange(url, "POST", f"{CALL}/batches", {**LINES, "Transfer-Encoding": "chunked"}) as batch,
    ):
        with anyio.fail_after(10):
            for index in range(3):
                part = packer.compress(b'{"messages": "%d"}\n' % index) + packer.flush(zlib.Z_SYNC_FLUSH)
                await batch.write(part)
                if index == 0:
                    assert await batch.head() == 200
                assert answer(await batch.line())["state"] == "queued"  # before the next line was sent
            await batch.write(packer.flush())
            await batch.end()
            assert await batch.line() is None


def answer(line: bytes | None) -> dict[str, Any]:
    assert line is not None
    found: dict[str, Any] = msgspec.json.decode(line)
    return found


@pytest.mark.parametrize(
    ("ending", "code"),
    [("cut", "malformed_content_encoding"), ("rubbish", "malformed_content_encoding"), ("bomb", "content_too_large")],
)
async def test_a_batch_with_a_broken_coding_is_answered_up_to_the_break(
    gateway: LocalGateway, ending: str, code: str
) -> None:
    await gateway.model()
    lines = b"".join(b'{"messages": "%d"}\n' % index for index in range(5))
    body = gzip.compress(lines)
    if ending == "cut":
        body = body[:-4]
    elif ending == "rubbish":
        body += b"rubbish"
    else:
        body += gzip.compress(b"\n" * 100_000_000, compresslevel=1)
    async with serving(gateway) as url, open_client() as client:
        with anyio.fail_after(20):
            reply = await client.post(f"{url}{CALL}/batches", content=body, headers=LINES)
        assert reply.status_code == 200
        answers = [msgspec.json.decode(line) for line in reply.content.splitlines()]
        assert [found["index"] for found in answers] == [0, 1, 2, 3, 4, 5]
        assert all(found["state"] == "queued" for found in answers[:5])
        assert answers[5]["error"]["code"] == code


async def test_a_batch_that_is_no_gzip_from_the_start_is_a_plain_problem(gateway: LocalGateway) -> None:
    await gateway.model()
    async with serving(gateway) as url, open_client() as client:
        reply = await client.post(f"{url}{CALL}/batches", content=b'{"messages": "x"}\n', headers=LINES)
        assert problem(reply) == (400, "malformed_content_encoding")
        other = await client.post(f"{url}{CALL}/batches", content=b"x", headers={**LINES, "Content-Encoding": "br"})
        assert problem(other) == (415, "unsupported_content_encoding")
        assert other.headers["accept-encoding"] == "gzip, deflate"


async def test_a_client_may_name_a_coding_for_all_of_its_requests(gateway: LocalGateway) -> None:
    await gateway.model(answer=echo_a)
    body = gzip.compress(b'{"messages": "x"}')
    headers = {**PACKED, "Accept": "text/event-stream"}
    async with serving(gateway) as url, open_client() as client:
        task = (await client.post(f"{url}{CALL}/tasks", content=body, headers={**PACKED, "Prefer": "wait=5"})).json()
        with anyio.fail_after(10):
            events = await client.get(f"{url}/v1/tasks/{task['id']}", headers=headers)
        assert (events.status_code, '"state":"succeeded"' in events.text) == (200, True)


async def test_a_line_that_is_too_long_when_decoded_does_not_affect_the_others(gateway: LocalGateway) -> None:
    await gateway.model()
    body = b'{"messages": "' + random.Random(1).randbytes(75_000).hex().encode() + b'"}\n{"messages": "short"}\n'
    reply = await gateway.client.post(f"{CALL}/batches", content=gzip.compress(body), headers=LINES)
    first, second = (msgspec.json.decode(line) for line in reply.content.splitlines())
    assert (first["error"]["code"], second["state"]) == (LineTooLong.code, "queued")


async def test_large_documents_are_compressed_and_conditional(gateway: LocalGateway) -> None:
    await gateway.model()
    first = await gateway.client.get("/openapi.json", headers={"Accept-Encoding": "gzip"})
    assert (first.headers["content-encoding"], first.json()["openapi"][:2]) == ("gzip", "3.")
    again = await gateway.client.get("/openapi.json", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.headers["etag"]) == (304, first.headers["etag"])


async def test_compression_can_be_turned_off() -> None:
    with anyio.fail_after(10):
        async with open_gateway(compress_above=0) as gateway:
            reply = await gateway.client.get("/openapi.json", headers={"Accept-Encoding": "gzip"})
            assert "content-encoding" not in reply.headers


async def test_a_page_of_a_named_origin_uses_the_api_with_its_key() -> None:
    with anyio.fail_after(10):
        async with open_gateway(api_keys="k", cors_origins=APP) as gateway:
            await gateway.model(answer=echo_a)
            ask = {"Origin": APP, "Access-Control-Request-Method": "POST"}
            headers = {"Access-Control-Request-Headers": "content-type,x-api-key,hub-timeout"}
            preflight = await gateway.client.options(f"{CALL}/tasks", headers={**ask, **headers})
            refused = await gateway.client.post(f"{CALL}/tasks", json={}, headers={"Origin": APP})
            accepted = await gateway.client.post(f"{CALL}/tasks", json={}, headers={"Origin": APP, "X-API-Key": "k"})
            events = await gateway.client.get(
                accepted.headers["location"],
                headers={"Origin": APP, "X-API-Key": "k", "Accept": "text/event-stream"},
            )
            assert (preflight.status_code, refused.status_code, accepted.status_code) == (204, 401, 202)
            for reply in (preflight, refused, accepted, events):
                assert reply.headers["access-control-allow-origin"] == APP
            assert events.headers["content-type"].startswith("text/event-stream")


async def test_without_the_setting_pages_of_other_origins_are_refused(gateway: LocalGateway) -> None:
    reply = await gateway.client.options(CALL, headers={"Origin": APP, "Access-Control-Request-Method": "POST"})
    assert not [name for name in reply.headers if name.startswith("access-control-")]


@pytest.mark.parametrize("prefix", ["", "/hub"], ids=["cut off by the proxy", "passed on"])
async def test_every_url_in_a_reply_is_below_the_root_path(prefix: str) -> None:
    with anyio.fail_after(20):
        async with open_gateway(root_path="/hub") as gateway:
            await gateway.model(answer=echo_a)
            client = gateway.client
            (served,) = (await client.get(f"{prefix}/v1/models")).json()["models"]
            assert served["call_url"] == f"/hub{CALL}"
            assert (served["tasks_url"], served["batches_url"]) == (f"/hub{CALL}/tasks", f"/hub{CALL}/batches")
            assert (await client.get(f"{prefix}{CALL}")).json() == served

            accepted = await client.post(f"{prefix}{CALL}/tasks", json={"messages": "x"}, headers={"Prefer": "wait=5"})
            task = f"/v1/tasks/{accepted.json()['id']}"
            assert accepted.headers["location"] == f"/hub{task}"
            assert accepted.json()["result_url"] == f"/hub{task}/result"
            assert (await client.get(f"{prefix}{task}")).json()["result_url"] == f"/hub{task}/result"
            assert (await client.get(accepted.json()["result_url"])).json() == {"reply": "Processed message: x\n"}
            events = await client.get(f"{prefix}{task}", headers={"Accept": "text/event-stream"})
            assert f'"result_url":"/hub{task}/result"' in events.text

            refused = await client.delete(f"{prefix}{task}")
            assert (problem(refused), refused.headers["location"]) == ((409, "task_already_finished"), f"/hub{task}")
            assert f"see /hub{task}" in refused.json()["detail"]

            found = await client.get(f"{prefix}/tasks", params={"id": "a b"})
            assert (found.status_code, found.headers["location"]) == (303, "/hub/tasks/a%20b")
            assert (await client.get(f"{prefix}/openapi.json")).json()["servers"] == [{"url": "/hub"}]
            assert (await client.get(f"{prefix}/none")).status_code == 404
            for page in ("", "/models", "/tasks", f"/tasks/{new_task_id()}", "/docs"):
                html = (await client.get(f"{prefix}{page}" or "/")).text
                links = re.findall(r'(?:href|src|action|data-openapi)="([^"]*)"', html)
                assert len(links) > 4
                assert [link for link in links if not link.startswith(("/hub/", "#"))] == []
                for link in links:
                    if link.startswith("/hub/assets/"):
                        assert (await client.get(link)).status_code == 200


async def test_a_path_that_only_begins_with_the_letters_of_the_root_path_is_not_below_it() -> None:
    with anyio.fail_after(10):
        async with open_gateway(root_path="/hub") as gateway:
            assert (await gateway.client.get("/hubble")).status_code == 404
            assert (await gateway.client.get("/hub")).status_code == 200
            assert (await gateway.client.get("/hub/hub/v1/models")).status_code == 404


async def test_headers_do_not_change_the_root_path(gateway: LocalGateway) -> None:
    await gateway.model()
    headers = {"X-Forwarded-Prefix": "/evil", "X-Script-Name": "/evil", "X-Forwarded-Host": "evil.example"}
    reply = await gateway.client.post(f"{CALL}/tasks", json={}, headers=headers)
    assert reply.headers["location"] == f"/v1/tasks/{reply.json()['id']}"
    document = (await gateway.client.get("/openapi.json", headers=headers)).json()
    assert document["servers"] == [{"url": "/"}]


@pytest.mark.parametrize("path", ["", "/result"])
async def test_prefer_wait_holds_back_a_read_as_it_does_a_submit(gateway: LocalGateway, path: str) -> None:
    await gateway.model(answer=echo_a)
    task = (await gateway.client.post(f"{CALL}/tasks", json={"messages": "x"})).headers["location"]
    reply = await gateway.client.get(f"{task}{path}", headers={"Prefer": "respond-async, wait=5"})
    assert (reply.status_code, reply.headers["preference-applied"]) == (200, "wait=5")
    assert "Processed message: x" in reply.text
    by_parameter = await gateway.client.get(f"{task}{path}", params={"wait": 5}, headers={"Prefer": "wait=1"})
    assert "preference-applied" not in by_parameter.headers
    for ignored in ("wait=soon", "wait=-1", "return=minimal"):
        plain = await gateway.client.get(f"{task}{path}", headers={"Prefer": ignored})
        assert (plain.status_code, "preference-applied" in plain.headers) == (200, False)


async def test_one_model_can_be_watched_like_the_list(gateway: LocalGateway) -> None:
    await gateway.model(live=1)
    first = await gateway.client.get(CALL)
    known = {"If-None-Match": first.headers["etag"], "Prefer": "wait=30"}
    replies: list[Response] = []

    async def watch() -> None:
        replies.append(await gateway.client.get(CALL, headers=known))

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tg:
            tg.start_soon(watch)
            while gateway.parts.polls.waiting == 0:
                await anyio.lowlevel.checkpoint()
            await gateway.model(live=2)
    assert (replies[0].status_code, replies[0].json()["instances"]) == (200, 2)
    assert replies[0].headers["preference-applied"] == "wait=30"
    assert (await gateway.client.get(CALL, headers={"If-None-Match": replies[0].headers["etag"]})).status_code == 304
