"""Replies that more than one route gives."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
from litestar import Response

from hub.gateway.negotiation import JSON, HttpRequest
from hub.http.headers import etag_matches, prefer_wait
from hub.http.long_polling import LongPollRegistry

NO_STORE: Final = {"Cache-Control": "no-store"}


def json_reply(value: object, *, status: int = 200, headers: dict[str, str] | None = None) -> Response[bytes]:
    return Response(msgspec.json.encode(value), status_code=status, media_type=JSON, headers=headers)


async def conditional_reply(
    request: HttpRequest,
    render: Callable[[], tuple[str, bytes]],
    changed: Callable[[], Awaitable[None]],
    polls: LongPollRegistry,
) -> Response[bytes]:
    """A JSON document with an `ETag`, held back by `If-None-Match` and `Prefer: wait=N` until it is another one.

    Args:
        request: The request.
        render: Gives the ETag and the document as they are now.
        changed: Waits until `render` may give something else.
        polls: Bounds the wait.
    """
    etag, content = render()
    known = request.headers.get("if-none-match")
    headers = {"Cache-Control": "no-cache"}
    wait = prefer_wait(request.headers.get("prefer"))
    if wait is not None and etag_matches(known, etag):
        headers["Preference-Applied"] = f"wait={wait:.0f}"
        with polls.hold(wait):
            while etag_matches(known, etag):
                await changed()
                etag, content = render()
    headers["ETag"] = etag
    if etag_matches(known, etag):
        return Response(b"", status_code=304, headers=headers)
    return Response(content, media_type=JSON, headers=headers)
