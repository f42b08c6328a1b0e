"""The ASGI application of the registry."""

from __future__ import annotations

from typing import Final

from litestar import Litestar
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin

from hub.http.auth import guarded
from hub.http.dependencies import provide
from hub.http.middleware.edge import with_edge
from hub.http.middleware.hosts import Hosts
from hub.http.problems import EXCEPTION_HANDLERS  # pyright: ignore[reportUnknownVariableType]  # Litestar's alias
from hub.observability.prometheus import MetricsPage
from hub.registry.core.state import RegistryState
from hub.registry.http import instances, models, operations, schemas, store_scripts
from hub.registry.http.instances import ReadHistory
from hub.registry.stats import StatsService
from hub.registry.tasks.directory_sync import DirectorySync
from hub.registry.tasks.pinger import Pinger
from hub.registry.tasks.queue_monitor import QueueMonitor
from hub.registry.tasks.registration import RegistrationService
from hub.web.routes import WEB_ROUTES

BODY_LIMIT: Final = 4 * 1024 * 1024
"""Bytes of a request body at most: a contract of the maximum size, as base64 in JSON."""


def registry_app(
    *,
    state: RegistryState,
    registration: RegistrationService,
    sync: DirectorySync,
    pinger: Pinger,
    history: ReadHistory,
    queues: QueueMonitor,
    stats: StatsService,
    metrics: MetricsPage,
    token: str,
    hosts: Hosts = Hosts(),  # noqa: B008 - immutable
) -> Litestar:
    """Builds the application.

    Args:
        state: Instances, models and contracts.
        registration: Logins and logouts.
        sync: Health of the directory.
        pinger: Whether it is in self-preservation.
        history: Reads the history of the directory.
        queues: Depths and consumers of the queues.
        stats: Statistics of the models.
        metrics: The page at `/metrics`.
        token: Required by every route but those of health, documentation and pages, unless empty.
        hosts: Names of this server.
    """
    with_token = guarded(
        [
            instances.login,
            instances.logout,
            instances.list_instances,
            models.list_models,
            models.show_model,
            instances.show_history,
            models.show_stats,
            schemas.list_schemas,
            schemas.show_schema,
            schemas.schema_history,
            schemas.diff_schemas,
            schemas.check_schema,
            operations.targets,
            store_scripts.list_scripts,
            operations.show_metrics,
        ],
        [token] if token else [],
    )
    app = Litestar(
        [
            *with_token,
            operations.live,
            operations.ready,
            operations.openapi,
            operations.docs,
            operations.home,
            *WEB_ROUTES,
        ],
        dependencies={
            "registry": provide(state),
            "registration": provide(registration),
            "sync": provide(sync),
            "pinger": provide(pinger),
            "history": provide(history),
            "queues": provide(queues),
            "stats": provide(stats),
            "metrics": provide(metrics),
            "guarded": provide(bool(token)),
        },
        exception_handlers=EXCEPTION_HANDLERS,
        request_max_body_size=BODY_LIMIT,
        openapi_config=OpenAPIConfig(
            title=operations.TITLE,
            version="1",
            path="/schema",  # Litestar requires a folder; the route is /openapi.json, as on the gateway
            render_plugins=[JsonRenderPlugin(path="/openapi.json")],
        ),
        logging_config=None,
    )
    return with_edge(app, body_limit=BODY_LIMIT, hosts=hosts)
