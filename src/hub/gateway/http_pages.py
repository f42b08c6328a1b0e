"""What browsers come for: the API description, Swagger UI over it, and the dashboard. None of it asks for a key."""

from __future__ import annotations

from typing import final

from litestar import Response, get
from litestar.handlers import HTTPRouteHandler

from hub.gateway.catalog import Catalog
from hub.gateway.long_polls import LongPolls
from hub.gateway.negotiation import HttpRequest
from hub.gateway.openapi import Description
from hub.gateway.replies import conditional_reply
from hub.web.pages import dashboard_page, swagger_page


@final
class PageRoutes:
    """`/`, `/docs` and `/openapi.json`."""

    def __init__(self, catalog: Catalog, description: Description, polls: LongPolls) -> None:
        self._catalog = catalog
        self._description = description
        self._polls = polls

    def handlers(self) -> list[HTTPRouteHandler]:
        return [
            get("/")(self.show_dashboard),
            get("/docs")(self.show_docs),
            get("/openapi.json")(self.show_description),
        ]

    async def show_dashboard(self, request: HttpRequest) -> Response[bytes]:
        return dashboard_page("hub", docs_url="/docs", if_none_match=request.headers.get("if-none-match"))

    async def show_docs(self, request: HttpRequest) -> Response[bytes]:
        return swagger_page("hub API", "/openapi.json", if_none_match=request.headers.get("if-none-match"))

    async def show_description(self, request: HttpRequest) -> Response[bytes]:
        return await conditional_reply(request, self._description.current, self._catalog.changed, self._polls)
