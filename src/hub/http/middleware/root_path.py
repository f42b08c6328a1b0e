"""The path under which a proxy shows a server to its clients, and the addresses that the server gives them."""

from __future__ import annotations

import re
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

from hub.errors import ConfigurationError
from hub.http.middleware.asgi import HttpApp, ReplyHeaders

if TYPE_CHECKING:
    from litestar.types import HTTPScope, Message, Receive, Send

_OWN: Final = frozenset({"assets", "docs", "favicon.ico", "health", "metrics", "models", "openapi.json", "tasks", "v1"})
"""The first segments of the gateway's routes: with such a root path, a path with and one without it could not be told apart."""

_PATH: Final = re.compile(r"(/[A-Za-z0-9._~-]+)+", re.ASCII)

_root: ContextVar[str] = ContextVar("hub_root_path", default="")


def root_path_of(text: str) -> str:
    """A root path without a slash at its end; empty if there is none.

    Raises:
        ConfigurationError: It is no path, or begins like the gateway's own paths.
    """
    path = text.strip().rstrip("/")
    if not path:
        return ""
    segments = path.split("/")[1:]
    if not _PATH.fullmatch(path) or {".", ".."} & set(segments):
        raise ConfigurationError(
            f"root_path is {text!r}; write the path that clients see before /v1, like /hub or /teams/hub: letters, digits, "
            "'-', '.', '_' and '~', without scheme and host"
        )
    if segments[0] in _OWN:
        raise ConfigurationError(
            f"root_path is {text!r}, but paths of the gateway itself begin with /{segments[0]}; choose another one, such as "
            "/hub"
        )
    return path


def rooted(path: str) -> str:
    """The path at which the client of the present request finds `path`, for links in a body."""
    return _root.get() + path


def with_root_path(app: HttpApp, root: str) -> HttpApp:
    """Serves `app` below `root`, behind a proxy that cuts `root` off and behind one that passes it on.

    Both kinds of path lead to the same routes, so probes that come without a proxy need not know of it. `Location` gets
    `root` put before it; what stands in bodies is the business of `rooted`. Headers like `X-Forwarded-Prefix` are not read:
    any client could write them.

    Args:
        app: Its paths begin at `/`.
        root: What `root_path_of` returned.
    """
    if not root:
        return app

    async def asgi(scope: HTTPScope, receive: Receive, send: Send) -> None:
        token = _root.set(root)
        try:
            await app(_below(scope, root), receive, _rooting(send, root))
        finally:
            _root.reset(token)

    return asgi


def _below(scope: HTTPScope, root: str) -> HTTPScope:
    path, raw = scope["path"], scope["raw_path"]
    if path != root and not path.startswith(f"{root}/"):
        return scope
    return {**scope, "path": path.removeprefix(root) or "/", "raw_path": raw.removeprefix(root.encode()) or b"/"}


def _rooting(send: Send, root: str) -> Send:
    async def rooting(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = ReplyHeaders(message)
            location = headers.get("location")
            if location.startswith("/") and not location.startswith(("//", f"{root}/")):
                headers.set("Location", root + location)
        await send(message)

    return rooting
