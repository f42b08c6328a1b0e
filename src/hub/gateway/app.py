"""The web application of the gateway: the routes over its parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import final

from litestar import Litestar, Response
from litestar.di import Provide

from hub.gateway.dashboard.sampler import OverviewSampler
from hub.gateway.dashboard.stats import ModelStats
from hub.gateway.models.catalog import Catalog
from hub.gateway.models.codec import CodecResolver
from hub.gateway.models.registry_queries import RegistryQueries
from hub.gateway.openapi.document import OpenApiDocument
from hub.gateway.routes import batches, models, pages, results, submit, system, tasks
from hub.gateway.routes.system import GatewayHealth
from hub.gateway.streams.metrics import StreamMetrics
from hub.gateway.streams.service import StreamService
from hub.gateway.tasks.backpressure import QueueLimiter
from hub.gateway.tasks.headers import add_task_headers
from hub.gateway.tasks.metrics import GatewayMetrics, SubmitMetrics
from hub.gateway.tasks.refusals import EarlyRefusals
from hub.gateway.tasks.service import TaskService
from hub.gateway.tasks.submission import SubmissionService
from hub.http.auth import credential_check, guarded
from hub.http.dependencies import IncomingRequest, provide
from hub.http.long_polling import LongPollRegistry
from hub.http.middleware.direct import DirectRoute, with_direct
from hub.http.middleware.edge import with_edge
from hub.http.problems import EXCEPTION_HANDLERS  # pyright: ignore[reportUnknownVariableType]  # Litestar's alias
from hub.settings.gateway import GatewaySettings
from hub.web.routes import WEB_ROUTES


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayParts:
    """All parts of a gateway; made by `hub.gateway.service.build_gateway`.

    Attributes:
        settings: Limits, keys and addresses.
        catalog: The models.
        codecs: Decode and encode their messages.
        tasks: Submits tasks, and finds, awaits and cancels them.
        queues: Limits the queues.
        submissions: The HTTP side of submits and calls.
        streams: Replies that stream the chunks of tasks.
        registry: For pages about instances.
        stats: Rates of the models.
        sampler: Samples the overview.
        document: The API description.
        polls: The long polls.
        health: For readiness.
        submit_metrics: Observes submits.
        stream_metrics: Counts streams of chunks.
        metrics: All metrics.
    """

    settings: GatewaySettings
    catalog: Catalog
    codecs: CodecResolver
    tasks: TaskService
    queues: QueueLimiter
    submissions: SubmissionService
    streams: StreamService
    registry: RegistryQueries
    stats: ModelStats
    sampler: OverviewSampler
    document: OpenApiDocument
    polls: LongPollRegistry
    health: GatewayHealth
    submit_metrics: SubmitMetrics
    stream_metrics: StreamMetrics
    metrics: GatewayMetrics


def gateway_app(parts: GatewayParts) -> Litestar:
    """All routes of the gateway, with the layers around them."""
    settings = parts.settings
    dependencies = {name: provide(value) for name, value in injected(parts).items()}
    return with_gateway_edge(gateway_routes(settings.keys, settings.token, settings.body_limit, dependencies), parts)


def injected(parts: GatewayParts) -> Mapping[str, object]:
    """What routes get by the name of a parameter."""
    return {
        "body_limit": parts.settings.body_limit,
        "catalog": parts.catalog,
        "codecs": parts.codecs,
        "document": parts.document,
        "health": parts.health,
        "metrics": parts.metrics,
        "polls": parts.polls,
        "registry": parts.registry,
        "sampler": parts.sampler,
        "streams": parts.streams,
        "submissions": parts.submissions,
        "submit_metrics": parts.submit_metrics,
        "tasks": parts.tasks,
    }


def gateway_routes(keys: Sequence[str], token: str, body_limit: int, dependencies: Mapping[str, Provide]) -> Litestar:
    """All routes of the gateway, without layers.

    Args:
        keys: API keys, of which all routes but health and pages require one, if there are any.
        token: Accepted by `/metrics` too, so that Prometheus needs one credential for all of hub.
        body_limit: Bytes of a request body at most.
        dependencies: Providers of what `injected` returns.
    """
    for_clients = guarded(
        [
            models.list_models,
            models.show_model,
            models.show_model_contract,
            models.show_overview,
            models.watch_overview,
            models.list_instances,
            models.list_events,
            submit.call_model,
            submit.submit_task,
            batches.submit_batch,
            tasks.list_tasks,
            tasks.show_task,
            results.show_result,
            results.show_chunks,
            tasks.cancel_task,
        ],
        keys,
    )
    return Litestar(
        [
            *for_clients,
            *guarded([system.show_metrics], [*keys, token] if keys and token else keys),
            system.show_liveness,
            system.show_readiness,
            pages.show_dashboard,
            pages.show_models,
            pages.show_tasks,
            pages.show_task_page,
            pages.show_docs,
            pages.show_description,
            *WEB_ROUTES,
        ],
        dependencies=dependencies,
        exception_handlers=EXCEPTION_HANDLERS,
        request_max_body_size=body_limit,
        openapi_config=None,
        logging_config=None,
    )


def with_gateway_edge(routes: Litestar, parts: GatewayParts) -> Litestar:
    """Puts the layers of a gateway around its routes."""
    settings = parts.settings
    refusals = EarlyRefusals(parts.queues, parts.tasks.congestion, parts.submit_metrics, settings.keys)
    return with_edge(
        routes,
        body_limit=settings.body_limit,
        compress_above=settings.compress_above,
        cors_origins=settings.origins,
        root_path=settings.root,
        hosts=settings.hosts.known_as(settings.gateway_host, settings.dashboard_host),
        complete=add_task_headers,
        first=refusals.layer,
        direct=partial(
            with_direct,
            routes=_direct_routes(parts),
            accepts=credential_check(settings.keys),
            limit=settings.body_limit,
        ),
    )


def _direct_routes(parts: GatewayParts) -> Sequence[DirectRoute]:
    """The routes of every call: those that make one task, and that which shows one."""

    async def call(request: IncomingRequest, model: str) -> Response[bytes]:
        return await submit.reply_to_call(request, model, parts.streams)

    async def accept(request: IncomingRequest, model: str) -> Response[bytes]:
        return await submit.reply_to_submit(request, model, parts.submissions)

    async def show(request: IncomingRequest, task_id: str) -> Response[bytes]:
        return await tasks.task_reply(request, task_id, parts.codecs, parts.tasks, parts.polls)

    return [
        DirectRoute(method="POST", before="/v1/models/", after="/tasks", handler=accept),
        DirectRoute(method="POST", before="/v1/models/", handler=call),
        DirectRoute(method="GET", before="/v1/tasks/", handler=show),
    ]
