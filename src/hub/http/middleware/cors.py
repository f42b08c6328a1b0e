"""Which web pages of other origins may use a server (Cross-Origin Resource Sharing, part of the Fetch standard)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, final

from hub.errors import ConfigurationError
from hub.http.middleware.asgi import HttpApp, ReplyHeaders

if TYPE_CHECKING:
    from litestar.types import HTTPResponseStartEvent, HTTPScope, Message, Receive, Send

ANY: Final = "*"

METHODS: Final = "DELETE, GET, HEAD, POST, PUT"
"""What pages may ask with; a method that a path does not have is a 405 that they can read."""

TAKEN: Final = (
    "Accept", "Authorization", "Cache-Control", "Content-Encoding", "Content-Type", "Hub-Result-TTL", "Hub-Timeout",
    "Idempotency-Key", "If-None-Match", "Last-Event-ID", "Prefer", "X-API-Key", "traceparent", "tracestate",
)  # fmt: skip
"""Request headers that pages may set."""

SHOWN: Final = (
    "Accept-Encoding", "Allow", "ETag", "Hub-Expires-At", "Hub-Task", "Idempotent-Replayed", "Location",
    "Preference-Applied", "Retry-After",
)  # fmt: skip
"""Response headers that pages may read."""

MAX_AGE: Final = 600
"""Seconds that a browser may remember the answer to a preflight."""

_ORIGIN: Final = re.compile(r"([a-z][a-z0-9+.-]*)://([a-z0-9._-]+|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?", re.ASCII)
_DEFAULT_PORTS: Final = {"http": "80", "https": "443"}
_PREFLIGHT: Final = 204


def origins_of(text: str) -> frozenset[str]:
    """The origins in a comma-separated list, as browsers write them (RFC 6454 section 6.2); `*` stands for any.

    Raises:
        ConfigurationError: One of them is no origin, or `*` stands beside others.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if ANY in parts and len(set(parts)) > 1:
        raise ConfigurationError("cors_origins has * beside other origins; write * alone, or name the origins")
    return frozenset(part if part == ANY else _origin(part) for part in parts)


def _origin(text: str) -> str:
    match = _ORIGIN.fullmatch(text.lower())
    if match is None or int(match[3] or 0) > 65535:
        raise ConfigurationError(f"cors_origins: {text!r} is no origin; {_repair(text)}")
    scheme, host, port = match.groups()
    return f"{scheme}://{host}" if port in (None, _DEFAULT_PORTS.get(scheme)) else f"{scheme}://{host}:{port}"


def _repair(text: str) -> str:
    scheme, separator, rest = text.partition("://")
    host = re.split("[/?#]", rest if separator else scheme)[0].rpartition("@")[2]
    if text.lower() == "null":
        return "pages of sandboxed frames and files cannot be told apart; serve them from an origin, or write *"
    if not separator:
        return f"it needs a scheme, write https://{host or 'app.example.com'}"
    if ANY in text:
        return "patterns are not understood; name each origin, or write * alone for any"
    if not host.isascii():
        return "write its host as browsers send it, in ASCII (xn--...)"
    if host != rest and _ORIGIN.fullmatch(f"{scheme}://{host}".lower()):
        return f"an origin is scheme, host and port, nothing more: write {scheme}://{host}"
    return "write origins like https://app.example.com or http://localhost:5173, separated by commas"


@final
class _Policy:
    """What replies say to a page of some origin."""

    def __init__(self, origins: frozenset[str]) -> None:
        self._any = ANY in origins
        self._origins = origins

    def allows(self, origin: str) -> bool:
        return bool(origin) and (self._any or origin in self._origins)

    def describe(self, headers: ReplyHeaders, origin: str) -> None:
        """Adds to a reply of any status what a page needs to read it; caches learn that it depends on the origin."""
        if not self._any:
            headers.vary_by("Origin")
        if self.allows(origin):
            headers.set("Access-Control-Allow-Origin", ANY if self._any else origin)
            headers.set("Access-Control-Expose-Headers", _joined(SHOWN))

    def preflight(self, origin: str) -> HTTPResponseStartEvent:
        """The reply to the question whether a page may send a request that is more than simple."""
        start: HTTPResponseStartEvent = {"type": "http.response.start", "status": _PREFLIGHT, "headers": []}
        headers = ReplyHeaders(start)
        headers.set("Access-Control-Allow-Origin", ANY if self._any else origin)
        headers.set("Access-Control-Allow-Methods", METHODS)
        headers.set("Access-Control-Allow-Headers", _joined(TAKEN))
        headers.set("Access-Control-Max-Age", str(MAX_AGE))
        headers.vary_by("Access-Control-Request-Headers", "Access-Control-Request-Method")
        if not self._any:
            headers.vary_by("Origin")
        return start


def with_cors(app: HttpApp, origins: frozenset[str]) -> HttpApp:
    """Lets web pages of these origins use `app`; with none it stays as it is, and browsers keep other pages out.

    Every reply to such a page can be read, errors included. Preflights are answered here, before any credential is asked:
    they carry none. `Access-Control-Allow-Credentials` is never sent: keys come in headers that the page sets itself, and
    there are no cookies that a page could borrow.

    Args:
        app: What the pages ask.
        origins: What `origins_of` returned.
    """
    if not origins:
        return app
    policy = _Policy(origins)

    async def asgi(scope: HTTPScope, receive: Receive, send: Send) -> None:
        given = dict(scope["headers"])
        origin = given.get(b"origin", b"").decode("latin-1")
        if scope["method"] == "OPTIONS" and b"access-control-request-method" in given and policy.allows(origin):
            await send(policy.preflight(origin))
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return

        async def described(message: Message) -> None:
            if message["type"] == "http.response.start":
                policy.describe(ReplyHeaders(message), origin)
            await send(message)

        await app(scope, receive, described)

    return asgi


def _joined(names: Iterable[str]) -> str:
    return ", ".join(names)
