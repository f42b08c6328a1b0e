"""The routes that are asked most, called without Litestar in between, which costs as much as all that they do themselves.

Everything else about them stays as it is: the layers in front, the guard, and the one place that makes problems of errors.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, Final, TypeAlias, cast, final

from litestar import Request, Response
from litestar.exceptions import ClientException, InternalServerException
from litestar.exceptions.http_exceptions import RequestEntityTooLarge
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send
from typing_extensions import override

from hub.http.auth import Unauthorized
from hub.http.dependencies import IncomingRequest
from hub.http.middleware.asgi import HttpApp
from hub.http.problems import DISCONNECTED, error_response

DirectHandler: TypeAlias = Callable[[IncomingRequest, str], Awaitable[Response[bytes]]]
"""A route with one parameter in its path."""

_EMPTY: Final = frozenset({204, 304})


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class DirectRoute:
    """A route that Litestar has too, at the same path.

    Attributes:
        method: Its method.
        before: Its path up to the parameter.
        after: Its path after the parameter.
        handler: Makes the reply.
    """

    method: str
    before: str
    after: str = ""
    handler: DirectHandler

    def parameter(self, path: str) -> str:
        """The parameter in `path`; empty if that is the path of another route, or not in its plainest form."""
        if not path.startswith(self.before) or not path.endswith(self.after):
            return ""
        found = path[len(self.before) : len(path) - len(self.after)]
        return "" if "/" in found else found


@final
class DirectRequest(IncomingRequest):
    """A request of such a route.

    Args:
        scope: The request as ASGI has it.
        receive: Returns the next message of the client.
        limit: Bytes of the body at most; 0: any number.
    """

    def __init__(self, scope: Scope, receive: Receive, limit: int) -> None:
        self._scope = scope
        self._receive = receive
        self._limit = limit or inf
        self._headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(list(scope["headers"]))
        }

    @property
    @override
    def scope(self) -> Scope:
        return self._scope

    @property
    @override
    def receive(self) -> Receive:
        return self._receive

    @property
    @override
    def headers(self) -> Mapping[str, str]:
        return self._headers

    @property
    @override
    def query_params(self) -> Mapping[str, str]:
        litestar: Request[Any, Any, Any] = Request(self._scope)
        return litestar.query_params

    @override
    async def body(self) -> bytes:
        declared = self._headers.get("content-length")
        if declared is not None:
            self._check_length(declared)
        pieces: list[bytes] = []
        size = 0
        while True:
            message = await self._receive()
            if message["type"] != "http.request":
                raise InternalServerException(DISCONNECTED)
            piece = message.get("body", b"")
            size += len(piece)
            if size > self._limit:
                raise RequestEntityTooLarge
            pieces.append(piece)
            if not message.get("more_body", False):
                return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _check_length(self, declared: str) -> None:
        try:
            length = int(declared)
        except ValueError:
            raise ClientException(f"Invalid content-length: {declared!r}") from None
        if length > self._limit:
            raise RequestEntityTooLarge


def with_direct(
    app: ASGIApp, routes: Sequence[DirectRoute], *, accepts: Callable[[Mapping[str, str]], bool], limit: int
) -> HttpApp:
    """Calls the handlers of `routes` itself; what is no request for one of them goes to `app`.

    Args:
        app: Litestar's, with these routes among its own: it answers their other methods and unusual forms of their paths.
        routes: Have different methods or paths.
        accepts: Whether the headers of a request have a credential; `hub.http.auth.credential_check` makes it.
        limit: Bytes of a body at most; 0: any number.
    """

    async def asgi(scope: HTTPScope, receive: Receive, send: Send) -> None:
        method, path = scope["method"], scope["path"]
        for route in routes:
            if method == route.method and (parameter := route.parameter(path)):
                break
        else:
            await app(scope, receive, send)
            return
        request = DirectRequest(scope, receive, limit)
        if accepts(request.headers):
            try:
                response = await route.handler(request, parameter)
            except Exception as error:  # noqa: BLE001 - as Litestar does: the reply names it, and a bug is logged
                response = error_response(scope, error)
        else:
            response = error_response(scope, Unauthorized())
        if type(response) is Response:
            await _send(response, send)
        else:
            await _stream(response, scope, receive, send)

    return asgi


async def _send(response: Response[bytes], send: Send) -> None:
    """Sends a reply that is complete, as Litestar would."""
    status = response.status_code or 200
    lines = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in response.headers.items()]
    content = b""
    if status not in _EMPTY:
        content = response.content
        lines.append((b"content-type", str(response.media_type).encode("latin-1")))
        lines.append((b"content-length", b"%d" % len(content)))
    await send({"type": "http.response.start", "status": status, "headers": lines})
    await send({"type": "http.response.body", "body": content, "more_body": False})


async def _stream(response: Response[bytes], scope: HTTPScope, receive: Receive, send: Send) -> None:
    """Sends a reply that writes itself; an error before it has begun becomes a problem."""
    begun = False

    async def noting(message: Message) -> None:
        nonlocal begun
        begun = True
        await send(message)

    try:
        reply = cast("Any", response).to_asgi_response(app=None, request=None)
        await reply(scope, receive, noting)
    except Exception as error:
        if begun:
            raise
        await _send(error_response(scope, error), send)
