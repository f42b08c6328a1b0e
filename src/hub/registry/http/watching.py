"""Lists that a client can watch: `If-None-Match` with `Prefer: wait=N` is answered at the next change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from anyio import move_on_after
from litestar import MediaType, Request, Response

from hub.http.headers import etag_matches, prefer_wait
from hub.registry.core.state import RegistryState


async def watched(
    request: Request[Any, Any, Any], roll: RegistryState, content: Callable[[], msgspec.Struct]
) -> Response[bytes]:
    """The reply to a request for a list: `content()` now, or after the next change if the client has this version.

    With `Prefer: wait=N` (RFC 7240) a request whose `If-None-Match` names the present version is held for up to N
    seconds. The reply is 304 when nothing happens, or when the registry is about to stop.
    """
    known = request.headers.get("if-none-match")
    wait = prefer_wait(request.headers.get("prefer"))
    headers = {"Cache-Control": "no-cache"}
    if wait is not None:
        headers["Preference-Applied"] = f"wait={wait:.0f}"
        if etag_matches(known, roll.etag):
            with move_on_after(wait):
                await roll.newer_than(roll.table.version)
    headers["ETag"] = roll.etag
    if etag_matches(known, roll.etag):
        return Response(b"", status_code=304, headers=headers)
    return Response(msgspec.json.encode(content()), media_type=MediaType.JSON, headers=headers)
