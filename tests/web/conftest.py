from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any, cast

import pytest
from httpx2 import ASGITransport, AsyncClient
from litestar import Litestar, Request, Response, get
from litestar.datastructures import State

from hub.http.problems import EXCEPTION_HANDLERS
from hub.web.pages import dashboard_page, swagger_page
from hub.web.routes import WEB_ROUTES


@get("/docs")
async def docs(request: Request[None, None, State]) -> Response[bytes]:
    return swagger_page('A "quoted" <title>', "/openapi.json", if_none_match=request.headers.get("if-none-match"))


@get("/dashboard")
async def dashboard() -> Response[bytes]:
    return dashboard_page("hub", docs_url="http://gateway.test/docs")


@pytest.fixture
async def client() -> AsyncGenerator[AsyncClient]:
    """Of a server with both pages and their assets."""
    app = Litestar([docs, dashboard, *WEB_ROUTES], exception_handlers=EXCEPTION_HANDLERS, openapi_config=None)
    transport = ASGITransport(app=cast("Any", app))  # each library has its own types for ASGI
    async with AsyncClient(transport=transport, base_url="http://web.test") as opened:
        yield opened
