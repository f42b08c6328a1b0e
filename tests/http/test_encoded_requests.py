"""Request bodies with a Content-Encoding, and request headers that come in several lines."""

from __future__ import annotations

import gzip
import random
import zlib
from collections.abc import AsyncGenerator

import anyio
import pytest

from tests.http.helpers import LIMIT, TEXT, asking, served


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", gzip.compress(TEXT, mtime=0)),
        ("x-gzip", gzip.compress(TEXT, mtime=0)),
        ("deflate", zlib.compress(TEXT)),
        ("identity", TEXT),
        ("GZip", gzip.compress(TEXT, mtime=0)),
        ("gzip", gzip.compress(TEXT[:10], mtime=0) + gzip.compress(TEXT[10:], mtime=0)),
    ],
)
@pytest.mark.parametrize("chunked", [True, False], ids=["chunked", "whole"])
async def test_a_route_reads_an_encoded_body_as_if_it_had_been_plain(
    coding: str, body: bytes, *, chunked: bool
) -> None:
    async def chunks() -> AsyncGenerator[bytes]:
        for start in range(0, len(body), 100):
            await anyio.lowlevel.checkpoint()
            yield body[start : start + 100]

    async with served() as client:
        reply = await client.post("/echo", content=chunks() if chunked else body, headers={"Content-Encoding": coding})
        assert (reply.status_code, reply.content) == (200, TEXT)
        seen = set(reply.headers["seen"].split(","))
        assert "host" in seen
        assert coding == "identity" or not seen & {"content-encoding", "content-length"}  # true of what was sent only


def noise(size: int) -> bytes:
    return random.Random(1).randbytes(size)


@pytest.mark.parametrize(
    ("body", "status", "detail"),
    [
        (TEXT, 400, "cannot be decoded"),
        (gzip.compress(TEXT, mtime=0)[:-1], 400, "ends in the middle"),
        (gzip.compress(TEXT, mtime=0) + b"rubbish", 400, "after its end"),
        (b"", 400, "ends in the middle"),
        (gzip.compress(bytes(LIMIT + 1), mtime=0), 413, ""),
        (gzip.compress(bytes(100 * LIMIT), mtime=0), 413, ""),
        (gzip.compress(noise(LIMIT + 1), mtime=0), 413, ""),
        (gzip.compress(b"", mtime=0) * 10_000, 413, "decodes to nothing"),
    ],
    ids=["plain", "cut", "rubbish", "empty", "just too large", "bomb", "incompressible", "nothing"],
)
async def test_a_malformed_body_is_refused_with_the_reason(body: bytes, status: int, detail: str) -> None:
    async with served() as client:
        reply = await client.post("/echo", content=body, headers={"Content-Encoding": "gzip"})
        problem = reply.json()
        assert (reply.status_code, reply.headers["content-type"]) == (status, "application/problem+json")
        assert detail in problem["detail"]
        assert problem["code"] == ("content_too_large" if status == 413 else "malformed_content_encoding")
        assert "accept-encoding" not in reply.headers  # for a 415 only (RFC 7694 section 3)
        assert (await client.post("/echo", content=b"next")).content == b"next"


async def test_the_largest_accepted_body_may_be_compressed() -> None:
    body = noise(LIMIT // 2) + bytes(LIMIT - LIMIT // 2)
    async with asking() as client:
        reply = await client.post("/echo", content=gzip.compress(body, mtime=0), headers={"Content-Encoding": "gzip"})
        assert (reply.status_code, reply.content) == (200, body)


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, gzip", "compress"])
@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/echo"), ("POST", "/both/x"), ("PUT", "/echo"), ("POST", "/none")]
)
async def test_an_unknown_coding_is_a_415_with_the_known_ones(method: str, path: str, coding: str) -> None:
    async with asking() as client:
        reply = await client.request(method, path, content=b"x", headers={"Content-Encoding": coding})
        assert (reply.status_code, reply.json()["code"]) == (415, "unsupported_content_encoding")
        assert reply.headers["accept-encoding"] == "gzip, deflate"
        assert repr(coding) in reply.json()["detail"]


@pytest.mark.parametrize("coding", ["gzip", "br"])
@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/both/x"), ("HEAD", "/both/x"), ("GET", "/stream"), ("OPTIONS", "/echo")]
)
async def test_a_request_without_a_body_may_have_any_coding(method: str, path: str, coding: str) -> None:
    async with served() as client:
        reply = await client.request(method, path, headers={"Content-Encoding": coding})
        assert reply.status_code == (204 if method == "OPTIONS" else 200)


async def test_a_list_in_two_lines_means_the_same_as_in_one() -> None:
    lines = [("Accept-Encoding", "br"), ("accept-encoding", "gzip"), ("If-None-Match", '"1"')]
    async with asking() as client:
        del client.headers["accept-encoding"]
        path = f"/document/{len(TEXT)}"
        assert (await client.get(path, headers=lines)).headers["content-encoding"] == "gzip"
        known = [*lines, ("If-None-Match", f'"{len(TEXT)}"')]
        assert (await client.get(path, headers=known)).status_code == 304
        refused = await client.post("/echo", headers=[("Content-Encoding", "gzip"), ("Content-Encoding", "gzip")])
        assert refused.status_code == 415
