"""The ASGI application of the registry."""

from __future__ import annotations

from typing import Final

from litestar import Litestar, Router
from litestar.di import Provide
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from prometheus_client import CollectorRegistry

from hub.http.auth import require_credential
from hub.http.middleware.edge import with_edge
from hub.http.middleware.hosts import Hosts
from hub.http.problems import EXCEPTION_HANDLERS  # pyright: ignore[reportUnknownVariableType]  # Litestar's alias
from hub.registry.core.consumer_check import ConsumerCheck
from hub.registry.core.state import RegistryState
from hub.registry.http import (
    figures as figures_routes,
    history as history_route,
    instances,
    models,
    operations,
    schemas,
)
from hub.registry.http.history import ReadHistory
from hub.registry.stats import StatsService
from hub.registry.tasks.directory_sync import DirectorySync
from hub.registry.tasks.pinger import Pinger
from hub.registry.tasks.queue_monitor import QueueMonitor
from hub.registry.tasks.registration import RegistrationService
from hub.web.routes import WEB_ROUTES

BODY_LIMIT: Final = 4 * 1024 * 1024
"""Bytes of a request body at most: a contract of the largest size that is taken, as base64 in JSON."""


def registry_app(
    *,
    roll: RegistryState,
    registrar: RegistrationService,
    keeper: DirectorySync,
    pinger: Pinger,
    consumers: ConsumerCheck,
    history: ReadHistory,
    depths: QueueMonitor,
    figures: StatsService,
    collectors: CollectorRegistry,
    token: str,
    hosts: Hosts = Hosts(),  # noqa: B008 - immutable
) -> Litestar:
    """Builds the application. With a `token` every route asks for it, but health, documentation and pages. `hosts`: names of it."""
    guarded = Router(
        "/",
        guards=[require_credential([token] if token else [])],
        route_handlers=[
            instances.login,
            instances.logout,
            instances.list_instances,
            models.list_models,
            models.show_model,
            history_route.show_history,
            figures_routes.show_figures,
            schemas.list_schemas,
            schemas.show_schema,
            schemas.schema_history,
            schemas.diff_schemas,
            schemas.check_schema,
            operations.targets,
            operations.metrics,
        ],
    )
    app = Litestar(
        [guarded, operations.live, operations.ready, operations.openapi, operations.docs, operations.home, *WEB_ROUTES],
        dependencies={
            "roll": _provide(roll),
            "registrar": _provide(registrar),
            "keeper": _provide(keeper),
            "pinger": _provide(pinger),
            "consumers": _provide(consumers),
            "history": _provide(history),
            "depths": _provide(depths),
            "figures": _provide(figures),
            "collectors": _provide(collectors),
            "guarded": _provide(bool(token)),
        },
        exception_handlers=EXCEPTION_HANDLERS,
        request_max_body_size=BODY_LIMIT,
        openapi_config=OpenAPIConfig(
            title=operations.TITLE,
            version="1",
            path="/schema",  # Litestar insists on routes of its own; ours is /openapi.json, as on the gateway
            render_plugins=[JsonRenderPlugin(path="/openapi.json")],
        ),
        logging_config=None,
    )
    return with_edge(app, body_limit=BODY_LIMIT, hosts=hosts)


def _provide(value: object) -> Provide:
    def provide() -> object:
        return value

    return Provide(provide, sync_to_thread=False)
