"""The request parser: valid and malformed requests, cut into chunks anywhere."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from hub.http.serve.request_parser import END, RequestHead, RequestParser, RequestRefused

HOST = b"Host: hub.test\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"


def parsed(data: bytes, size: int, limit: int = 1024) -> list[object]:
    """The events of bytes that arrive in pieces of `size`, with the pieces of one body as one."""
    parser = RequestParser(limit)
    for start in range(0, len(data), size):
        parser.feed(data[start : start + size])
    events: list[object] = []
    for event in parser.events:
        if isinstance(event, bytes) and events and isinstance(events[-1], bytes):
            events[-1] += event
        else:
            events.append(event)
    return events


def head(events: list[object]) -> RequestHead:
    assert isinstance(events[0], RequestHead), events
    return events[0]


REFUSED = {
    "Content-Length and Transfer-Encoding": (
        400,
        b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\n" + CHUNKED + b"\r\n",
    ),
    "Transfer-Encoding and Content-Length": (
        400,
        b"POST / HTTP/1.1\r\n" + HOST + CHUNKED + b"Content-Length: 3\r\n\r\n",
    ),
    "two lengths": (400, b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\n"),
    "a list of lengths": (400, b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 3, 3\r\n\r\n"),
    "a signed length": (400, b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: +3\r\n\r\n"),
    "a length of 24 digits": (400, b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 999999999999999999999999\r\n\r\n"),
    "a coding before chunked": (501, b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: gzip, chunked\r\n\r\n"),
    "another coding": (501, b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: gzip\r\n\r\n"),
    "two Transfer-Encodings": (400, b"POST / HTTP/1.1\r\n" + HOST + CHUNKED * 2 + b"\r\n"),
    "chunked in HTTP/1.0": (400, b"POST / HTTP/1.0\r\n" + HOST + CHUNKED + b"\r\n"),
    "bare LF after the request line": (400, b"GET / HTTP/1.1\n" + HOST + b"\r\n"),
    "bare LF after a header": (400, b"GET / HTTP/1.1\r\nHost: hub.test\nA: b\r\n\r\n"),
    "bare CR in a header": (400, b"GET / HTTP/1.1\r\n" + HOST + b"A: b\rC: d\r\n\r\n"),
    "a folded header": (400, b"GET / HTTP/1.1\r\n" + HOST + b"A: b\r\n c\r\n\r\n"),
    "a space before the colon": (400, b"GET / HTTP/1.1\r\nHost : hub.test\r\n\r\n"),
    "NUL in a header": (400, b"GET / HTTP/1.1\r\n" + HOST + b"A: b\0c\r\n\r\n"),
    "a header without a name": (400, b"GET / HTTP/1.1\r\n" + HOST + b": b\r\n\r\n"),
    "no Host": (400, b"GET / HTTP/1.1\r\n\r\n"),
    "two Hosts": (400, b"GET / HTTP/1.1\r\n" + HOST * 2 + b"\r\n"),
    "a Host with a path": (400, b"GET / HTTP/1.1\r\nHost: hub.test/evil\r\n\r\n"),
    "a Host with a user": (400, b"GET / HTTP/1.1\r\nHost: a@hub.test\r\n\r\n"),
    "a target of another host": (400, b"GET http://evil.test/ HTTP/1.1\r\n" + HOST + b"\r\n"),
    "a target of another scheme": (400, b"GET ftp://hub.test/ HTTP/1.1\r\n" + HOST + b"\r\n"),
    "no version": (505, b"GET /\r\n\r\n"),
    "HTTP/2 with prior knowledge": (505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "HTTP/2.0 in a request line": (505, b"GET / HTTP/2.0\r\n" + HOST + b"\r\n"),
    "CONNECT": (501, b"CONNECT hub.test:80 HTTP/1.1\r\n" + HOST + b"\r\n"),
    "TLS on a port without": (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    "a method that is none": (400, b"get / HTTP/1.1\r\n" + HOST + b"\r\n"),
    "bytes above 127 in the target": (400, "GET /é HTTP/1.1\r\n".encode() + HOST + b"\r\n"),
    "a long target": (431, b"GET /" + b"a" * 1100 + b" HTTP/1.1\r\n" + HOST + b"\r\n"),
    "a target without an end": (431, b"GET /" + b"a" * 3000),
    "a long header": (431, b"GET / HTTP/1.1\r\n" + HOST + b"A: " + b"b" * 1100 + b"\r\n\r\n"),
    "a header without an end": (431, b"GET / HTTP/1.1\r\n" + HOST + b"A: " + b"b" * 3000),
    "a name without an end": (431, b"GET / HTTP/1.1\r\n" + HOST + b"A" * 3000),
    "many headers": (431, b"GET / HTTP/1.1\r\n" + HOST + b"A: b\r\n" * 100 + b"\r\n"),
    "many blank lines": (431, b"\r\n" * 2000),
}


@pytest.mark.parametrize("size", [1, 7, 65536])
@pytest.mark.parametrize(("status", "data"), REFUSED.values(), ids=REFUSED.keys())
def test_malformed_and_ambiguous_requests_are_refused(status: int, data: bytes, size: int) -> None:
    refused = parsed(data, size)[-1]
    assert isinstance(refused, RequestRefused), refused
    assert refused.status == status, str(refused)


BAD_BODIES = {
    "no size": (400, b"\r\n"),
    "a negative size": (400, b"-3\r\nabc\r\n"),
    "bare LF": (400, b"3\nabc\n0\n\n"),
    "no line break after a chunk": (400, b"3\r\nabcd\r\n"),
    "a size of 20 digits": (400, b"fffffffffffffffffff\r\n"),
    "an extension without an end": (431, b"3;" + b"e" * 3000),
    "trailers without an end": (431, b"0\r\n" + b"T: 1\r\n" * 400),
}


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize(("status", "body"), BAD_BODIES.values(), ids=BAD_BODIES.keys())
def test_a_malformed_body_is_refused_after_its_head(status: int, body: bytes, size: int) -> None:
    events = parsed(b"POST / HTTP/1.1\r\n" + HOST + CHUNKED + b"\r\n" + body, size)
    assert head(events).has_body
    refused = events[-1]
    assert isinstance(refused, RequestRefused), refused
    assert refused.status == status, str(refused)


ACCEPTED = {
    "a GET": (b"GET /a%20b?c=%20 HTTP/1.1\r\n" + HOST + b"\r\n", "/a b", b"c=%20", b""),
    "an absolute target": (b"GET http://hub.test/a?b HTTP/1.1\r\n" + HOST + b"\r\n", "/a", b"b", b""),
    "an absolute target without a path": (b"GET http://HUB.test?b HTTP/1.1\r\n" + HOST + b"\r\n", "/", b"b", b""),
    "a path of bytes that are no UTF-8": (b"GET /%ff HTTP/1.1\r\n" + HOST + b"\r\n", "/\ufffd", b"", b""),
    "an asterisk": (b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n", "*", b"", b""),
    "a blank line in front": (b"\r\nGET / HTTP/1.1\r\n" + HOST + b"\r\n", "/", b"", b""),
    "an IPv6 host": (b"GET / HTTP/1.1\r\nHost: [::1]:8000\r\n\r\n", "/", b"", b""),
    "a length": (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\n\r\nabc", "/", b"", b"abc"),
    "chunks": (b"POST / HTTP/1.1\r\n" + HOST + CHUNKED + b"\r\n1;e=1\r\na\r\n2\r\nbc\r\n0\r\nT: 1\r\n\r\n", "/", b"", b"abc"),
    "an offer of HTTP/2": (b"GET / HTTP/1.1\r\n" + HOST + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n", "/", b"", b""),
    "an offer of HTTP/2 with a body": (
        b"POST / HTTP/1.1\r\n" + HOST + b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 3\r\n\r\nabc",
        "/", b"", b"abc",
    ),
    "an offer of HTTP/2 with chunks": (
        b"POST / HTTP/1.1\r\n" + HOST + b"Connection: Upgrade\r\nUpgrade: h2c\r\n" + CHUNKED + b"\r\n3\r\nabc\r\n0\r\n\r\n",
        "/", b"", b"abc",
    ),
}  # fmt: skip


@pytest.mark.parametrize("size", [1, 7, 65536])
@pytest.mark.parametrize(("data", "path", "query", "body"), ACCEPTED.values(), ids=ACCEPTED.keys())
def test_a_request_is_its_head_its_body_and_its_end(
    data: bytes, path: str, query: bytes, body: bytes, size: int
) -> None:
    events = parsed(data * 2, size)
    for each in (events[: len(events) // 2], events[len(events) // 2 :]):
        assert head(each).path == path
        assert head(each).query == query
        assert each[1:] == ([body, END] if body else [END])


def test_bytes_after_a_request_that_closes_the_connection_are_not_parsed() -> None:
    events = parsed(b"GET / HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\nGET /2 HTTP/1.1\r\n\r\n", 65536)
    assert not head(events).keep_alive
    assert events[1:] == [END]


FRAGMENTS = st.sampled_from([b"GET ", b"/", b" HTTP/1.1", b"\r\n", b"\n", HOST, CHUNKED, b"Content-Length: 5\r\n", b"0\r\n\r\n",
                             b"5\r\nhello\r\n", b"Upgrade: h2c\r\nConnection: upgrade\r\n", b"Expect: 100-continue\r\n"])  # fmt: skip


@given(pieces=st.lists(FRAGMENTS | st.binary(max_size=40), max_size=30), size=st.integers(1, 100))
def test_any_bytes_give_the_same_events_however_they_are_cut(pieces: list[bytes], size: int) -> None:
    data = b"".join(pieces)
    whole, cut = parsed(data, 65536), parsed(data, size)
    assert list(map(told, whole)) == list(map(told, cut))


def told(event: object) -> object:
    if isinstance(event, RequestHead):
        return event.method, event.path, event.headers
    return type(event) if isinstance(event, RequestRefused) else event
