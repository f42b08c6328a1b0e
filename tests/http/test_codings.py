"""Decoding of gzip and deflate in chunks of any size: correct, bounded, and refused if malformed."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, strategies as st

from hub.http.middleware.codings import (
    PIECE,
    RATIO,
    Decoder,
    MalformedCoding,
    SuspiciousCoding,
    UnsupportedCoding,
    coding_of,
)

LIMIT = 1_000_000
ENCODE: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "x-gzip": gzip.compress, "deflate": zlib.compress}


def decoded(coding: str, chunks: list[bytes], limit: int = LIMIT) -> bytes:
    decoder = Decoder(coding, limit=limit)
    content = b"".join(piece for chunk in chunks for piece in decoder.feed(chunk))
    decoder.finish()
    return content


def cut(body: bytes, size: int) -> list[bytes]:
    return [body[start : start + size] for start in range(0, len(body), size)]


@pytest.mark.parametrize(
    ("declared", "coding"),
    [
        ("", None),
        ("identity", None),
        ("identity, Identity", None),
        ("gzip", "gzip"),
        ("X-GZIP", "x-gzip"),
        ("deflate ", "deflate"),
        ("identity, gzip", "gzip"),
        (",gzip,", "gzip"),
    ],
)
def test_the_coding_is_named_in_any_case_and_identity_is_none(declared: str, coding: str | None) -> None:
    assert coding_of(declared) == coding


@pytest.mark.parametrize("declared", ["br", "zstd", "gzip, gzip", "deflate, gzip", "gzip;q=1", "g zip", "compress"])
def test_an_unknown_coding_or_several_are_refused_with_the_known_ones(declared: str) -> None:
    with pytest.raises(UnsupportedCoding, match="gzip, deflate") as refusal:
        coding_of(declared)
    assert refusal.value.status == 415


@pytest.mark.parametrize("coding", ENCODE)
@given(content=st.binary(max_size=2000), size=st.integers(1, 3000))
def test_any_body_in_chunks_of_any_size_is_what_was_encoded(coding: str, content: bytes, size: int) -> None:
    assert decoded(coding, cut(ENCODE[coding](content), size)) == content


@pytest.mark.parametrize("coding", ENCODE)
@pytest.mark.parametrize("length", [PIECE - 1, PIECE, PIECE + 1, 3 * PIECE, 5 * PIECE + 17])
@pytest.mark.parametrize("size", [1, 7, 4096, 10_000_000])
def test_a_body_of_many_chunks_is_complete(coding: str, length: int, size: int) -> None:
    content = (b"0123456789abcdef" * (length // 16 + 1))[:length]
    assert decoded(coding, cut(ENCODE[coding](content), size)) == content


@given(parts=st.lists(st.binary(max_size=300), min_size=1, max_size=6), size=st.integers(1, 400))
def test_a_body_of_gzip_may_have_several_members(parts: list[bytes], size: int) -> None:
    assert decoded("gzip", cut(b"".join(map(gzip.compress, parts)), size)) == b"".join(parts)


@pytest.mark.parametrize("coding", ENCODE)
def test_a_body_that_ends_anywhere_before_its_end_is_refused(coding: str) -> None:
    body = ENCODE[coding](b'{"messages": "hello"}')
    for end in range(len(body)):
        with pytest.raises(MalformedCoding, match="ends in the middle") as refusal:
            decoded(coding, [body[:end]])
        assert refusal.value.status == 400


@pytest.mark.parametrize("coding", ENCODE)
@pytest.mark.parametrize("rubbish", [b"\0", b"x", b"garbage after the end", b"\x1f\x8c"])
@pytest.mark.parametrize("apart", [True, False], ids=["in a chunk of its own", "in the same chunk"])
def test_bytes_after_the_end_are_refused(coding: str, rubbish: bytes, *, apart: bool) -> None:
    body = ENCODE[coding](b"content")
    with pytest.raises(MalformedCoding, match=r"after its end|in the middle"):
        decoded(coding, [body, rubbish] if apart else [body + rubbish])


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", b'{"messages": "plain"}'),
        ("gzip", zlib.compress(b"of another kind")),
        ("deflate", b"plain text"),
        ("deflate", gzip.compress(b"of another kind", mtime=0)),
        ("gzip", gzip.compress(b"a changed byte", mtime=0)[:-8] + b"\0" * 8),
    ],
)
def test_a_body_that_is_not_in_its_coding_is_refused_with_the_name_of_the_coding(coding: str, body: bytes) -> None:
    with pytest.raises(MalformedCoding, match=f"Content-Encoding is '{coding}', but the body cannot be decoded"):
        decoded(coding, [body])


def bomb(mebibytes: int) -> Iterator[bytes]:
    """A body of zeros, chunk by chunk, as cheap to make as to send."""
    packer = zlib.compressobj(9, wbits=31)
    for _ in range(mebibytes):
        yield packer.compress(bytes(1024 * 1024))
    yield packer.flush()


def test_a_bomb_is_refused_long_before_it_is_decoded() -> None:
    decoder, given_out, taken = Decoder("gzip", limit=LIMIT), 0, 0

    def read() -> None:
        nonlocal given_out, taken
        for chunk in bomb(1000):
            taken += len(chunk)
            for piece in decoder.feed(chunk):
                assert len(piece) <= PIECE
                given_out += len(piece)

    with pytest.raises(SuspiciousCoding, match=f"more than {RATIO} times") as refusal:
        read()
    assert refusal.value.status == 413
    assert given_out <= LIMIT + RATIO * taken < 20 * LIMIT


def test_repetitive_content_is_no_bomb() -> None:
    lines = b'{"messages": "the same line again"}\n' * 50_000
    assert decoded("gzip", cut(gzip.compress(lines, mtime=0), 4096), limit=len(lines)) == lines


@pytest.mark.parametrize(
    ("begin", "nothing"),
    [(b"", gzip.compress(b"", mtime=0)), (b"\x1f\x8b\x08\0\0\0\0\0\0\xff", b"\0\0\0\xff\xff" * 1000)],
    ids=["members", "blocks"],
)
def test_a_body_that_decodes_to_nothing_is_bounded(begin: bytes, nothing: bytes) -> None:
    decoder = Decoder("gzip", limit=LIMIT)
    assert list(decoder.feed(begin)) in ([], [b""])

    def read() -> None:
        for _ in range(2 * LIMIT // len(nothing)):
            assert b"".join(decoder.feed(nothing)) == b""

    with pytest.raises(SuspiciousCoding, match="decodes to nothing"):
        read()


def test_many_small_members_are_decoded_unless_they_are_empty() -> None:
    lines = [b'{"messages": "%d"}\n' % number for number in range(5_000)]
    assert decoded("gzip", [b"".join(map(gzip.compress, lines))]) == b"".join(lines)
