"""The web application of the gateway, put together from its parts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from litestar import Litestar, Router
from litestar.di import Provide

from hub.gateway.dashboard.sampler import OverviewSampler
from hub.gateway.models.catalog import Catalog
from hub.gateway.models.codecs import CodecResolver
from hub.gateway.models.registry_queries import RegistryQueries
from hub.gateway.openapi.document import OpenApiDocument
from hub.gateway.routes import batches, models, pages, submit, system, task_lists, tasks
from hub.gateway.routes.health import Health
from hub.gateway.tasks.backpressure import QueueLimiter
from hub.gateway.tasks.congestion import with_refusals
from hub.gateway.tasks.headers import add_task_headers
from hub.gateway.tasks.metrics import GatewayMetrics
from hub.gateway.tasks.options import ResultTtls
from hub.gateway.tasks.service import TaskService
from hub.gateway.tasks.submission import SubmissionService
from hub.histogram import SECONDS
from hub.http.auth import require_credential
from hub.http.long_polling import LongPollRegistry
from hub.http.middleware.compression import COMPRESS_ABOVE
from hub.http.middleware.edge import with_edge
from hub.http.middleware.hosts import Hosts
from hub.http.problems import EXCEPTION_HANDLERS  # pyright: ignore[reportUnknownVariableType]  # Litestar's alias
from hub.observability.connection_metrics import ConnectionCollector
from hub.ports.broker import Broker
from hub.ports.result_store import ResultStore
from hub.web.routes import WEB_ROUTES

OPERATIONS: Final = ("create", "fetch", "watch", "finish")
"""What a gateway asks of the store day by day."""


def gateway_app(
    catalog: Catalog,
    dispatch: TaskService,
    queues: QueueLimiter,
    *,
    broker: Broker,
    store: ResultStore,
    polls: LongPollRegistry,
    observer: OverviewSampler,
    registry: RegistryQueries,
    keys: Sequence[str] = (),
    token: str = "",
    body_limit: int,
    call_wait: float,
    ttls: ResultTtls | None = None,
    cancel_on_disconnect: bool = True,
    buckets: Sequence[float] = SECONDS,
    compress_above: int = COMPRESS_ABOVE,
    cors_origins: frozenset[str] = frozenset(),
    root_path: str = "",
    hosts: Hosts = Hosts(),  # noqa: B008 - immutable
) -> Litestar:
    """All routes of the gateway over parts that are open already.

    Args:
        catalog: What is alive.
        dispatch: Moves tasks.
        queues: Knows how long they are.
        broker: For readiness.
        store: For readiness.
        polls: Bounds long polls.
        observer: Samples the overview.
        registry: Answers what pages ask of it.
        keys: API keys that are taken; with none, no key is asked.
        token: What hub's processes show each other. `/metrics` takes it beside the keys, so that a Prometheus needs but one
            credential for all of hub.
        body_limit: Bytes of a request body at most.
        call_wait: Seconds that a synchronous call waits unless the client says otherwise.
        ttls: How long outcomes are kept.
        cancel_on_disconnect: Whether the task of a synchronous call whose client hangs up is cancelled.
        buckets: Upper bounds of the buckets in which times are counted, in seconds.
        compress_above: Bytes of the smallest reply that is compressed; 0: none is.
        cors_origins: The origins whose web pages may use the gateway.
        root_path: Where clients find the gateway, if not at `/`.
        hosts: The names that the gateway answers to, beside IP addresses and localhost.
    """
    ttls = ttls or ResultTtls()
    links = ConnectionCollector(broker, store, operations=OPERATIONS, buckets=buckets)
    metrics = GatewayMetrics(catalog, dispatch, polls, links=links, buckets=buckets)
    guarded = Router(
        "/",
        guards=[require_credential(keys)],
        route_handlers=[
            models.list_models,
            models.show_model,
            models.show_overview,
            models.watch_overview,
            models.list_instances,
            models.list_events,
            submit.call_model,
            submit.submit_task,
            batches.submit_batch,
            task_lists.list_tasks,
            tasks.show_task,
            tasks.show_result,
            tasks.cancel_task,
        ],
    )
    watched = Router(
        "/",
        guards=[require_credential([*keys, token] if keys and token else keys)],
        route_handlers=[system.show_metrics],
    )
    app = Litestar(
        [
            guarded,
            watched,
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
        dependencies={
            "admission": _provide(
                SubmissionService(
                    catalog,
                    dispatch,
                    queues,
                    metrics,
                    call_wait=call_wait,
                    ttls=ttls,
                    cancel_on_disconnect=cancel_on_disconnect,
                )
            ),
            "body_limit": _provide(body_limit),
            "catalog": _provide(catalog),
            "codecs": _provide(CodecResolver(catalog, registry)),
            "description": _provide(OpenApiDocument(catalog, guarded=bool(keys), ttls=ttls, root_path=root_path)),
            "dispatch": _provide(dispatch),
            "health": _provide(Health(catalog, broker, store)),
            "metrics": _provide(metrics),
            "observer": _provide(observer),
            "polls": _provide(polls),
            "registry": _provide(registry),
        },
        exception_handlers=EXCEPTION_HANDLERS,
        request_max_body_size=body_limit,
        openapi_config=None,
        logging_config=None,
    )
    app.asgi_handler = with_refusals(app.asgi_handler, dispatch.congestion)
    return with_edge(
        app,
        body_limit=body_limit,
        compress_above=compress_above,
        cors_origins=cors_origins,
        root_path=root_path,
        hosts=hosts,
        complete=add_task_headers,
    )


def _provide(value: object) -> Provide:
    def provide() -> object:
        return value

    return Provide(provide, sync_to_thread=False)
