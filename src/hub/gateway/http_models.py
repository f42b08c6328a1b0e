"""Routes about models: what is alive, and how it is doing."""

from __future__ import annotations

from hashlib import sha256

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from hub.gateway.bodies import ServedModelBody, ServedModelsBody
from hub.gateway.catalog import Catalog, ServedModel
from hub.gateway.long_polls import LongPolls
from hub.gateway.negotiation import HttpRequest
from hub.gateway.overview import Overview
from hub.gateway.replies import NO_STORE, conditional_reply, json_reply


@get("/v1/models")
async def list_models(
    request: HttpRequest, catalog: NamedDependency[Catalog], polls: NamedDependency[LongPolls]
) -> Response[bytes]:
    def render() -> tuple[str, bytes]:
        content = msgspec.json.encode(ServedModelsBody(models=tuple(_body(model) for model in catalog.served)))
        return f'"{sha256(content).hexdigest()[:32]}"', content

    return await conditional_reply(request, render, catalog.changed, polls)


@get("/v1/models/{model:str}")
async def show_model(model: FromPath[str], catalog: NamedDependency[Catalog]) -> Response[bytes]:
    return json_reply(_body(catalog.find(model)), headers={"Cache-Control": "no-cache"})


@get("/v1/overview")
async def show_overview(overview: NamedDependency[Overview]) -> Response[bytes]:
    return json_reply(await overview.now(), headers=NO_STORE)


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
        batches_url=f"{url}/batches",
    )
