"""The web application of the gateway, put together from its parts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

from litestar import Litestar, Router
from litestar.di import Provide

from hub.gateway import http_batches, http_models, http_pages, http_submit, http_system, http_task_lists, http_tasks
from hub.gateway.admission import Admission
from hub.gateway.catalog import Catalog
from hub.gateway.codecs import Codecs
from hub.gateway.congestion import with_refusals
from hub.gateway.dispatch import Dispatch
from hub.gateway.health import Health
from hub.gateway.long_polls import LongPolls
from hub.gateway.metrics import GatewayMetrics
from hub.gateway.naming import add_task_headers
from hub.gateway.observer import Observer
from hub.gateway.openapi import Description
from hub.gateway.queues import Queues
from hub.gateway.registry_reads import RegistryReads
from hub.gateway.submit_options import ResultTtls
from hub.histogram import SECONDS
from hub.http.compression import COMPRESS_ABOVE
from hub.http.edge import with_edge
from hub.http.guard import require_credential
from hub.http.hosts import Hosts
from hub.http.links import LinkCollector
from hub.http.problems import EXCEPTION_HANDLERS  # pyright: ignore[reportUnknownVariableType]  # Litestar's alias
from hub.ports import Broker, ResultStore
from hub.web.routes import WEB_ROUTES

OPERATIONS: Final = ("create", "fetch", "watch", "finish")
"""What a gateway asks of the store day by day."""


def gateway_app(
    catalog: Catalog,
    dispatch: Dispatch,
    queues: Queues,
    *,
    broker: Broker,
    store: ResultStore,
    polls: LongPolls,
    observer: Observer,
    registry: RegistryReads,
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
    links = LinkCollector(broker, store, operations=OPERATIONS, buckets=buckets)
    metrics = GatewayMetrics(catalog, dispatch, polls, links=links, buckets=buckets)
    codecs = Codecs(catalog, registry)
    guarded = Router(
        "/",
        guards=[require_credential(keys)],
        route_handlers=[
            http_models.list_models,
            http_models.show_model,
            http_models.show_overview,
            http_models.watch_overview,
            http_models.list_instances,
            http_models.list_events,
            http_submit.call_model,
            http_submit.submit_task,
            http_batches.submit_batch,
            http_task_lists.list_tasks,
            http_tasks.show_task,
            http_tasks.show_result,
            http_tasks.cancel_task,
        ],
    )
    watched = Router(
        "/",
        guards=[require_credential([*keys, token] if keys and token else keys)],
        route_handlers=[http_system.show_metrics],
    )
    app = Litestar(
        [
            guarded,
            watched,
            http_system.show_liveness,
            http_system.show_readiness,
            http_pages.show_dashboard,
            http_pages.show_models,
            http_pages.show_tasks,
            http_pages.show_task_page,
            http_pages.show_docs,
            http_pages.show_description,
            *WEB_ROUTES,
        ],
        dependencies={
            "admission": _provide(
                Admission(
                    catalog,
                    dispatch,
                    queues,
                    metrics,
                    codecs,
                    call_wait=call_wait,
                    ttls=ttls,
                    cancel_on_disconnect=cancel_on_disconnect,
                )
            ),
            "body_limit": _provide(body_limit),
            "catalog": _provide(catalog),
            "codecs": _provide(codecs),
            "description": _provide(Description(catalog, guarded=bool(keys), ttls=ttls, root_path=root_path)),
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
    return with_edge(
        app,
        body_limit=body_limit,
        compress_above=compress_above,
        cors_origins=cors_origins,
        root_path=root_path,
        hosts=hosts,
        complete=add_task_headers,
        first=partial(with_refusals, congestion=dispatch.congestion),
    )


def _provide(value: object) -> Provide:
    def provide() -> object:
        return value

    return Provide(provide, sync_to_thread=False)
