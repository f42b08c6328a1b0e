"""Replies in gzip: for which clients, from which size on, and with which ETag."""

from __future__ import annotations

import gzip
from threading import get_ident
from typing import Any

import pytest

from hub.http.middleware.compression import COMPRESS_ABOVE, IN_THREAD, accepts_gzip
from tests.http.helpers import GZIP, LARGE, PLAIN, TEXT, asking


@pytest.mark.parametrize(
    ("accept_encoding", "taken"),
    [
        ("", False),
        ("gzip", True),
        ("GZIP", True),
        ("x-gzip", True),
        ("br, deflate, gzip", True),
        ("gzip;q=0", False),
        ("gzip; q=0.0, identity", False),
        ("gzip;q=0.5", True),
        ("gzip;q=0.5, identity;q=0.8", False),
        ("gzip;q=0.5, identity;q=0.5", True),
        ("identity", False),
        ("*", True),
        ("*;q=0", False),
        ("gzip;q=0, *", False),
        ("gzip, *;q=0", True),
        ("br", False),
        ("gzipped", False),
        ("gzip;q=many", False),
    ],
)
def test_gzip_is_sent_to_clients_that_prefer_it_or_are_indifferent(accept_encoding: str, *, taken: bool) -> None:
    assert accepts_gzip(accept_encoding) == taken


@pytest.mark.parametrize("size", [COMPRESS_ABOVE, IN_THREAD, IN_THREAD + 1, len(LARGE)])
async def test_a_large_reply_is_compressed_with_its_headers(size: int) -> None:
    async with asking() as client, client.stream("GET", f"/document/{size}", headers=GZIP) as reply:
        raw = b"".join([chunk async for chunk in reply.aiter_raw()])
    assert gzip.decompress(raw) == LARGE[:size]
    assert reply.headers["content-encoding"] == "gzip"
    assert int(reply.headers["content-length"]) == len(raw) < size
    assert reply.headers["etag"] == f'W/"{size}"'
    assert reply.headers["vary"] == "Accept, Accept-Encoding"


@pytest.mark.parametrize(("size", "apart"), [(IN_THREAD, False), (IN_THREAD + 1, True)])
async def test_large_replies_are_compressed_in_a_thread(
    monkeypatch: pytest.MonkeyPatch, size: int, *, apart: bool
) -> None:
    threads: list[int] = []
    compress = gzip.compress

    def noted(*args: Any, **options: Any) -> bytes:
        threads.append(get_ident())
        return compress(*args, **options)

    monkeypatch.setattr(gzip, "compress", noted)
    async with asking() as client:
        reply = await client.get(f"/document/{size}", headers=GZIP)
    assert reply.content == LARGE[:size]
    assert [thread != get_ident() for thread in threads] == [apart]


async def test_a_large_document_with_a_strong_etag_is_compressed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    compress = gzip.compress

    def noted(content: bytes, **options: Any) -> bytes:
        sizes.append(len(content))
        return compress(content, **options)

    monkeypatch.setattr(gzip, "compress", noted)
    async with asking() as client:
        for size in (len(LARGE), len(LARGE), IN_THREAD, IN_THREAD, len(LARGE) - 1, len(LARGE)):
            assert (await client.get(f"/document/{size}", headers=GZIP)).content == LARGE[:size]
    assert sizes == [len(LARGE), IN_THREAD, IN_THREAD, len(LARGE) - 1]


async def test_few_documents_are_kept_compressed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.http.middleware.compression.KEPT", 2)
    async with asking() as client:
        for size in (*range(IN_THREAD + 1, IN_THREAD + 5), IN_THREAD + 1):
            assert (await client.get(f"/document/{size}", headers=GZIP)).content == LARGE[:size]


async def test_small_replies_are_not_compressed_and_none_is_where_that_is_off() -> None:
    async with asking() as client, asking(compress_above=0) as never, asking(compress_above=10) as early:
        for asked, path in ((client, f"/document/{COMPRESS_ABOVE - 1}"), (never, f"/document/{len(LARGE)}")):
            reply = await asked.get(path, headers=GZIP)
            assert "content-encoding" not in reply.headers
            assert not reply.headers["etag"].startswith("W/")
        assert (await early.get("/document/100", headers=GZIP)).headers["content-encoding"] == "gzip"
        assert "Accept-Encoding" not in (await never.get("/document/1")).headers["vary"]


async def test_a_reply_that_is_not_compressed_varies_by_accept_encoding_too() -> None:
    async with asking() as client:
        reply = await client.get(f"/document/{len(TEXT)}")
        assert (reply.content, reply.headers["etag"]) == (TEXT, f'"{len(TEXT)}"')
        assert "content-encoding" not in reply.headers
        assert reply.headers["vary"] == "Accept, Accept-Encoding"


async def test_either_etag_is_enough_for_a_304_which_names_the_one_that_was_sent() -> None:
    path = f"/document/{len(TEXT)}"
    async with asking() as client:
        for headers in (GZIP, PLAIN):
            etag = (await client.get(path, headers=headers)).headers["etag"]
            for accept in (GZIP, PLAIN):
                again = await client.get(path, headers={**accept, "If-None-Match": etag})
                assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
                assert again.headers["vary"] == "Accept, Accept-Encoding"
                assert "content-encoding" not in again.headers


@pytest.mark.parametrize(
    ("media_type", "compressed"),
    [
        ("application/json", True),
        ("application/problem+json", True),
        ("application/vnd.oai.openapi+json", True),
        ("text/plain; version=0.0.4", True),
        ("application/openmetrics-text; version=1.0.0", True),
        ("application/x-protobuf", False),
        ("image/png", False),
        ("application/octet-stream", False),
    ],
)
async def test_text_and_json_are_compressed_and_nothing_else(media_type: str, *, compressed: bool) -> None:
    async with asking() as client:
        reply = await client.get("/typed", params={"type": media_type}, headers=GZIP)
        assert ("content-encoding" in reply.headers) == compressed
        assert reply.content == TEXT
        kept = await client.get("/typed", params={"type": media_type, "cache": "no-transform"}, headers=GZIP)
        assert "content-encoding" not in kept.headers


async def test_streams_and_compressed_content_are_not_compressed() -> None:
    async with asking() as client:
        streamed = await client.get("/stream", headers=GZIP)
        assert (streamed.content, "content-encoding" in streamed.headers) == (TEXT * 10, False)
        once = await client.get("/packed", headers=GZIP)
        assert (once.content, once.headers["content-encoding"]) == (TEXT, "gzip")
        assert (await client.get("/empty", headers=GZIP)).status_code == 204
