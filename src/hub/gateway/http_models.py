"""Routes about models: what is alive, and how it is doing."""

from __future__ import annotations

from hashlib import sha256
from typing import final

import msgspec
from litestar import Response, get
from litestar.handlers import HTTPRouteHandler

from hub.gateway.bodies import ServedModelBody, ServedModelsBody
from hub.gateway.catalog import Catalog, ServedModel
from hub.gateway.long_polls import LongPolls
from hub.gateway.negotiation import HttpRequest
from hub.gateway.overview import Overview
from hub.gateway.replies import NO_STORE, conditional_reply, json_reply


@final
class ModelRoutes:
    """`/v1/models`, `/v1/models/{model}` and `/v1/overview`."""

    def __init__(self, catalog: Catalog, overview: Overview, polls: LongPolls) -> None:
        self._catalog = catalog
        self._overview = overview
        self._polls = polls

    def handlers(self) -> list[HTTPRouteHandler]:
        return [
            get("/v1/models")(self.list_models),
            get("/v1/models/{model:str}")(self.show_model),
            get("/v1/overview")(self.show_overview),
        ]

    async def list_models(self, request: HttpRequest) -> Response[bytes]:
        return await conditional_reply(request, self._render, self._catalog.changed, self._polls)

    async def show_model(self, model: str) -> Response[bytes]:
        return json_reply(_body(self._catalog.find(model)), headers={"Cache-Control": "no-cache"})

    async def show_overview(self) -> Response[bytes]:
        return json_reply(await self._overview.now(), headers=NO_STORE)

    def _render(self) -> tuple[str, bytes]:
        content = msgspec.json.encode(ServedModelsBody(models=tuple(_body(model) for model in self._catalog.served)))
        return f'"{sha256(content).hexdigest()[:32]}"', content


def _body(model: ServedModel) -> ServedModelBody:
    url = f"/v1/models/{model.name}"
    return ServedModelBody(
        name=model.name,
        instances=model.known.live,
        fingerprint=model.fingerprint,
        request=model.known.contract.request,
        response=model.known.contract.response,
        call_url=url,
        tasks_url=f"{url}/tasks",
    )
