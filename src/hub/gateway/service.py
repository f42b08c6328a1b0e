"""The gateway as a component of a process: builds its parts, and runs them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import Final

import structlog
from anyio import TASK_STATUS_IGNORED, sleep_forever
from anyio.abc import TaskStatus

from hub.concurrency.exceptions import collapse_exception_group
from hub.concurrency.services import background_service
from hub.errors import ConfigurationError
from hub.gateway.app import GatewayParts, gateway_app
from hub.gateway.dashboard.overview import Overview
from hub.gateway.dashboard.sampler import OverviewSampler
from hub.gateway.dashboard.stats import ModelStats
from hub.gateway.models.catalog import Catalog, Watch
from hub.gateway.models.codec import CodecResolver
from hub.gateway.models.registry_queries import RegistryQueries
from hub.gateway.openapi.document import OpenApiDocument
from hub.gateway.routes.system import GatewayHealth
from hub.gateway.streams.metrics import StreamMetrics
from hub.gateway.streams.service import StreamService
from hub.gateway.tasks.backpressure import QueueLimiter
from hub.gateway.tasks.congestion import Congestion
from hub.gateway.tasks.metrics import GatewayMetrics, SubmitMetrics
from hub.gateway.tasks.options import ResultTtls
from hub.gateway.tasks.service import TaskService
from hub.gateway.tasks.submission import SubmissionService
from hub.http.client import open_client
from hub.http.long_polling import LongPollRegistry
from hub.http.serve.listen import ListenAddress
from hub.http.serve.server import serve
from hub.observability.connection_metrics import ConnectionCollector
from hub.ports.broker import Broker
from hub.ports.result_store import ResultStore
from hub.registry.client.client import RegistryClient
from hub.registry.client.watch import ModelWatch
from hub.settings.gateway import GatewaySettings
from hub.types import WallClock, wall_clock

EXPECTED_OPERATIONS: Final = ("create", "fetch", "watch", "finish")
"""The operations of the store that every gateway uses; they have a series before their first call."""

_log = structlog.get_logger("hub.gateway")


async def run_gateway(
    settings: GatewaySettings,
    *,
    broker: Broker,
    store: ResultStore,
    dashboard: ListenAddress | None = None,
    dashboard_is_optional: bool = False,
    task_status: TaskStatus[str] = TASK_STATUS_IGNORED,
) -> None:
    """Runs a gateway until it is cancelled; then requests in flight may finish, and long polls are answered.

    It starts without the registry too: until the first list of models it is not ready, and replies 503 for every model.

    Args:
        settings: Addresses, limits and keys.
        broker: Open; the caller closes it.
        store: Open; the caller closes it.
        dashboard: A second address for the same routes: the port at which people expect the dashboard (`/`).
        dashboard_is_optional: Whether to go on without that address when it is taken.
        task_status: Gets the base URL when requests are answered.

    Raises:
        ConfigurationError: The address cannot be listened on.
        RegistryRefused: The registry does not accept our token.
    """
    with collapse_exception_group():
        async with open_client(url=settings.registry_url, connections=8) as http:
            registry = RegistryClient(settings.registry_url, http, token=settings.token)
            parts = build_gateway(settings, broker=broker, store=store, watch=ModelWatch(registry), registry=registry)
            app = gateway_app(parts)
            # Left in the reverse order: requests end first, then nothing uses the batches and the catalog any more.
            async with (
                background_service(partial(_open, parts.tasks), name="tasks"),
                background_service(partial(_endless, parts.catalog.run), name="catalog"),
                background_service(partial(_endless, parts.queues.run), name="queues"),
                background_service(partial(_endless, parts.stats.run), name="stats"),
                background_service(partial(_endless, parts.sampler.run), name="overview"),
                AsyncExitStack() as stack,
            ):
                if dashboard is not None:
                    try:
                        with collapse_exception_group():
                            serve_dashboard = partial(serve, app, dashboard)
                            await stack.enter_async_context(background_service(serve_dashboard, name="dashboard"))
                    except ConfigurationError as error:
                        if not dashboard_is_optional:
                            raise
                        _log.warning("the dashboard is at / of the gateway only", reason=str(error))
                await serve(app, settings.gateway_bind, on_drain=parts.polls.cancel_all, task_status=task_status)


def build_gateway(
    settings: GatewaySettings,
    *,
    broker: Broker,
    store: ResultStore,
    watch: Watch,
    registry: RegistryQueries,
    clock: WallClock = wall_clock,
) -> GatewayParts:
    """The parts of a gateway; nothing of it runs yet.

    Args:
        settings: Limits, keys and addresses.
        broker: For messages.
        store: For records and outcomes.
        watch: The lists of models from the registry.
        registry: For everything else from the registry.
        clock: Dates tasks and samples.
    """
    polls = LongPollRegistry()
    codecs = CodecResolver(registry)
    catalog = Catalog(watch, codecs)
    ttls = ResultTtls(settings.result_ttl, settings.result_ttl_min, settings.result_ttl_max)
    tasks = TaskService(
        broker,
        store,
        timeout=settings.publish_timeout,
        polls=polls,
        congestion=Congestion(settings.busy_after),
        clock=clock,
    )
    queues = QueueLimiter(catalog, broker, tasks.run_times, limit=settings.queue_limit)
    stats = ModelStats(registry, tasks.outcomes)
    submit_metrics = SubmitMetrics(catalog, buckets=settings.buckets)
    stream_metrics = StreamMetrics(catalog, buckets=settings.buckets)
    connections = ConnectionCollector(broker, store, operations=EXPECTED_OPERATIONS, buckets=settings.buckets)
    submissions = SubmissionService(
        catalog,
        tasks,
        queues,
        submit_metrics,
        codecs,
        call_wait=settings.call_wait,
        ttls=ttls,
        cancel_on_disconnect=settings.cancel_on_disconnect,
    )
    return GatewayParts(
        settings=settings,
        catalog=catalog,
        codecs=codecs,
        tasks=tasks,
        queues=queues,
        submissions=submissions,
        streams=StreamService(submissions, tasks, polls, submit_metrics, stream_metrics),
        registry=registry,
        stats=stats,
        sampler=OverviewSampler(catalog, Overview(catalog, queues, stats, clock)),
        document=OpenApiDocument(catalog, guarded=bool(settings.keys), ttls=ttls, root_path=settings.root),
        polls=polls,
        health=GatewayHealth(catalog, broker, store),
        submit_metrics=submit_metrics,
        stream_metrics=stream_metrics,
        metrics=GatewayMetrics(submit_metrics, catalog, tasks, polls, streams=stream_metrics, connections=connections),
    )


async def _open(tasks: TaskService, *, task_status: TaskStatus[None]) -> None:
    async with tasks:
        task_status.started()
        await sleep_forever()


async def _endless(run: Callable[[], Awaitable[None]], *, task_status: TaskStatus[None]) -> None:
    task_status.started()
    await run()
