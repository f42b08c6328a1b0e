"""Replies in gzip for clients that take it, above a size."""

from __future__ import annotations

import gzip
from collections import OrderedDict
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Final, final

from anyio import CapacityLimiter, to_thread

from hub.http.headers import etag_matches
from hub.http.middleware.asgi import HttpApp, ReplyHeaders

if TYPE_CHECKING:
    from litestar.types import HTTPResponseStartEvent, HTTPScope, Message, Receive, Send

COMPRESS_ABOVE: Final = 4096
"""Bytes of a reply above which it is compressed: less than that fits into a few packets anyway."""

IN_THREAD: Final = 64 * 1024
"""Bytes above which a worker thread compresses: below, it takes less than a millisecond."""

KEPT: Final = 16
"""Large documents that are kept compressed: the API description above all, which is the same until the models change."""

LEVEL: Final = 4
"""On JSON as small as level 6, in half of its time."""

_Content = tuple[str, bytes, str, str]

_THREADS: Final = 2
_NOT_MODIFIED: Final = 304
_WITHOUT_A_BODY: Final = frozenset({204, 206, _NOT_MODIFIED})
_TYPES: Final = frozenset({
    "application/json", "application/javascript", "application/openmetrics-text", "application/x-ndjson", "image/svg+xml"
})  # fmt: skip


def with_compression(app: HttpApp, *, above: int) -> HttpApp:
    """Compresses complete replies of text and JSON, if `Accept-Encoding` likes gzip at least as well as what it is now.

    What is written as things happen (event streams, answers to batches) is left alone, and so is what has a
    `Content-Encoding` already or is protobuf. The `ETag` of a compressed reply is a weak one: it names the content, not its
    bytes (RFC 9110 section 8.8.3), so `If-None-Match` works with the one and the other.

    Large documents with a strong `ETag` stay compressed, the last `KEPT` of them.

    Litestar's own middleware does not look at q-values, leaves `ETag` as it is, compresses on the event loop whatever the
    size, and holds back streams.

    Args:
        app: Makes the replies.
        above: Bytes of the smallest reply that is compressed; 0 turns it off.
    """
    compressor = _Compressor()

    async def asgi(scope: HTTPScope, receive: Receive, send: Send) -> None:
        given = dict(scope["headers"])
        known = given.get(b"if-none-match", b"").decode("latin-1")
        accepts = accepts_gzip(given.get(b"accept-encoding", b"").decode("latin-1"))
        held: HTTPResponseStartEvent | None = None
        content = bytearray()
        which: _Content | None = None
        ready: bytes | None = None

        async def compressed(message: Message) -> None:
            nonlocal held, which, ready
            if message["type"] == "http.response.start":
                headers = ReplyHeaders(message)
                _name_variants(message["status"], headers, known, enabled=above > 0)
                if above and accepts and _worthwhile(message["status"], headers, above):
                    held = message
                    which = _content_of(scope, headers)
                    ready = compressor.kept(which)
                    return
            elif held is not None and message["type"] == "http.response.body":
                if ready is None:
                    content.extend(message["body"])
                if message.get("more_body", False):
                    return
                start, held = held, None
                body = ready or await compressor.compress(bytes(content), which)
                _describe(ReplyHeaders(start), len(body))
                await send(start)
                message = {**message, "body": body}
            await send(message)

        await app(scope, receive, compressed)

    return asgi


@lru_cache(64)  # clients of one kind send the same one each time
def accepts_gzip(accept_encoding: str) -> bool:
    """Whether `Accept-Encoding` likes gzip at least as well as no coding (RFC 9110 section 12.5.3)."""
    weights: dict[str, float] = {}
    for element in accept_encoding.split(","):
        name, *parameters = (part.strip().lower() for part in element.split(";"))
        weights[name] = _weight(parameters)
    gzipped = max((weights[name] for name in ("gzip", "x-gzip") if name in weights), default=weights.get("*", 0.0))
    return gzipped > 0 and gzipped >= weights.get("identity", 0.0)


def weak(etag: str) -> str:
    """The weak form of an `ETag`."""
    return etag if etag.startswith("W/") else f"W/{etag}"


def _weight(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0


def _name_variants(status: int, headers: ReplyHeaders, known: str, *, enabled: bool) -> None:
    """Says in each reply that might be compressed what that depends on; in a 304 as the 200 in its place would."""
    if status == _NOT_MODIFIED:
        etag = headers.get("etag")
        if etag and weak(etag) in known and etag_matches(known, etag):
            # Or a cache could not tell which of its replies is meant (RFC 9111 section 4.3.4).
            headers.set("ETag", weak(etag))
    if enabled and (
        status == _NOT_MODIFIED or (_is_text(headers.get("content-type")) and headers.get("content-length"))
    ):
        headers.vary_by("Accept-Encoding")


@lru_cache(64)
def _is_text(content_type: str) -> bool:
    media_type = content_type.partition(";")[0].strip().lower()
    return media_type in _TYPES or media_type.endswith("+json") or media_type.startswith("text/")


def _content_of(scope: HTTPScope, headers: ReplyHeaders) -> _Content | None:
    """What names the content of a reply, if it is large and the same for each client; a strong `ETag` names its bytes."""
    etag = headers.get("etag")
    if int(headers.get("content-length")) <= IN_THREAD or not etag.startswith('"'):
        return None
    return scope["path"], bytes(scope["query_string"]), headers.get("content-type"), etag


def _worthwhile(status: int, headers: ReplyHeaders, above: int) -> bool:
    length = headers.get("content-length")  # a reply without one is written as things happen
    return (
        status not in _WITHOUT_A_BODY
        and length.isdigit()
        and int(length) >= above
        and not headers.get("content-encoding")
        and "no-transform" not in headers.get("cache-control")
        and _is_text(headers.get("content-type"))
    )


@final
class _Compressor:
    """Compresses, and keeps the last `KEPT` results that have a name."""

    def __init__(self) -> None:
        self._limiter = CapacityLimiter(_THREADS)
        self._kept = OrderedDict[_Content, bytes]()

    def kept(self, which: _Content | None) -> bytes | None:
        if which is None or which not in self._kept:
            return None
        self._kept.move_to_end(which)
        return self._kept[which]

    async def compress(self, content: bytes, which: _Content | None) -> bytes:
        compress = partial(gzip.compress, content, compresslevel=LEVEL, mtime=0)
        body = compress() if len(content) <= IN_THREAD else await to_thread.run_sync(compress, limiter=self._limiter)
        if which is not None:
            self._kept[which] = body
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return body


def _describe(headers: ReplyHeaders, length: int) -> None:
    headers.set("Content-Encoding", "gzip")
    headers.set("Content-Length", str(length))
    if headers.get("etag"):
        headers.set("ETag", weak(headers.get("etag")))
