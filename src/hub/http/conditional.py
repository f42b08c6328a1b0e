"""Replies in JSON: plain, conditional (`If-None-Match`), and held back until the document has changed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from hashlib import sha256
from typing import Final

import msgspec
from litestar import Response

from hub.http.dependencies import HttpRequest
from hub.http.headers import etag_matches, prefer_wait, preference_applied
from hub.http.media_types import JSON

NO_STORE: Final = {"Cache-Control": "no-store"}


def json_reply(value: object, *, status: int = 200, headers: dict[str, str] | None = None) -> Response[bytes]:
    return Response(msgspec.json.encode(value), status_code=status, media_type=JSON, headers=headers)


def etag_of(content: bytes) -> str:
    """A strong validator of `content`, with its quotes."""
    return f'"{sha256(content).hexdigest()[:32]}"'


def conditional_reply(
    request: HttpRequest, content: bytes, *, etag: str | None = None, headers: dict[str, str] | None = None
) -> Response[bytes]:
    """The JSON document `content` with its `ETag`, or 304 if `If-None-Match` names that.

    Args:
        request: The request.
        content: The document, encoded.
        etag: Its validator, if that is not derived from `content`.
        headers: Further headers of both replies.
    """
    etag = etag or etag_of(content)
    headers = {"Cache-Control": "no-cache", "ETag": etag, **(headers or {})}
    if etag_matches(request.headers.get("if-none-match"), etag):
        return Response(b"", status_code=304, headers=headers)
    return Response(content, media_type=JSON, headers=headers)


async def long_poll_reply(
    request: HttpRequest,
    render: Callable[[], tuple[str, bytes]],
    changed: Callable[[], Awaitable[None]],
    wait_scope: Callable[[float], AbstractContextManager[object]],
) -> Response[bytes]:
    """A conditional reply that `Prefer: wait=N` (RFC 7240) holds back while the client has the present document.

    Args:
        request: The request.
        render: Returns the ETag and the document as they are now.
        changed: Waits until `render` may return something else.
        wait_scope: Called with the N seconds; returns a scope that ends the wait after these, or sooner.
    """
    etag, content = render()
    known = request.headers.get("if-none-match")
    wait = prefer_wait(request.headers.get("prefer"))
    headers: dict[str, str] = {}
    if wait is not None and etag_matches(known, etag):
        headers = preference_applied(wait)
        with wait_scope(wait):
            while etag_matches(known, etag):
                await changed()
                etag, content = render()
    return conditional_reply(request, content, etag=etag, headers=headers)
