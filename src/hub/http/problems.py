"""The one place where an error becomes a reply of Litestar's: `application/problem+json` (RFC 9457)."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, Final

import structlog
from litestar import Request, Response
from litestar.enums import ScopeType
from litestar.exceptions import HTTPException
from litestar.types import ExceptionHandlersMap, Scope

from hub.errors import HubError
from hub.http.problem_document import (
    PROBLEM_TYPE,
    about,
    encoded_bug,
    encoded_members,
    problem_members,
    retry_seconds,
)

_PHRASES: Final = {
    413: "Content Too Large",
    414: "URI Too Long",
    416: "Range Not Satisfiable",
    422: "Unprocessable Content",
}
"""RFC 9110's names of the statuses that Python's `HTTPStatus` called otherwise before 3.13."""

DISCONNECTED: Final = "client disconnected prematurely"
"""Litestar's text for a connection that ends before the body; it has no class of its own for that."""

_TOO_DEEP: Final = "while deserializing an object"
"""The end of msgspec's error for JSON that is nested too deep, which is a plain `RecursionError`."""

_log = structlog.get_logger("hub.http")


def problem(
    status: int,
    *,
    code: str,
    title: str,
    detail: str,
    extensions: dict[str, object] | None = None,
    headers: dict[str, str] | None = None,
) -> Response[bytes]:
    """A problem reply. `extensions` become further members; `code` is for programs."""
    members = problem_members(status, code=code, title=title, detail=detail, extensions=extensions)
    return Response(encoded_members(members), status_code=status, media_type=PROBLEM_TYPE, headers=headers)


def problem_response(error: HubError, extensions: Mapping[str, object] = MappingProxyType({})) -> Response[bytes]:
    """The reply for one of hub's own errors, with its `Retry-After`. `extensions` are further members."""
    delay = retry_seconds(error)
    headers = {} if delay is None else {"Retry-After": str(delay)}
    return problem(
        error.status,
        code=error.code,
        title=error.title,
        detail=str(error),
        extensions={**extensions, **error.extensions},
        headers=headers,
    )


def _on_hub_error(scope: Scope, error: HubError) -> Response[bytes]:
    if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        _log.warning("request failed", **_named(scope), code=error.code, reason=str(error))
    return problem_response(error, about(scope))


def _on_http_exception(scope: Scope, error: HTTPException) -> Response[bytes]:
    status = HTTPStatus(error.status_code)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR and error.detail == DISCONNECTED:
        _log.debug("client disconnected before its request was complete", **_named(scope))
        return Response(b"", status_code=499)  # cannot be sent any more; the status is that of nginx's logs
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return _on_bug(scope, error)
    phrase = _PHRASES.get(status, status.phrase)
    return problem(
        status,
        code=phrase.lower().replace(" ", "_").replace("-", "_").replace("'", ""),
        title=phrase,
        detail=str(error.detail) or phrase,
        extensions={**about(scope), **({"errors": error.extra} if error.extra else {})},
        headers=dict(error.headers or {}),
    )


def _on_bug(scope: Scope, error: Exception) -> Response[bytes]:
    # Any other error is a bug: the log has all of it, and the client has something to report.
    _log.error("unexpected error", **_named(scope), exc_info=error)
    return Response(encoded_bug(scope, error), status_code=500, media_type=PROBLEM_TYPE)


def _on_recursion(scope: Scope, error: RecursionError) -> Response[bytes]:
    if not str(error).endswith(_TOO_DEEP):
        return _on_bug(scope, error)
    return problem(
        400,
        code="bad_request",
        title="Bad Request",
        detail="the JSON of the body is nested too deep to be parsed; send it with fewer nested arrays and objects",
        extensions=about(scope),
    )


def error_response(scope: Scope, error: Exception) -> Response[bytes]:
    """The reply to a request whose handling raised `error`. Logs what is no fault of the client."""
    match error:
        case HubError():
            return _on_hub_error(scope, error)
        case HTTPException():
            return _on_http_exception(scope, error)
        case RecursionError():
            return _on_recursion(scope, error)
        case _:
            return _on_bug(scope, error)


def _named(scope: Scope) -> dict[str, str]:
    """The request in a line of the log."""
    return {"method": scope["method"] if scope["type"] == ScopeType.HTTP else "CONNECT", "path": scope["path"]}


def _handle(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    return error_response(request.scope, error)


EXCEPTION_HANDLERS: Final[ExceptionHandlersMap] = {  # pyright: ignore[reportUnknownVariableType]  # Litestar's alias
    Exception: _handle,
}
"""For `Litestar(exception_handlers=...)` of every server: every error becomes a problem reply."""
