"""The dashboard as a server of its own, for people who expect it on a port of its own."""

from __future__ import annotations

from typing import Final

from anyio import TASK_STATUS_IGNORED, fail_after
from anyio.abc import TaskStatus
from httpx2 import AsyncClient, HTTPError
from litestar import Litestar, Request, Response, get
from litestar.datastructures import State
from litestar.di import NamedDependency, Provide

from hub.errors import LinkLost
from hub.http.bind import Bind
from hub.http.client import open_client
from hub.http.problems import EXCEPTION_HANDLERS  # pyright: ignore[reportUnknownVariableType]  # Litestar's alias
from hub.http.serve import serve
from hub.supervision import unwrapped
from hub.web.pages import dashboard_page
from hub.web.routes import WEB_ROUTES

GATEWAY_PATIENCE: Final = 5.0
"""Seconds that the gateway has for an overview; it gives up on a silent broker well before that."""


async def run_dashboard(
    bind: Bind, *, gateway_url: str, api_key: str = "", task_status: TaskStatus[str] = TASK_STATUS_IGNORED
) -> None:
    """Serves the dashboard over one gateway until cancelled.

    It asks for no key itself: whoever reaches `bind` sees the names of models and the length of queues, nothing else.

    Args:
        bind: Where to listen.
        gateway_url: Base URL of the gateway, for this process and for the links on the page.
        api_key: What the gateway asks for, if it does.
        task_status: Gets the base URL when requests are answered.

    Raises:
        ConfigurationError: The address cannot be listened on.
    """
    with unwrapped():
        async with open_client(token=api_key, connections=4) as http:
            await serve(dashboard_app(http, gateway_url=gateway_url), bind, task_status=task_status)


def dashboard_app(http: AsyncClient, *, gateway_url: str) -> Litestar:
    """The page, its assets, and the one document that it reads."""

    def provide_client() -> AsyncClient:
        return http

    def provide_url() -> str:
        return gateway_url.rstrip("/")

    return Litestar(
        [show_dashboard, show_overview, *WEB_ROUTES],
        dependencies={
            "http": Provide(provide_client, sync_to_thread=False),
            "gateway_url": Provide(provide_url, sync_to_thread=False),
        },
        exception_handlers=EXCEPTION_HANDLERS,
        openapi_config=None,
        logging_config=None,
    )


@get("/")
async def show_dashboard(request: Request[None, None, State], gateway_url: NamedDependency[str]) -> Response[bytes]:
    docs_url = f"{gateway_url}/docs"
    return dashboard_page("hub", docs_url=docs_url, if_none_match=request.headers.get("if-none-match"))


@get("/v1/overview")
async def show_overview(http: NamedDependency[AsyncClient], gateway_url: NamedDependency[str]) -> Response[bytes]:
    """The gateway's overview, passed on: a page may only read from the server that it came from."""
    try:
        with fail_after(GATEWAY_PATIENCE):
            reply = await http.get(f"{gateway_url}/v1/overview")
    except (HTTPError, TimeoutError) as error:
        raise LinkLost(f"gateway {gateway_url}", str(error) or type(error).__name__) from error
    media_type = reply.headers.get("content-type", "application/json")
    headers = {"Cache-Control": "no-store"}
    return Response(reply.content, status_code=reply.status_code, media_type=media_type, headers=headers)
