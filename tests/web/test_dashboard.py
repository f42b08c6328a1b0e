"""The dashboard on its own port, over a gateway that is there or not."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import anyio
from httpx2 import ASGITransport, AsyncClient, ConnectError, MockTransport, Request, Response

from hub.http.bind import Bind
from hub.http.client import open_client
from hub.web.service import dashboard_app, run_dashboard


@asynccontextmanager
async def dashboard(answer: Callable[[Request], Response]) -> AsyncGenerator[AsyncClient]:
    """A client of the dashboard, whose gateway is `answer`."""
    async with AsyncClient(transport=MockTransport(answer)) as gateway:
        app = dashboard_app(gateway, gateway_url="http://gateway.test/")
        transport = ASGITransport(app=cast("Any", app))  # each library has its own types for ASGI
        async with AsyncClient(transport=transport, base_url="http://dashboard.test") as client:
            yield client


async def test_the_overview_of_the_gateway_is_passed_on() -> None:
    def answer(request: Request) -> Response:
        assert str(request.url) == "http://gateway.test/v1/overview"
        return Response(200, json={"models": []})

    async with dashboard(answer) as client:
        reply = await client.get("/v1/overview")
        assert (reply.status_code, reply.json()) == (200, {"models": []})
        assert 'href="http://gateway.test/docs"' in (await client.get("/")).text


async def test_an_error_of_the_gateway_is_passed_on_as_it_is() -> None:
    problem = Response(401, json={"code": "unauthorized"}, headers={"Content-Type": "application/problem+json"})
    async with dashboard(lambda _: problem) as client:
        reply = await client.get("/v1/overview")
        assert (reply.status_code, reply.headers["content-type"]) == (401, "application/problem+json")


async def test_a_gateway_out_of_reach_is_a_problem() -> None:
    def answer(_: Request) -> Response:
        raise ConnectError("refused")

    async with dashboard(answer) as client:
        reply = await client.get("/v1/overview")
        assert (reply.status_code, reply.json()["code"]) == (503, "link_lost")


async def test_it_serves_until_it_is_cancelled() -> None:
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tg:

            async def run(*, task_status: anyio.abc.TaskStatus[str]) -> None:
                await run_dashboard(Bind(), gateway_url="http://127.0.0.1:9", task_status=task_status)

            url = await tg.start(run)
            async with open_client() as client:
                assert (await client.get(url)).status_code == 200
                assert (await client.get(f"{url}/v1/overview")).status_code == 503
            tg.cancel_scope.cancel()
