"""Errors outside of the framework's handlers are problem replies too, on both servers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, cast

import anyio
import pytest
from anyio import CancelScope, Event, create_task_group, fail_after
from httpx2 import AsyncClient, RemoteProtocolError
from litestar import Litestar, get, post
from litestar.types import ASGIApp, Receive, Scope, Send

from hub.http.client import open_client
from hub.http.middleware.problems import with_problems
from hub.http.problem_document import about
from hub.http.problems import EXCEPTION_HANDLERS
from hub.http.serve.listen import ListenAddress
from hub.http.serve.server import serve

pytestmark = pytest.mark.usefixtures("no_leaked_tasks")


class Odd(BaseException):
    """Neither an `Exception` nor a cancellation."""


@get("/group")
async def raise_a_group() -> None:
    raise BaseExceptionGroup("of several kinds", [ValueError("secret"), Odd("secret")])


@get("/base")
async def raise_what_is_no_exception() -> None:
    raise Odd("secret")


@post("/exit")
async def leave() -> None:
    raise SystemExit(3)


def failing_in_middleware(app: ASGIApp) -> ASGIApp:
    async def asgi(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/middleware":
            raise RuntimeError("secret")
        if scope["path"] == "/begun":
            await send(
                cast("Any", {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"9")]})
            )
            await send({"type": "http.response.body", "body": b"half", "more_body": True})
            raise Odd("secret")
        about(scope)["task"] = "t"
        await app(scope, receive, send)

    return asgi


APP = failing_in_middleware(
    Litestar(
        [raise_a_group, raise_what_is_no_exception, leave],
        exception_handlers=EXCEPTION_HANDLERS,
        openapi_config=None,
        logging_config=None,
    )
)


async def served(ask: Callable[[AsyncClient, str], Awaitable[None]]) -> None:
    with fail_after(10):
        async with open_client() as client, create_task_group() as tg:
            url = await tg.start(serve, APP, ListenAddress())
            await ask(client, url)
            tg.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/group"), ("GET", "/base"), ("POST", "/exit"), ("GET", "/middleware")]
)
async def test_every_server_error_is_a_problem(method: str, path: str) -> None:
    async def ask(client: AsyncClient, url: str) -> None:
        for _ in range(2):  # and the server goes on
            reply = await client.request(method, url + path)
            assert reply.status_code == 500
            assert reply.headers["content-type"] == "application/problem+json"
            assert reply.json()["code"] == "internal_error"
            assert "secret" not in reply.text
            assert ("task" in reply.json()) == (path != "/middleware")

    await served(ask)


async def test_an_error_after_the_start_of_a_reply_cuts_it() -> None:
    async def ask(client: AsyncClient, url: str) -> None:
        with pytest.raises(RemoteProtocolError):
            await client.get(f"{url}/begun")

    await served(ask)


async def test_a_cancellation_is_not_caught() -> None:
    entered = Event()
    sent: list[object] = []

    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        async with create_task_group() as tg:
            tg.start_soon(anyio.sleep_forever)
            entered.set()

    async def send(message: object) -> None:
        sent.append(message)

    with fail_after(5):
        async with create_task_group() as tg:
            scope = CancelScope()

            async def run() -> None:
                with scope:
                    await with_problems(app)(
                        cast("Any", {"type": "http", "method": "GET", "path": "/"}),
                        cast("Any", None),
                        cast("Any", send),
                    )

            tg.start_soon(run)
            await entered.wait()
            scope.cancel()
    assert scope.cancelled_caught
    assert sent == []
