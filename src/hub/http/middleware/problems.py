"""The outermost part of every application: no error leaves as anything but a problem."""

from __future__ import annotations

from typing import Any, Final, cast

import structlog
from anyio import get_cancelled_exc_class
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from hub.http.problem_document import PROBLEM_TYPE, encoded_bug

_log = structlog.get_logger("hub.http")

_STATUS: Final = 500


def with_problems(app: ASGIApp) -> ASGIApp:
    """Answers requests whose handling raised something that the framework's handlers do not see, with a 500.

    These are errors of middleware and of the framework itself, and what is no `Exception`: groups that hold something else,
    `SystemExit`. Without this the servers would answer with text of their own. A reply that has begun is cut, as it
    cannot become another one. Cancellation passes.
    """

    async def asgi(scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def noting(message: Message) -> None:
            nonlocal begun
            begun = begun or message["type"] == "http.response.start"
            await send(message)

        try:
            await app(scope, receive, noting)
        except get_cancelled_exc_class():
            raise
        except BaseException as error:
            if _must_pass(error):
                raise
            bug = error
        else:
            return
        method = scope["method"] if scope["type"] == ScopeType.HTTP else "CONNECT"
        _log.error("unexpected error", method=method, path=scope["path"], exc_info=bug)
        if begun or scope["type"] != ScopeType.HTTP:
            # For the server, which closes the connection: an Exception, which it does not take for its own end.
            raise RuntimeError("the reply had begun when an error was raised; it is logged above") from None
        content = encoded_bug(scope, bug)
        headers = [(b"content-type", PROBLEM_TYPE.encode()), (b"content-length", str(len(content)).encode())]
        await send(cast("Any", {"type": "http.response.start", "status": _STATUS, "headers": headers}))
        await send({"type": "http.response.body", "body": content, "more_body": False})

    return asgi


def _must_pass(error: BaseException) -> bool:
    """Whether it is a cancellation, or a group with one, which the scope that was cancelled must receive."""
    passing = (get_cancelled_exc_class(), GeneratorExit, KeyboardInterrupt)
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        return group.subgroup(passing) is not None
    return isinstance(error, passing)
