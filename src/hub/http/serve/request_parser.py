"""Requests of HTTP/1.1 from the bytes of one connection, strictly (RFC 9112). Nothing here awaits.

llhttp, through httptools, does the parsing. This module adds what it leaves to its users: a bound on the head, one `Host`,
no transfer coding but `chunked`, and requests that offer an upgrade, which is never taken.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass
from typing import Final, final
from urllib.parse import unquote_to_bytes

import httptools
from typing_extensions import override

from hub.errors import HubError

HEAD_LIMIT: Final = 64 * 1024
"""Bytes of the head of a request at most, each header line counted with `LINE` on top, as in HTTP/2 (RFC 9113 6.5.2)."""

LINE: Final = 32
"""Bytes that a header line counts for beside its name and its value."""

_HOST: Final = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*+,;=%-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?")
"""`uri-host [":" port]` (RFC 9110 section 7.2)."""

_ABSOLUTE: Final = re.compile(rb"https?://([^/?#]*)([^#]*)", re.IGNORECASE)
"""The absolute form of a request target (RFC 9112 section 3.2.2)."""

_READ: Final = frozenset({b"host", b"content-length", b"transfer-encoding", b"expect"})
"""The headers that say how a request is to be read."""

_FRAMING: Final = frozenset({b"content-length", b"transfer-encoding"})


class RequestRefused(HubError):
    """A request that is not read; the connection ends after the reply."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@final
class MalformedRequest(RequestRefused):
    """The bytes are no request of HTTP/1.1, or one that two servers could read differently."""

    code = "malformed_request"
    status = 400
    title = "Malformed HTTP request"

    @override
    def __str__(self) -> str:
        return f"the request is not valid HTTP/1.1: {self.reason}"


@final
class HeadTooLarge(RequestRefused):
    """The request line and the headers are longer than `limit` bytes."""

    code = "request_head_too_large"
    status = 431
    title = "Request head too large"

    @override
    def __str__(self) -> str:
        return f"{self.reason}; send fewer or shorter headers (the server's limit is its setting head_limit)"


@final
class UnsupportedTransfer(RequestRefused):
    """A transfer coding other than chunked, or the method CONNECT."""

    code = "not_implemented"
    status = 501
    title = "Not implemented"

    @override
    def __str__(self) -> str:
        return self.reason


@final
class UnsupportedVersion(RequestRefused):
    """Another version of HTTP than 1.0 and 1.1."""

    code = "http_version_not_supported"
    status = 505
    title = "HTTP version not supported"

    @override
    def __str__(self) -> str:
        return f"the request is in HTTP/{self.reason}; use HTTP/1.1"


@final
@dataclass(slots=True)
class RequestHead:
    """The request line and the headers of a request.

    Attributes:
        target: The path and the query as they were sent.
        path: The path without its percent-encoding; bytes that are no UTF-8 are replaced.
        headers: Names in lower case, in the order of their arrival.
        http_version: `1.0` or `1.1`.
        has_body: Whether a body follows; it may be empty.
        expects_continue: Whether the client waits for a `100 (Continue)` before it sends the body.
        keep_alive: Whether another request may follow.
    """

    method: str
    path: str
    raw_path: bytes
    query: bytes
    headers: list[tuple[bytes, bytes]]
    http_version: str
    has_body: bool
    expects_continue: bool
    keep_alive: bool


@final
class EndOfRequest:
    """The body of a request is complete."""


END: Final = EndOfRequest()

Event = RequestHead | bytes | EndOfRequest | RequestRefused


@final
class RequestParser:
    """Bytes in, events out: for each request a `RequestHead`, pieces of its body, `END`. A refusal is the last event.

    Args:
        limit: Bytes of a head at most.
    """

    def __init__(self, limit: int = HEAD_LIMIT) -> None:
        self.events: deque[Event] = deque()
        self._limit = limit
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._size = 0
        self._idle = 0
        self._in_head = False
        self._framing: list[tuple[bytes, bytes]] = []
        self._skips_head = False
        self._refused: RequestRefused | None = None
        self._last = False

    def between_requests(self) -> bool:
        """Whether nothing of a next request has arrived."""
        return not (self._in_head or self.events)

    def feed(self, data: bytes) -> None:
        """Parses what has arrived: at most 64 KiB, so that the events of one call are bounded."""
        if self._ended():
            return
        known = len(self.events)
        try:
            self._feed(data)
        except httptools.HttpParserError as error:
            if not self._ended():
                self._refuse(_refusal(error))
        self._idle = 0 if len(self.events) > known else self._idle + len(data)
        if self._idle > self._limit and not self._ended():  # blank lines, extensions of chunks, trailers
            self._refuse(HeadTooLarge(f"{self._idle} bytes arrived in which nothing of a request is complete"))
        if self._refused is not None:
            self.events.append(self._refused)

    def _ended(self) -> bool:
        """Whether what comes is not read: after a refusal, or a request with `Connection: close`."""
        return self._refused is not None or self._last

    def _feed(self, data: bytes) -> None:
        while data:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                if self._ended():
                    return
                data = data[upgrade.args[0] :]
                self._go_on_without_upgrade()
            else:
                return

    def _go_on_without_upgrade(self) -> None:
        """Llhttp takes what follows an offer to upgrade for another protocol; it is the body of the request."""
        self._parser = httptools.HttpRequestParser(self)
        if not self._framing:
            return
        lines = b"".join(b"%b: %b\r\n" % line for line in self._framing)
        self._framing = []
        self._skips_head = True
        self._parser.feed_data(b"POST / HTTP/1.1\r\n%b\r\n" % lines)
        self._skips_head = False

    def _refuse(self, refusal: RequestRefused) -> None:
        if self._refused is None:
            self._refused = refusal

    # --- what httptools calls -----------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._url = b""
        self._headers = []
        self._size = 0
        self._in_head = True

    def on_url(self, url: bytes) -> None:
        self._url += url
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value) + LINE)
        if self._in_head:
            self._headers.append((name.lower(), value))  # those of a trailer section are dropped (RFC 9110 6.5.1)

    def _count(self, size: int) -> None:
        self._size += size
        if self._size > self._limit:
            self._refuse(HeadTooLarge(f"the head of the request is longer than {self._limit} bytes"))
            raise ValueError  # ends the call of the parser

    def on_headers_complete(self) -> None:
        self._in_head = False
        if self._skips_head:
            return
        try:
            head = self._head()
        except RequestRefused as refusal:
            self._refuse(refusal)
            raise
        if head.has_body and self._parser.should_upgrade():
            self._framing = [line for line in self._headers if line[0] in _FRAMING]
        self.events.append(head)

    def on_body(self, body: bytes) -> None:
        self.events.append(body)

    def on_message_complete(self) -> None:
        if not self._framing and not self._skips_head:
            self._last = not self._parser.should_keep_alive()
            self.events.append(END)

    def _head(self) -> RequestHead:
        """The head that has just arrived.

        Raises:
            RequestRefused: It is not one that is answered.
        """
        version = self._parser.get_http_version()
        if version not in {"1.0", "1.1"}:
            raise UnsupportedVersion(version)
        method = self._parser.get_method().decode("ascii")
        if method == "CONNECT":
            raise UnsupportedTransfer("CONNECT is for proxies")
        read = [line for line in self._headers if line[0] in _READ]
        host = _host(read, needed=version == "1.1")
        raw_path, _, query = _target(self._url, host).partition(b"?")
        path = raw_path if b"%" not in raw_path else unquote_to_bytes(raw_path)
        return RequestHead(
            method=method,
            path=path.decode("utf-8", "replace"),
            raw_path=raw_path,
            query=query,
            headers=self._headers,
            http_version=version,
            has_body=_has_body(read, version),
            expects_continue=version == "1.1" and _expects_continue(read),
            keep_alive=self._parser.should_keep_alive(),
        )


def _host(headers: list[tuple[bytes, bytes]], *, needed: bool) -> bytes | None:
    """The one `Host` (RFC 9112 section 3.2)."""
    hosts = [value for name, value in headers if name == b"host"]
    if len(hosts) > 1 or (needed and not hosts):
        raise MalformedRequest(f"it has {len(hosts)} Host headers; send one")
    if hosts and _HOST.fullmatch(hosts[0]) is None:
        raise MalformedRequest("its Host is no host with an optional port")
    return hosts[0] if hosts else None


def _target(target: bytes, host: bytes | None) -> bytes:
    """Path and query of a request target in any of its forms (RFC 9112 section 3.2)."""
    if target.startswith(b"/") or target == b"*":
        return target
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None:
        raise MalformedRequest("its target is neither a path nor an http URL")
    if host is not None and absolute[1].lower() != host.lower():
        raise MalformedRequest("the host of its target is not its Host")
    return absolute[2] if absolute[2].startswith(b"/") else b"/" + absolute[2]


def _has_body(headers: list[tuple[bytes, bytes]], version: str) -> bool:
    """Whether a body follows. One that two servers could delimit differently is refused (RFC 9112 section 6.1)."""
    lengths = [value for name, value in headers if name == b"content-length"]
    codings = [value for name, value in headers if name == b"transfer-encoding"]
    for coding in codings:
        if coding.lower() != b"chunked":
            raise UnsupportedTransfer(f"Transfer-Encoding is {coding.decode('latin-1')!r}; send chunked alone")
    if codings and (lengths or version == "1.0"):
        raise MalformedRequest("its body has a Transfer-Encoding that does not go with the rest of its head")
    return bool(lengths or codings)


def _expects_continue(headers: list[tuple[bytes, bytes]]) -> bool:
    return b"100-continue" in [value.lower() for name, value in headers if name == b"expect"]


def _refusal(error: httptools.HttpParserError) -> RequestRefused:
    text = str(error.__context__ if isinstance(error, httptools.HttpParserCallbackError) else error)
    if "PRI" in text:
        return UnsupportedVersion("2")
    return MalformedRequest(text[:1].lower() + text[1:])
