"""HEAD, OPTIONS and 405: one rule for all routes of a server."""

from __future__ import annotations

import anyio
import pytest
from httpx2 import Response as Reply

from tests.http.helpers import GZIP, LARGE, PLAIN, TEXT, served


def allowed(reply: Reply) -> set[str]:
    return set(reply.headers["allow"].split(", "))


SERVERS_OWN = {"date", "transfer-encoding"}
"""Headers that the server adds, to some replies only."""


def of_the_app(reply: Reply) -> dict[str, str]:
    return {name.lower(): value for name, value in reply.headers.items() if name.lower() not in SERVERS_OWN}


PATHS = ["/document/10", f"/document/{len(TEXT)}", f"/document/{len(LARGE)}", "/typed?type=text/html", "/packed", "/stream", "/both/x", "/empty", "/none"]  # fmt: skip


@pytest.mark.parametrize("accept", [PLAIN, GZIP], ids=["plain", "gzip"])
async def test_head_is_answered_like_get_without_the_body_by_both_servers(accept: dict[str, str]) -> None:
    async with served() as client:
        for path in PATHS:
            head = await client.head(path, headers=accept)
            get = await client.get(path, headers=accept)
            assert (head.status_code, head.content) == (get.status_code, b""), path
            assert of_the_app(head) == of_the_app(get), path


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/both/x", {"GET", "HEAD", "OPTIONS", "POST"}),
        ("/both/x/never", {"DELETE", "OPTIONS"}),
        ("/echo", {"OPTIONS", "POST"}),
        ("/document/1", {"GET", "HEAD", "OPTIONS"}),
    ],
)
async def test_options_and_405_have_the_same_allow_header(path: str, methods: set[str]) -> None:
    async with served() as client:
        options = await client.options(path)
        assert (options.status_code, options.content) == (204, b"")
        assert allowed(options) == methods
        for method in {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND"} - methods:
            refused = await client.request(method, path)
            assert (refused.status_code, allowed(refused)) == (405, methods), method
            assert refused.headers["content-type"] == "application/problem+json"
            assert refused.content == b"" if method == "HEAD" else refused.json()["code"] == "method_not_allowed"


async def test_options_of_an_unknown_path_is_404_and_of_the_server_its_methods() -> None:
    async with served() as client:
        unknown = await client.options("/none")
        assert (unknown.status_code, unknown.json()["code"]) == (404, "not_found")
        assert "allow" not in unknown.headers
        async with await anyio.connect_tcp("127.0.0.1", client.base_url.port or 0) as stream:
            await stream.send(b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            reply = b""
            while b"\r\n\r\n" not in reply:
                reply += await stream.receive()
        assert reply.startswith(b"HTTP/1.1 204")
        assert b"allow: DELETE, GET, HEAD, OPTIONS, POST, PUT\r\n" in reply.replace(b"Allow:", b"allow:")
