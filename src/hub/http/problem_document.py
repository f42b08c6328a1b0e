"""The JSON document of an error, `application/problem+json` (RFC 9457), without the framework that sends it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from hub.errors import HubError

if TYPE_CHECKING:
    from litestar.types import Scope

PROBLEM_TYPE: Final = "application/problem+json"

_ABOUT: Final = "hub.about"

_MAX_DEPTH: Final = 16
"""Levels of a problem that are kept when it cannot be encoded as it is; hub's own have three."""


def about(scope: Scope) -> dict[str, object]:
    """Further members of every problem that is sent in reply to a request; handlers add them as soon as they know them."""
    found: dict[str, object] = cast("dict[str, Any]", scope).setdefault(_ABOUT, {})
    return found


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
