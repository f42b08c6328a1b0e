from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any, cast

import pytest
from httpx2 import ASGITransport, AsyncClient
from litestar import Litestar, Request, Response, get
from litestar.datastructures import State
from litestar.params import FromPath

from hub.http.problems import EXCEPTION_HANDLERS
from hub.web.pages import dashboard_page, models_page, swagger_page, task_page, tasks_page
from hub.web.routes import WEB_ROUTES


@get("/docs")
async def docs(request: Request[None, None, State]) -> Response[bytes]:
    return swagger_page('A "quoted" <title>', "/openapi.json", if_none_match=request.headers.get("if-none-match"))


@get("/dashboard")
async def dashboard() -> Response[bytes]:
    return dashboard_page()


@get("/models")
async def models() -> Response[bytes]:
    return models_page()


@get("/tasks")
async def tasks() -> Response[bytes]:
    return tasks_page()


@get("/tasks/{task:str}")
async def task(task: FromPath[str]) -> Response[bytes]:
    return task_page(task)


@pytest.fixture(scope="module")
def app() -> Litestar:
    """A server with all pages and their assets."""
    return Litestar(
        [docs, dashboard, models, tasks, task, *WEB_ROUTES], exception_handlers=EXCEPTION_HANDLERS, openapi_config=None
    )


@pytest.fixture
async def client(app: Litestar) -> AsyncGenerator[AsyncClient]:
    """Of the server."""
    transport = ASGITransport(app=cast("Any", app))  # each library has its own types for ASGI
    async with AsyncClient(transport=transport, base_url="http://web.localhost") as opened:
        yield opened
