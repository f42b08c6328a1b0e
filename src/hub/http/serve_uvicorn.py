"""uvicorn behind `hub.http.serve`, for the asyncio backend (uvicorn runs on nothing else)."""

from __future__ import annotations

import socket
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import cast, final

from anyio import Event, create_task_group
from litestar.types import ASGIApp
from typing_extensions import override
from uvicorn import Config, Server
from uvicorn._types import ASGIApplication

from hub.http.bind import BACKLOG, KEEP_ALIVE, Bind
from hub.http.closed_connections import ends_with_its_client


@final
class _ScopedServer(Server):
    """Says when it accepts connections, and leaves the process's signals alone."""

    def __init__(self, config: Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    @override
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()

    @override
    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


async def run(
    app: ASGIApp, bind: Bind, listener: socket.socket, *, grace: float, stop: Event, ready: Callable[[], None]
) -> None:
    """Serves until `stop` is set, then drains for `grace` seconds. The caller shields it from cancellation."""
    config = Config(
        cast(
            "ASGIApplication", ends_with_its_client(app)
        ),  # the same protocol, spelled with each library's own TypedDicts
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=max(1, round(grace)),
        ssl_certfile=bind.certificate,
        ssl_keyfile=bind.key,
    )
    server = _ScopedServer(config, ready)

    async def exit_on_stop() -> None:
        await stop.wait()
        server.should_exit = True

    async with create_task_group() as tg:
        tg.start_soon(exit_on_stop, name="hub.http uvicorn stop")
        await server.serve(sockets=[listener])
        tg.cancel_scope.cancel("uvicorn has stopped")
