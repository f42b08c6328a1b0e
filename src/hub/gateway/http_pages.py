"""What browsers come for: the API description, Swagger UI over it, and the dashboard. None of it asks for a key."""

from __future__ import annotations

from litestar import Response, get
from litestar.di import NamedDependency

from hub.gateway.catalog import Catalog
from hub.gateway.long_polls import LongPolls
from hub.gateway.negotiation import HttpRequest
from hub.gateway.openapi import Description
from hub.gateway.replies import conditional_reply
from hub.web.pages import dashboard_page, swagger_page


@get("/")
async def show_dashboard(request: HttpRequest) -> Response[bytes]:
    return dashboard_page("hub", docs_url="/docs", if_none_match=request.headers.get("if-none-match"))


@get("/docs")
async def show_docs(request: HttpRequest) -> Response[bytes]:
    return swagger_page("hub API", "/openapi.json", if_none_match=request.headers.get("if-none-match"))


@get("/openapi.json")
async def show_description(
    request: HttpRequest,
    description: NamedDependency[Description],
    catalog: NamedDependency[Catalog],
    polls: NamedDependency[LongPolls],
) -> Response[bytes]:
    return await conditional_reply(request, description.current, catalog.changed, polls)
