"""The lists of models."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter

from hub.errors import UnknownModel
from hub.ports.directory import ModelLimits
from hub.registry.client.schemas import InstanceBody, ModelBody, ModelsBody
from hub.registry.client.views import ModelStatus
from hub.registry.core.consumer_check import ConsumerCheck
from hub.registry.core.state import RegistryState
from hub.registry.http.documented import NOT_MODIFIED, UNKNOWN_MODEL, reply
from hub.registry.http.watching import watched
from hub.registry.stats import StatsService
from hub.types import ModelName


@get(
    "/v1/models",
    summary="List the active models",
    responses={200: reply(ModelsBody, "Models by name."), 304: NOT_MODIFIED},
    tags=["models"],
)
async def list_models(
    request: Request[Any, Any, Any],
    roll: NamedDependency[RegistryState],
    figures: NamedDependency[StatsService],
    consumers: NamedDependency[ConsumerCheck],
    *,
    known: Annotated[bool, QueryParameter(description="Also those that have no live instance now.")] = False,
) -> Response[bytes]:
    """Models with at least one live instance. Watch the list with `If-None-Match` and `Prefer: wait=30`."""
    return await watched(
        request,
        roll,
        lambda: ModelsBody(
            models=tuple(
                _body(model, roll, figures, consumers) for model in roll.table.models() if known or model.active
            )
        ),
    )


@get(
    "/v1/models/{model:str}",
    summary="Show one model",
    responses={200: reply(ModelBody, "The model."), 304: NOT_MODIFIED, 404: UNKNOWN_MODEL},
    tags=["models"],
)
async def show_model(
    request: Request[Any, Any, Any],
    model: FromPath[str],
    roll: NamedDependency[RegistryState],
    figures: NamedDependency[StatsService],
    consumers: NamedDependency[ConsumerCheck],
) -> Response[bytes]:
    """One model with its instances, whether it is active or not. Can be watched like the list."""

    def content() -> ModelBody:
        status = roll.table.model(ModelName(model))
        if status is None:
            raise UnknownModel(model)
        return _body(status, roll, figures, consumers)

    return await watched(request, roll, content)


def _body(status: ModelStatus, roll: RegistryState, figures: StatsService, consumers: ConsumerCheck) -> ModelBody:
    newest_first = [instance.entry for instance in reversed(status.instances)]
    contract = roll.present(status).contract
    return ModelBody(
        name=status.name,
        active=status.active,
        fingerprint=status.fingerprint,
        request=contract.request,
        response=contract.response,
        example=next(
            (entry.example for entry in newest_first if entry.example and entry.fingerprint == status.fingerprint), ""
        ),
        limits=newest_first[0].limits if newest_first else ModelLimits(),
        instances=tuple(InstanceBody.of(instance) for instance in status.instances),
        queue=figures.queue(status),
        missing_consumers=consumers.missing(status.name),
    )
