"""Who may call: bearer tokens and API keys, compared in constant time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from hmac import compare_digest
from typing import Any, final

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from typing_extensions import override

from hub.errors import HubError


@final
class Unauthorized(HubError):
    """No credential, or a wrong one."""

    code = "unauthorized"
    status = 401
    title = "Credential missing or wrong"

    def __init__(self) -> None:
        super().__init__()

    @override
    def __str__(self) -> str:
        return "send a valid credential as 'Authorization: Bearer <token>' or 'X-API-Key: <key>'"


def presented_credential(headers: Mapping[str, str]) -> str:
    """What a client shows, in `Authorization: Bearer ...` (RFC 6750) or in `X-API-Key`, unchecked; empty if nothing."""
    kind, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if kind.lower() == "bearer" else headers.get("x-api-key", "")


def require_credential(
    accepted: Sequence[str],
) -> Callable[[ASGIConnection[Any, Any, Any, Any], BaseRouteHandler], Awaitable[None]]:
    """A Litestar guard that lets a request pass when it presents one of `accepted`; with none accepted all pass."""
    known = [secret.encode() for secret in accepted]

    # Async although it awaits nothing: Litestar runs a plain function in a worker thread, for each request.
    async def guard(connection: ASGIConnection[Any, Any, Any, Any], _handler: BaseRouteHandler) -> None:
        if not known:
            return
        given = presented_credential(connection.headers).encode()
        matches = [compare_digest(given, secret) for secret in known]  # all of them: no early exit to time
        if not any(matches):
            raise Unauthorized

    return guard
