"""anycorn behind `hub.http.serve`, for the trio backend (it runs on both, uvicorn is faster on asyncio)."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import anycorn
from anyio import TASK_STATUS_IGNORED, Event, create_task_group
from anyio.abc import TaskStatus
from litestar.types import ASGIApp, Receive, Scope, Send

from hub.http.bind import BACKLOG, KEEP_ALIVE, Bind

if TYPE_CHECKING:
    from anycorn.typing import Framework  # pyright: ignore[reportUnknownVariableType]


async def run(
    app: ASGIApp, bind: Bind, listener: socket.socket, *, grace: float, stop: Event, ready: Callable[[], None]
) -> None:
    """Serves until `stop` is set, then drains for `grace` seconds. The caller shields it from cancellation."""
    config = anycorn.Config()
    config.bind = [f"fd://{listener.dup().detach()}"]  # anycorn closes what it serves; the listener stays the caller's
    config.backlog = BACKLOG
    config.keep_alive_timeout = KEEP_ALIVE
    config.graceful_timeout = grace
    config.include_server_header = False
    config.accesslog = None
    config.errorlog = None
    if bind.certificate is not None:
        config.certfile = str(bind.certificate)
        config.keyfile = str(bind.key) if bind.key is not None else None

    async def serve(*, task_status: TaskStatus[list[str]] = TASK_STATUS_IGNORED) -> None:
        # The cast: anycorn's Framework is a union of its own spellings of ASGI and WSGI.
        await anycorn.serve(  # pyright: ignore[reportUnknownMemberType]
            cast("Framework", _without_lifespan(app)), config, shutdown_trigger=stop.wait, task_status=task_status
        )

    async with create_task_group() as tg:
        await tg.start(serve, name="hub.http anycorn")
        ready()


def _without_lifespan(app: ASGIApp) -> ASGIApp:
    """Answers the lifespan messages itself: what the application needs is opened and closed by our own tasks."""

    async def asgi(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":  # type: ignore[comparison-overlap]  # Litestar's Scope leaves lifespan out
            await app(scope, receive, send)
            return
        await receive()
        await send(cast("Any", {"type": "lifespan.startup.complete"}))
        await receive()
        await send(cast("Any", {"type": "lifespan.shutdown.complete"}))

    return asgi
