"""The one place where an error becomes an HTTP reply: `application/problem+json` (RFC 9457)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from math import ceil
from types import MappingProxyType
from typing import Any, Final, cast

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException
from litestar.types import ExceptionHandlersMap, Scope

from hub.errors import HubError

PROBLEM_TYPE: Final = "application/problem+json"

_PHRASES: Final = {
    413: "Content Too Large",
    414: "URI Too Long",
    416: "Range Not Satisfiable",
    422: "Unprocessable Content",
}
"""RFC 9110's names of the statuses that Python's `HTTPStatus` called otherwise before 3.13."""

_DISCONNECTED: Final = "client disconnected prematurely"
"""Litestar's text for a connection that ends before the body; it has no class of its own for that."""

_TOO_DEEP: Final = "while deserializing an object"
"""The end of msgspec's error for JSON that is nested too deep, which is a plain `RecursionError`."""

_ABOUT: Final = "hub.about"

_MAX_DEPTH: Final = 16
"""Levels of a problem that are kept when it cannot be encoded as it is; hub's own have three."""

_log = structlog.get_logger("hub.http")


def about(scope: Scope) -> dict[str, object]:
    """Further members of every problem that is sent in reply to a request; handlers add them as soon as they know them."""
    found: dict[str, object] = cast("dict[str, Any]", scope).setdefault(_ABOUT, {})
    return found


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


def problem_members(
    status: int, *, code: str, title: str, detail: str, extensions: dict[str, object] | None = None
) -> dict[str, object]:
    """The members of a problem, also for a problem inside of another document."""
    members = {"type": f"urn:hub:problem:{code}", "title": title, "status": status, "detail": detail, "code": code}
    return {**members, **(extensions or {})}


def encoded_members(members: object) -> bytes:
    """A problem, or a document with one in it, as JSON. Never fails.

    Its texts have parts from clients, models and servers. A lone surrogate becomes `?`, a value that has no JSON form
    becomes the name of its type: a reply about a bad request must not itself become an error.
    """
    try:
        return msgspec.json.encode(members)
    except (ValueError, TypeError, OverflowError, RecursionError):  # UnicodeEncodeError is a ValueError
        return msgspec.json.encode(_plain(members, _MAX_DEPTH))


def _plain(value: object, depth: int) -> object:
    match value:
        case str():
            return value.encode(errors="replace").decode()
        case None | bool() | float():
            return value
        case int():
            return value if -(2**63) <= value < 2**64 else f"a number of {value.bit_length()} bits"
        case Mapping() if depth:
            pairs = cast("Mapping[object, object]", value).items()
            return {str(_plain(name, 0)): _plain(member, depth - 1) for name, member in pairs}
        case list() | tuple() if depth:
            return [_plain(item, depth - 1) for item in cast("Sequence[object]", value)]
        case _:
            return type(value).__name__


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


def problem_dict(error: HubError) -> dict[str, object]:
    """One of hub's own errors as the members of a problem, with `retry_after` in place of the header."""
    members = problem_members(
        error.status, code=error.code, title=error.title, detail=str(error), extensions=error.extensions
    )
    delay = retry_seconds(error)
    return members if delay is None else {**members, "retry_after": delay}


def retry_seconds(error: HubError) -> int | None:
    """`HubError.retry_after` in whole seconds, as `Retry-After` has them."""
    return None if error.retry_after is None else max(1, ceil(error.retry_after))


def _on_hub_error(request: Request[Any, Any, Any], error: HubError) -> Response[bytes]:
    if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        _log.warning("request failed", method=request.method, path=request.url.path, code=error.code, reason=str(error))
    return problem_response(error, about(request.scope))


def _on_http_exception(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    status = HTTPStatus(error.status_code)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR and error.detail == _DISCONNECTED:
        _log.debug("client disconnected before its request was complete", method=request.method, path=request.url.path)
        return Response(b"", status_code=499)  # cannot be sent any more; the status is that of nginx's logs
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return _on_bug(request, error)
    phrase = _PHRASES.get(status, status.phrase)
    return problem(
        status,
        code=phrase.lower().replace(" ", "_").replace("-", "_").replace("'", ""),
        title=phrase,
        detail=str(error.detail) or phrase,
        extensions={**about(request.scope), **({"errors": error.extra} if error.extra else {})},
        headers=dict(error.headers or {}),
    )


def _on_bug(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    # Any other error is a bug: the log has all of it, and the client has something to report.
    _log.error("unexpected error", method=request.method, path=request.url.path, exc_info=error)
    return Response(encoded_bug(request.scope, error), status_code=500, media_type=PROBLEM_TYPE)


def _on_recursion(request: Request[Any, Any, Any], error: RecursionError) -> Response[bytes]:
    if not str(error).endswith(_TOO_DEEP):
        return _on_bug(request, error)
    return problem(
        400,
        code="bad_request",
        title="Bad Request",
        detail="the JSON of the body is nested too deep to be parsed; send it with fewer nested arrays and objects",
        extensions=about(request.scope),
    )


def encoded_bug(scope: Scope, error: BaseException) -> bytes:
    """The body of the reply to a request whose handling raised something unexpected."""
    members = problem_members(
        500,
        code=HubError.code,
        title=HubError.title,
        detail=f"an unexpected {type(error).__name__} was raised; the log of this server has the details",
        extensions=about(scope),
    )
    return encoded_members(members)


EXCEPTION_HANDLERS: Final[ExceptionHandlersMap] = {  # pyright: ignore[reportUnknownVariableType]  # Litestar's alias
    HubError: _on_hub_error,
    HTTPException: _on_http_exception,
    RecursionError: _on_recursion,
    Exception: _on_bug,
}
"""For `Litestar(exception_handlers=...)` of every server: every error becomes a problem reply."""
