"""The gateway as a component of a process."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial

import structlog
from anyio import TASK_STATUS_IGNORED, sleep_forever
from anyio.abc import TaskStatus

from hub.concurrency.exceptions import collapse_exception_group
from hub.concurrency.services import background_service
from hub.errors import ConfigurationError
from hub.gateway.app import gateway_app
from hub.gateway.dashboard.overview import Overview
from hub.gateway.dashboard.sampler import OverviewSampler
from hub.gateway.dashboard.stats import ModelStats
from hub.gateway.models.catalog import Catalog
from hub.gateway.tasks.backpressure import QueueLimiter
from hub.gateway.tasks.congestion import Congestion
from hub.gateway.tasks.options import ResultTtls
from hub.gateway.tasks.service import TaskService
from hub.http.client import open_client
from hub.http.long_polling import LongPollRegistry
from hub.http.serve.listen import ListenAddress
from hub.http.serve.server import serve
from hub.ports.broker import Broker
from hub.ports.result_store import ResultStore
from hub.registry.client.client import RegistryClient
from hub.registry.client.watch import ModelWatch
from hub.settings.gateway import GatewaySettings

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

    It starts without the registry too: until that is reached it is not ready, and answers 503 for every model.

    Args:
        settings: Where to listen, where the registry is, limits and keys.
        broker: Open, and stays the caller's.
        store: Open, and stays the caller's.
        dashboard: A second address for the same routes, for the port on which people look for the dashboard (`/`).
        dashboard_is_optional: Whether to go on without that address when it is taken.
        task_status: Gets the base URL when requests are answered.

    Raises:
        ConfigurationError: The address cannot be listened on.
        RegistryRefused: The registry does not take our token.
    """
    with collapse_exception_group():
        await _run(settings, broker, store, dashboard, task_status, dashboard_is_optional=dashboard_is_optional)


async def _run(
    settings: GatewaySettings,
    broker: Broker,
    store: ResultStore,
    dashboard: ListenAddress | None,
    task_status: TaskStatus[str],
    *,
    dashboard_is_optional: bool,
) -> None:
    polls = LongPollRegistry()
    async with open_client(connections=8) as http:
        registry = RegistryClient(settings.registry_url, http, token=settings.token)
        catalog = Catalog(ModelWatch(registry))
        congestion = Congestion(settings.busy_after)
        dispatch = TaskService(broker, store, timeout=settings.publish_timeout, polls=polls, congestion=congestion)
        queues = QueueLimiter(catalog, broker, dispatch.run_times, limit=settings.queue_limit)
        figures = ModelStats(registry, dispatch.verdicts)
        observer = OverviewSampler(catalog, Overview(catalog, queues, figures))
        app = gateway_app(
            catalog,
            dispatch,
            queues,
            broker=broker,
            store=store,
            polls=polls,
            observer=observer,
            registry=registry,
            keys=settings.keys,
            token=settings.token,
            body_limit=settings.body_limit,
            call_wait=settings.call_wait,
            ttls=ResultTtls(settings.result_ttl, settings.result_ttl_min, settings.result_ttl_max),
            cancel_on_disconnect=settings.cancel_on_disconnect,
            buckets=settings.buckets,
            compress_above=settings.compress_above,
            cors_origins=settings.origins,
            root_path=settings.root,
            hosts=settings.hosts.known_as(settings.gateway_host, settings.dashboard_host),
        )
        # Left in the reverse order: requests end first, then nothing needs the groups and the catalog any more.
        async with (
            background_service(partial(_open, dispatch), name="dispatch"),
            background_service(partial(_endless, catalog.follow), name="catalog"),
            background_service(partial(_endless, queues.watch), name="queues"),
            background_service(partial(_endless, figures.watch), name="figures"),
            background_service(partial(_endless, observer.watch), name="overview"),
            AsyncExitStack() as stack,
        ):
            if dashboard is not None:
                try:
                    with collapse_exception_group():
                        await stack.enter_async_context(
                            background_service(partial(serve, app, dashboard), name="dashboard")
                        )
                except ConfigurationError as error:
                    if not dashboard_is_optional:
                        raise
                    _log.warning("the dashboard is at / of the gateway only", reason=str(error))
            await serve(app, settings.gateway_bind, on_drain=polls.end_all, task_status=task_status)


async def _open(dispatch: TaskService, *, task_status: TaskStatus[None]) -> None:
    async with dispatch:
        task_status.started()
        await sleep_forever()


async def _endless(work: Callable[[], Awaitable[None]], *, task_status: TaskStatus[None]) -> None:
    task_status.started()
    await work()
