"""`HEAD` and `OPTIONS` of every route, and the `Allow` of what is not allowed: one rule each, for all routes of a server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

from litestar.enums import HttpMethod
from litestar.types import HTTPScope, Message, Receive, Scope, Send

from hub.http.middleware.asgi import HttpApp, ReplyHeaders

_SERVER_WIDE: Final = "DELETE, GET, HEAD, OPTIONS, POST, PUT"
"""The methods that some route has, for `OPTIONS *`."""

_NOT_ALLOWED: Final = 405
_NO_CONTENT: Final = 204
_HEAD: Final = "hub_head"


def with_methods(app: HttpApp) -> HttpApp:
    """Answers `HEAD` wherever `app` answers `GET`, and `OPTIONS` wherever it answers anything (RFC 9110 section 9.3).

    A `HEAD` is carried out as a `GET` whose body is dropped, so its headers are those of the `GET`, and it waits where
    the `GET` would. What never ends sends its headers only, see `is_head`. `OPTIONS` asks `app` for a method that no
    route has: the `Allow` of its 405 is the truth about the path, and is completed in both replies alike.

    Args:
        app: Has no route of its own for `HEAD`, and none for `OPTIONS` that matters.
    """

    async def asgi(scope: HTTPScope, receive: Receive, send: Send) -> None:
        if scope["method"] == HttpMethod.HEAD:
            state = {**_state(scope), _HEAD: True}
            get: HTTPScope = {**scope, "method": HttpMethod.GET, "state": state}
            await app(get, receive, _without_body(_complete_allow(send)))
        elif scope["method"] == HttpMethod.OPTIONS and scope["path"] in ("*", "/*"):
            await _send_allow(send, _SERVER_WIDE)
        elif scope["method"] == HttpMethod.OPTIONS:
            await app({**scope, "method": HttpMethod.HEAD}, receive, _complete_allow(_allow_as_reply(send)))
        else:
            await app(scope, receive, _complete_allow(send))

    return asgi


def is_head(scope: Scope) -> bool:
    """Whether only the headers of the reply are wanted; what streams without an end leaves it at those."""
    return _HEAD in _state(scope)


def _state(scope: Scope) -> Mapping[str, Any]:
    state: Mapping[str, Any] = cast("Mapping[str, Any]", scope).get("state", {})  # ASGI lets servers leave it out
    return state


def _complete_allow(send: Send) -> Send:
    async def completed(message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] == _NOT_ALLOWED:
            headers = ReplyHeaders(message)
            methods = {method.strip() for method in headers.get("allow").split(",")} - {""}
            also = {"OPTIONS", "HEAD"} if "GET" in methods else {"OPTIONS"}
            headers.set("Allow", ", ".join(sorted(methods | also)))
        await send(message)

    return completed


def _without_body(send: Send) -> Send:
    async def bodiless(message: Message) -> None:
        if message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await send(message)

    return bodiless


def _allow_as_reply(send: Send) -> Send:
    """Turns a 405 into the 204 that tells what is allowed; other errors, such as the 404 of no such path, stay."""
    allowed = False

    async def turned(message: Message) -> None:
        nonlocal allowed
        if message["type"] == "http.response.start" and message["status"] == _NOT_ALLOWED:
            allowed = True
            await _send_allow(send, ReplyHeaders(message).get("allow"))
        elif not allowed:
            await send(message)

    return turned


async def _send_allow(send: Send, methods: str) -> None:
    headers = [(b"allow", methods.encode()), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": _NO_CONTENT, "headers": headers})
    await send({"type": "http.response.body", "body": b"", "more_body": False})
