"""One startable HTTP server for both backends: uvicorn on asyncio, anycorn on trio."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Final

from anyio import TASK_STATUS_IGNORED, CancelScope, Event, create_task_group, sleep_forever
from anyio.abc import TaskStatus
from litestar.types import ASGIApp
from sniffio import current_async_library

from hub.http.bind import Bind
from hub.http.outermost import with_problems

DRAIN_GRACE: Final = 5.0
"""Seconds that requests in flight have to finish once the server was told to stop."""


async def serve(
    app: ASGIApp,
    bind: Bind,
    *,
    grace: float = DRAIN_GRACE,
    on_drain: Callable[[], None] = lambda: None,
    task_status: TaskStatus[str] = TASK_STATUS_IGNORED,
) -> None:
    """Serves `app` until its scope is cancelled. Start it with `url = await tg.start(serve, app, bind)`.

    Cancellation drains: no new connections, requests in flight may finish for `grace` seconds, then they are cancelled.
    No signal handler is installed and no ASGI lifespan is run; resources live in the caller's task tree.

    Args:
        app: The ASGI application.
        bind: Where to listen.
        grace: Seconds for requests in flight.
        on_drain: Called as the drain begins, so that long polls can be answered now instead of being cut.
        task_status: Gets the base URL, with the real port, when connections are accepted.

    Raises:
        ConfigurationError: The address cannot be listened on.
    """
    if current_async_library() == "trio":
        from hub.http.serve_anycorn import run  # noqa: PLC0415 - each backend loads only its own server
    else:
        from hub.http.serve_uvicorn import run  # noqa: PLC0415

    with closing(bind.open()) as listener:
        url = bind.url(listener)
        stop = Event()

        async def stop_when_cancelled() -> None:
            try:
                await sleep_forever()
            finally:
                on_drain()
                stop.set()

        async with create_task_group() as tg:
            tg.start_soon(stop_when_cancelled, name=f"hub.http stop {url}")
            with CancelScope(shield=True):  # bounded by `grace`, which both servers keep
                await run(
                    with_problems(app), bind, listener, grace=grace, stop=stop, ready=lambda: task_status.started(url)
                )
            tg.cancel_scope.cancel("server has stopped")
