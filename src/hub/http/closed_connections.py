"""What a server raises in an application when it sends on a connection that is closed already."""

from __future__ import annotations

import structlog
from litestar.types import ASGIApp, HTTPSendMessage, Receive, Scope, Send, WebSocketSendMessage

_log = structlog.get_logger("hub.http")


def ends_with_its_client(app: ASGIApp) -> ASGIApp:
    """The same application, in which a client that has hung up is no error: one line at debug level, no traceback.

    uvicorn lets an application send to a closed connection, but for the second of two pipelined requests on uvloop, whose
    transport then raises `RuntimeError`.
    """

    async def asgi(scope: Scope, receive: Receive, send: Send) -> None:
        closed = False

        async def send_if_open(message: HTTPSendMessage | WebSocketSendMessage) -> None:
            nonlocal closed
            try:
                await send(message)
            except (OSError, RuntimeError) as error:
                closed = isinstance(error, OSError) or "closed" in str(error)  # or else the reply was no proper one
                raise

        try:
            await app(scope, receive, send_if_open)
        except Exception:
            if not closed:
                raise
            _log.debug("client hung up before its reply was complete", path=scope["path"])

    return asgi
