"""What holds for every route of a server, in front of the routes: one place for the three servers of hub."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from litestar import Litestar
from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from hub.http.middleware.asgi import HttpApp, join_lists
from hub.http.middleware.compression import COMPRESS_ABOVE, with_compression
from hub.http.middleware.cors import with_cors
from hub.http.middleware.encoded_requests import with_decoding
from hub.http.middleware.hosts import Hosts, with_hosts
from hub.http.middleware.methods import with_methods
from hub.http.middleware.root_path import with_root_path
from hub.http.middleware.sites import with_own_pages
from hub.http.problem_document import about

Completion = Callable[[Message, Scope], Awaitable[None]]
"""Changes a message of a reply in place."""

SMALL_BODY: Final = 1024 * 1024
"""Bytes of a decoded request body at most, for a server whose routes take none."""


def with_edge(
    app: Litestar,
    *,
    body_limit: int = SMALL_BODY,
    compress_above: int = COMPRESS_ABOVE,
    cors_origins: frozenset[str] = frozenset(),
    root_path: str = "",
    hosts: Hosts = Hosts(),  # noqa: B008 - immutable
    complete: Completion | None = None,
    first: Callable[[HttpApp], HttpApp] | None = None,
    direct: Callable[[ASGIApp], HttpApp] | None = None,
) -> Litestar:
    """Puts the layers around the routes of `app`, and returns it.

    Each layer sees every request and every reply, also those that have no route: a 404, a 405, a reply of another layer.

    Args:
        app: A complete application.
        body_limit: Bytes of a request body at most, as `app` has it.
        compress_above: Bytes of the smallest reply that is compressed; 0: none is.
        cors_origins: What `hub.http.middleware.cors.origins_of` returned.
        root_path: What `hub.http.middleware.root_path.root_path_of` returned.
        hosts: The names that the server answers to, beside IP addresses and localhost.
        complete: Called with each message of a reply of a route, before any layer sees it. (A `before_send` of Litestar
            is called after all layers.)
        first: A layer in front of all others but those that change what is asked or who may read the reply: for what has
            to be answered before it costs anything.
        direct: A layer behind all others, which calls the handlers of some routes itself.
    """
    litestar = app.asgi_handler
    routes = litestar if direct is None else direct(litestar)
    inner = with_decoding(routes if complete is None else _completed(routes, complete), limit=body_limit)
    inner = with_compression(inner, above=compress_above)
    inner = with_methods(inner)
    inner = with_own_pages(inner, cors_origins)
    inner = with_cors(inner if first is None else first(inner), cors_origins)
    inner = with_root_path(inner, root_path)
    inner = with_hosts(inner, hosts)

    async def asgi(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.HTTP:
            about(scope)  # here, so that the copies of the scope that layers make share it
            await inner(join_lists(scope), receive, send)
        else:
            await litestar(scope, receive, send)

    app.asgi_handler = asgi
    return app


def _completed(app: HttpApp, complete: Completion) -> HttpApp:
    async def asgi(scope: HTTPScope, receive: Receive, send: Send) -> None:
        async def completed(message: Message) -> None:
            await complete(message, scope)
            await send(message)

        await app(scope, receive, completed)

    return asgi
