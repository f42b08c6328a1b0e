"""Replies of the routes: their description, and lists that clients can watch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec
from anyio import move_on_after
from litestar import MediaType, Request, Response
from litestar.openapi.datastructures import ResponseSpec

from hub.http.headers import etag_matches, prefer_wait
from hub.registry.core.state import RegistryState


def response_spec(kind: type[msgspec.Struct] | None, description: str) -> ResponseSpec:
    """A reply without the random examples that Litestar generates, so that the document is the same at each start."""
    return ResponseSpec(kind, description=description, generate_examples=False)


NOT_JSON: Final = response_spec(None, "The body is not declared as `application/json`.")

NOT_YOURS: Final = response_spec(
    None, "`not_your_instance`: the call does not carry the secret of the instance's login."
)

NO_ROOM: Final = response_spec(
    None, "`registry_full`, when a limit is reached; or the server has no room for a connection."
)

NOT_MODIFIED: Final = response_spec(None, "Nothing has changed, for as long as `Prefer: wait=N` asked to wait.")

UNKNOWN_MODEL: Final = response_spec(None, "`unknown_model`: no instance of such a model has ever logged in.")

UNKNOWN_CONTRACT: Final = response_spec(None, "`unknown_model`, or `unknown_contract`: the model never had this one.")

INVALID: Final = response_spec(
    None,
    "`invalid_login`, `invalid_name`, `invalid_contract`, or `invalid_descriptors` of the instance: a value that hub cannot "
    "use.",
)

UNREACHABLE: Final = response_spec(
    None,
    "`instance_unreachable`: no process, or another one, answers at the URL; or `descriptors_unreachable`: the contract was left "
    "out and cannot be read.",
)

NAME_TAKEN: Final = response_spec(None, "`name_taken`: live instances have the name with another contract.")

OUT_OF_REACH: Final = response_spec(None, "The directory is out of reach; or the server has no room for a connection.")


async def conditional_json(
    request: Request[Any, Any, Any], registry: RegistryState, content: Callable[[], msgspec.Struct]
) -> Response[bytes]:
    """The reply to a request for a list: `content()`, at once or after the next change.

    With `Prefer: wait=N` (RFC 7240) a request whose `If-None-Match` names the current version is held for up to N seconds.
    The reply is 304 when nothing changes, or when the registry is about to stop.
    """
    known = request.headers.get("if-none-match")
    wait = prefer_wait(request.headers.get("prefer"))
    headers = {"Cache-Control": "no-cache"}
    if wait is not None:
        headers["Preference-Applied"] = f"wait={wait:.0f}"
        if etag_matches(known, registry.etag):
            with move_on_after(wait):
                await registry.wait_for_change(registry.version)
    headers["ETag"] = registry.etag
    if etag_matches(known, registry.etag):
        return Response(b"", status_code=304, headers=headers)
    return Response(msgspec.json.encode(content()), media_type=MediaType.JSON, headers=headers)
