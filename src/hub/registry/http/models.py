"""Models: lists, single models, and statistics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Annotated, Any

from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter
from msgspec import structs

from hub.errors import UnknownModel
from hub.ports.directory import ModelLimits
from hub.registry.client.schemas import InstanceBody, ModelBody, ModelsBody, StatsBody
from hub.registry.client.views import ModelStatus
from hub.registry.core.state import RegistryState
from hub.registry.http.responses import NOT_MODIFIED, UNKNOWN_MODEL, conditional_json, response_spec
from hub.registry.stats import StatsService
from hub.registry.tasks.queue_monitor import QueueMonitor
from hub.types import ModelName


@get(
    "/v1/models",
    summary="List the active models",
    responses={200: response_spec(ModelsBody, "Models by name."), 304: NOT_MODIFIED, 404: UNKNOWN_MODEL},
    tags=["models"],
)
async def list_models(
    request: Request[Any, Any, Any],
    registry: NamedDependency[RegistryState],
    stats: NamedDependency[StatsService],
    queues: NamedDependency[QueueMonitor],
    *,
    known: Annotated[bool, QueryParameter(description="Also those that have no live instance now.")] = False,
    changes: Annotated[
        bool,
        QueryParameter(
            description="Known models that have changed since the version in `If-None-Match`, with the number of instances "
            "in each state; all of them if that version is too old."
        ),
    ] = False,
) -> Response[bytes]:
    """Models with at least one live instance. Watch the list with `If-None-Match` and `Prefer: wait=30`."""

    def content() -> ModelsBody:
        if changes:
            return _changes(registry.changed_models(request.headers.get("if-none-match")), registry, stats, queues)
        return ModelsBody(
            models=tuple(_body(model, registry, stats, queues) for model in registry.models() if known or model.active)
        )

    return await conditional_json(request, registry, content)


@get(
    "/v1/models/{model:str}",
    summary="Show one model",
    responses={200: response_spec(ModelBody, "The model."), 304: NOT_MODIFIED, 404: UNKNOWN_MODEL},
    tags=["models"],
)
async def show_model(
    request: Request[Any, Any, Any],
    model: FromPath[str],
    registry: NamedDependency[RegistryState],
    stats: NamedDependency[StatsService],
    queues: NamedDependency[QueueMonitor],
) -> Response[bytes]:
    """One model with its instances, whether it is active or not. Can be watched like the list."""

    def content() -> ModelBody:
        status = registry.model(ModelName(model))
        if status is None:
            raise UnknownModel(model)
        return _body(status, registry, stats, queues)

    return await conditional_json(request, registry, content)


@get(
    "/v1/stats",
    summary="Show statistics of all models",
    responses={200: response_spec(StatsBody, "Every known model, by name.")},
    tags=["models"],
)
async def show_stats(stats: NamedDependency[StatsService]) -> StatsBody:
    """From memory, as of the last ping of each instance (`ping_period`) and the last poll of the queues.

    Outcomes and times are counted since the instances started, removed ones included. They only rise, until this
    registry restarts.
    """
    return await stats.all()


def _changes(
    names: Collection[ModelName] | None, registry: RegistryState, stats: StatsService, queues: QueueMonitor
) -> ModelsBody:
    if names is None:
        statuses: Sequence[ModelStatus] = registry.models()
    else:
        statuses = [status for name in sorted(names) if (status := registry.model(name)) is not None]
    bodies = tuple(
        structs.replace(
            _body(status, registry, stats, queues, with_instances=False),
            states=dict(Counter(instance.state for instance in status.instances)),
        )
        for status in statuses
    )
    removed = sorted({*(names or ())} - {status.name for status in statuses})
    return ModelsBody(models=bodies, partial=names is not None, removed=tuple(removed))


def _body(
    status: ModelStatus,
    registry: RegistryState,
    stats: StatsService,
    queues: QueueMonitor,
    *,
    with_instances: bool = True,
) -> ModelBody:
    newest_first = [instance.entry for instance in reversed(status.instances)]
    present = [entry for entry in newest_first if entry.fingerprint == status.fingerprint]
    contract = registry.current_contract(status).contract
    return ModelBody(
        name=status.name,
        active=status.active,
        fingerprint=status.fingerprint,
        request=contract.request,
        response=contract.response,
        streaming=contract.streaming,
        example=next((entry.example for entry in present if entry.example), ""),
        comments=dict(next((entry.comments for entry in present if entry.comments), ())),
        limits=newest_first[0].limits if newest_first else ModelLimits(),
        instances=tuple(InstanceBody.of(instance) for instance in status.instances) if with_instances else (),
        queue=stats.queue(status),
        missing_consumers=queues.missing_consumers(status.name),
    )
