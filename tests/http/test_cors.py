"""CORS: the setting, and the headers of replies."""

from __future__ import annotations

from typing import Any, cast

import pytest
from httpx2 import ASGITransport, AsyncClient, Response
from litestar import Litestar, get, post

from hub.errors import ConfigurationError, ConnectionLost
from hub.http.auth import require_credential
from hub.http.middleware.cors import origins_of
from hub.http.middleware.edge import with_edge
from hub.http.problems import EXCEPTION_HANDLERS

APP = "https://app.example.com"
OTHER = "https://other.example.com"


@pytest.mark.parametrize(
    ("text", "origins"),
    [
        ("", set[str]()),
        (" , ", set[str]()),
        ("*", {"*"}),
        (APP, {APP}),
        (f"{APP}, http://localhost:5173", {APP, "http://localhost:5173"}),
        ("HTTPS://App.Example.com", {APP}),
        ("https://app.example.com:443, http://a.example:80", {APP, "http://a.example"}),
        ("https://app.example.com:80", {"https://app.example.com:80"}),
        ("http://127.0.0.1:8080,http://[::1]:8080", {"http://127.0.0.1:8080", "http://[::1]:8080"}),
        ("capacitor://localhost", {"capacitor://localhost"}),
        ("https://xn--bcher-kva.example", {"https://xn--bcher-kva.example"}),
    ],
)
def test_origins_are_parsed_as_browsers_write_them(text: str, origins: set[str]) -> None:
    assert origins_of(text) == origins


@pytest.mark.parametrize(
    ("text", "repair"),
    [
        ("app.example.com", "write https://app.example.com"),
        ("localhost:5173", "write https://localhost:5173"),
        (f"{APP}/", f"write {APP}"),
        (f"{APP}/page", f"write {APP}"),
        (f"{APP}?a", f"write {APP}"),
        ("https://user:secret@app.example.com", f"write {APP}"),
        ("https://*.example.com", "name each origin"),
        (f"*, {APP}", r"write \* alone"),
        ("null", r"or write \*"),
        ("https://b\u00fccher.example", "xn--"),
        ("https://", "write origins like"),
        ("https://a.example:99999", "write origins like"),
        ("https://a b.example", "write origins like"),
        (f"{APP} {OTHER}", "separated by commas"),
    ],
)
def test_an_invalid_origin_is_refused_with_the_repair(text: str, repair: str) -> None:
    with pytest.raises(ConfigurationError, match=repair) as refusal:
        origins_of(text)
    assert "cors_origins" in str(refusal.value)


@get("/free")
async def free() -> str:
    return "free"


@post("/guarded", guards=[require_credential(["key"])])
async def guarded() -> Response:
    raise ConnectionLost("broker", "gone")


@get("/bug")
async def bug() -> None:
    raise RuntimeError("a defect")


async def ask(origins: str, method: str, path: str, **headers: str) -> Response:
    app = Litestar(
        [free, guarded, bug], exception_handlers=EXCEPTION_HANDLERS, openapi_config=None, logging_config=None
    )
    transport = ASGITransport(app=cast("Any", with_edge(app, cors_origins=origins_of(origins))))
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with AsyncClient(transport=transport, base_url="http://hub.localhost") as client:
        return await client.request(method, path, headers=named)


def told(reply: Response) -> dict[str, str]:
    return {name: value for name, value in reply.headers.items() if name.startswith("access-control-")}


def varies(reply: Response) -> set[str]:
    return {name.strip() for name in reply.headers.get("vary", "").split(",")}


async def test_without_the_setting_no_page_can_read_a_reply() -> None:
    for method, path in (("GET", "/free"), ("OPTIONS", "/free"), ("POST", "/guarded"), ("GET", "/none")):
        reply = await ask("", method, path, origin=APP, access_control_request_method="GET")
        assert told(reply) == {}
        assert "Origin" not in varies(reply)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/free", 200),
        ("HEAD", "/free", 200),
        ("OPTIONS", "/free", 204),
        ("GET", "/none", 404),
        ("DELETE", "/free", 405),
        ("POST", "/guarded", 401),
        ("GET", "/bug", 500),
    ],
)
async def test_a_named_page_can_read_every_reply_and_others_none(method: str, path: str, status: int) -> None:
    reply = await ask(f"{APP},http://localhost:1", method, path, origin=APP)
    assert reply.status_code == status
    assert reply.headers["access-control-allow-origin"] == APP
    shown = set(reply.headers["access-control-expose-headers"].split(", "))
    assert shown >= {"Location", "Hub-Task", "Hub-Expires-At", "ETag", "Retry-After", "Preference-Applied", "Allow"}
    assert "access-control-allow-credentials" not in reply.headers
    assert "Origin" in varies(reply)

    for other in ({"origin": OTHER}, {"origin": "null"}, {"origin": f"{APP}.evil.example"}, {}):
        hidden = await ask(f"{APP},http://localhost:1", method, path, **other)
        refused = other and method in {"DELETE", "POST"}  # pages of other origins may change nothing
        assert (hidden.status_code, told(hidden)) == (403 if refused else status, {})
        assert "Origin" in varies(hidden)  # or a cache would give the one page the reply to the other


async def test_errors_behind_a_key_can_be_read_too() -> None:
    reply = await ask(APP, "POST", "/guarded", origin=APP, x_api_key="key")
    assert (reply.status_code, reply.headers["access-control-allow-origin"]) == (503, APP)
    refused = await ask(APP, "POST", "/guarded", origin=APP, content_encoding="br")
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (415, APP)


async def test_every_page_is_allowed_where_the_setting_says_any() -> None:
    for origin in (APP, OTHER, "null"):
        reply = await ask("*", "GET", "/free", origin=origin)
        assert reply.headers["access-control-allow-origin"] == "*"
        assert "access-control-allow-credentials" not in reply.headers
        assert "Origin" not in varies(reply)


@pytest.mark.parametrize("origins", [APP, "*"])
@pytest.mark.parametrize("path", ["/guarded", "/none"])
async def test_a_preflight_needs_no_key_and_allows_the_methods_and_headers_of_the_api(origins: str, path: str) -> None:
    reply = await ask(
        origins,
        "OPTIONS",
        path,
        origin=APP,
        access_control_request_method="POST",
        access_control_request_headers="authorization,content-type,hub-timeout",
    )
    assert (reply.status_code, reply.content) == (204, b"")
    assert reply.headers["access-control-allow-origin"] == (APP if origins == APP else "*")
    assert {"GET", "HEAD", "POST", "DELETE"} <= set(reply.headers["access-control-allow-methods"].split(", "))
    taken = {name.lower() for name in reply.headers["access-control-allow-headers"].split(", ")}
    assert taken >= {
        "authorization", "x-api-key", "content-type", "content-encoding", "prefer", "hub-timeout", "hub-result-ttl",
        "idempotency-key", "if-none-match", "last-event-id", "traceparent", "tracestate",
    }  # fmt: skip
    assert int(reply.headers["access-control-max-age"]) > 0
    assert ("Origin" in varies(reply)) == (origins == APP)


async def test_a_preflight_of_another_page_allows_nothing() -> None:
    reply = await ask(APP, "OPTIONS", "/free", origin=OTHER, access_control_request_method="GET")
    assert told(reply) == {}
    assert "Origin" in varies(reply)
