"""Routes about models and their instances."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter

from hub.concurrency.offload import CONTRACT_WEIGHT, in_thread_if_large
from hub.gateway.dashboard.sampler import OverviewSampler
from hub.gateway.dashboard.view import OverviewView
from hub.gateway.errors import BadParameter
from hub.gateway.models.catalog import Catalog, ServedModel
from hub.gateway.models.registry_queries import RegistryQueries, registry_timeout
from hub.gateway.routes.events import OverviewEvents
from hub.gateway.schemas import (
    InstanceEventBody,
    InstanceEventsBody,
    InstanceListBody,
    ListedInstanceBody,
    ModelContractBody,
    ServedModelBody,
    ServedModelsBody,
    moment,
)
from hub.http.conditional import NO_STORE, conditional_reply, etag_of, json_reply, long_poll_reply
from hub.http.dependencies import HttpRequest
from hub.http.long_polling import LongPollRegistry
from hub.http.media_types import EVENT_STREAM
from hub.http.middleware.root_path import rooted
from hub.http.streaming import DuplexStreamingResponse
from hub.ports.directory import HISTORY_LENGTH, HistoryEvent
from hub.registry.client.schemas import InstanceBody
from hub.registry.client.snapshot import KnownModel
from hub.types import model_name, wall_clock


@get("/v1/models")
async def list_models(
    request: HttpRequest, catalog: NamedDependency[Catalog], polls: NamedDependency[LongPollRegistry]
) -> Response[bytes]:
    def render() -> tuple[str, bytes]:
        content = msgspec.json.encode(ServedModelsBody(models=tuple(_body(model) for model in catalog.served)))
        return etag_of(content), content

    return await long_poll_reply(request, render, catalog.changed, polls.wait_scope)


@get("/v1/models/{model:str}")
async def show_model(
    request: HttpRequest,
    model: FromPath[str],
    catalog: NamedDependency[Catalog],
    polls: NamedDependency[LongPollRegistry],
) -> Response[bytes]:
    def render() -> tuple[str, bytes]:
        content = msgspec.json.encode(_body(catalog.find(model)))
        return etag_of(content), content

    return await long_poll_reply(request, render, catalog.changed, polls.wait_scope)


@get("/v1/models/{model:str}/contract")
async def show_model_contract(
    request: HttpRequest, model: FromPath[str], catalog: NamedDependency[Catalog]
) -> Response[bytes]:
    known = catalog.find(model).known
    content = await in_thread_if_large(CONTRACT_WEIGHT * len(known.contract.files), partial(_contract, known))
    return conditional_reply(request, content)


@get("/v1/overview")
async def show_overview(
    request: HttpRequest,
    sampler: NamedDependency[OverviewSampler],
) -> Response[bytes]:
    view = OverviewView.from_parameters(request.query_params)
    sample = await sampler.overview.now()
    return json_reply(view.part(sample, view.names(sample)), headers=NO_STORE)


@get("/v1/overview/events")
async def watch_overview(
    request: HttpRequest,
    sampler: NamedDependency[OverviewSampler],
    polls: NamedDependency[LongPollRegistry],
) -> Response[bytes]:
    view = OverviewView.from_parameters(request.query_params)
    return DuplexStreamingResponse(OverviewEvents(sampler, polls, view).write, media_type=EVENT_STREAM)


@get("/v1/instances")
async def list_instances(registry: NamedDependency[RegistryQueries]) -> Response[bytes]:
    with registry_timeout():
        listed = await registry.instances()
    body = InstanceListBody(at=moment(wall_clock()), instances=tuple(map(_instance, listed)))
    return json_reply(body, headers=NO_STORE)


@get("/v1/history")
async def list_events(
    registry: NamedDependency[RegistryQueries],
    model: Annotated[str | None, QueryParameter()] = None,
    limit: Annotated[int, QueryParameter()] = 100,
) -> Response[bytes]:
    if not 1 <= limit <= HISTORY_LENGTH:
        raise BadParameter(f"limit is {limit}; it must be from 1 to {HISTORY_LENGTH}")
    with registry_timeout():
        events = await registry.history(model=None if model is None else model_name(model), limit=limit)
    return json_reply(InstanceEventsBody(events=tuple(map(_event, events))), headers=NO_STORE)


def _event(event: HistoryEvent) -> InstanceEventBody:
    return InstanceEventBody(
        at=moment(event.at),
        instance=event.instance,
        model=event.model,
        url=event.url,
        before=event.before,
        after=event.after,
        reason=event.reason,
    )


def _instance(instance: InstanceBody) -> ListedInstanceBody:
    return ListedInstanceBody(
        id=instance.id,
        model=instance.model,
        url=instance.url,
        fingerprint=instance.fingerprint,
        state=instance.state,
        reason=instance.reason,
        misses=instance.misses,
        logged_in_at=moment(instance.logged_in_at),
        answered_at=None if instance.answered_at is None else moment(instance.answered_at),
        in_flight=instance.in_flight,
        busy_seconds=instance.busy_seconds,
    )


def _contract(model: KnownModel) -> bytes:
    contract = model.contract
    body = ModelContractBody(
        model=model.name,
        fingerprint=contract.fingerprint,
        request=contract.request,
        response=contract.response,
        streaming=contract.streaming,
        limits=model.limits,
        comments=dict(model.comments),
        descriptors=contract.descriptors.SerializeToString(deterministic=True),
    )
    return msgspec.json.encode(body)


def _body(model: ServedModel) -> ServedModelBody:
    url = rooted(f"/v1/models/{model.name}")
    return ServedModelBody(
        name=model.name,
        instances=model.known.live,
        fingerprint=model.fingerprint,
        request=model.known.contract.request,
        response=model.known.contract.response,
        streaming=model.known.streaming,
        call_url=url,
        tasks_url=f"{url}/tasks",
        batches_url=f"{url}/batches",
    )
