"""Strange headers and query parameters: the reply is never a 5xx."""

from __future__ import annotations

import pytest

from tests.gateway.fixtures import LocalGateway, echo_a

VALUES = [
    b"9" * 4300, b"9" * 4301, b"1" + b"0" * 20, b"-1", b"-0", b"+1", b"1_0", b"1e5", b"1e999", b"nan", b"inf", b"-inf", b"0x10", b"abc",
    b"\xb2", b"\xd9\xa3", b"\xff", b"", b" ", b";", b",", b";;;=", b"=", b'"', b"text/plain;version=abc", b"text/plain;q=nan",
    b"application/openmetrics-text;version=", b"wait=\xb2", b"wait=" + b"9" * 4301, b"*", b"W/", b"Bearer", b"Bearer \xff",
]  # fmt: skip

HEADERS = [
    "Accept", "Accept-Encoding", "Authorization", "Content-Encoding", "Content-Type", "Cookie", "Hub-Result-TTL", "Hub-Timeout",
    "Idempotency-Key", "If-None-Match", "Last-Event-ID", "Origin", "Prefer", "Sec-Fetch-Site", "X-API-Key", "X-Forwarded-Host",
    "traceparent", "tracestate",
]  # fmt: skip

PATHS = ["/metrics", "/v1/models", "/v1/tasks", "/v1/overview", "/openapi.json", "/v1/overview/history", "/docs"]

PARAMETERS = ["wait", "limit", "before", "model", "state", "since", "fresh"]


def quoted(value: bytes) -> str:
    return "".join(f"%{byte:02x}" for byte in value[:2000])


@pytest.mark.parametrize("header", HEADERS)
async def test_no_header_makes_the_server_fail(gateway: LocalGateway, header: str) -> None:
    await gateway.model(answer=echo_a)
    task = (await gateway.client.post("/v1/models/ModelA/tasks", json={"messages": "x"})).json()["id"]
    for value in VALUES:
        given = {"Accept": b"*/*", "Content-Type": b"application/json", header: value}
        for path in (*PATHS, f"/v1/tasks/{task}", f"/v1/tasks/{task}/result"):
            reply = await gateway.client.get(path, headers=given)  # type: ignore[arg-type]  # values that are no text
            assert reply.status_code < 500, (path, value)
        reply = await gateway.client.post("/v1/models/ModelA/tasks", content=b"{}", headers=given)  # type: ignore[arg-type]
        assert reply.status_code < 500, value


@pytest.mark.parametrize("parameter", PARAMETERS)
async def test_no_query_makes_the_server_fail(gateway: LocalGateway, parameter: str) -> None:
    await gateway.model(answer=echo_a)
    task = (await gateway.client.post("/v1/models/ModelA/tasks", json={"messages": "x"})).json()["id"]
    for value in VALUES:
        for path in (*PATHS, f"/v1/tasks/{task}"):
            if parameter == "wait" and value[:1].isdigit():
                continue  # waits for a change, as it should
            reply = await gateway.client.get(f"{path}?{parameter}={quoted(value)}")
            assert reply.status_code < 500, (path, value)
