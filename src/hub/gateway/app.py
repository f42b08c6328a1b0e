"""The web application of the gateway, put together from its parts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from litestar import Litestar, Request, Response, Router
from litestar.types import ExceptionHandlersMap

from hub.gateway.catalog import Catalog
from hub.gateway.dispatch import Dispatch
from hub.gateway.errors import TaskError
from hub.gateway.http_models import ModelRoutes
from hub.gateway.http_pages import PageRoutes
from hub.gateway.http_submit import SubmitRoutes
from hub.gateway.http_system import SystemRoutes
from hub.gateway.http_tasks import TaskRoutes
from hub.gateway.long_polls import LongPolls
from hub.gateway.metrics import GatewayMetrics
from hub.gateway.openapi import Description
from hub.gateway.overview import Overview
from hub.http.guard import require_credential
from hub.http.problems import (
    EXCEPTION_HANDLERS,  # pyright: ignore[reportUnknownVariableType]  # Litestar's alias
    problem_of,
)
from hub.ports import Broker, ResultStore
from hub.web.routes import WEB_ROUTES


def gateway_app(
    catalog: Catalog,
    dispatch: Dispatch,
    broker: Broker,
    store: ResultStore,
    polls: LongPolls,
    *,
    keys: Sequence[str] = (),
    body_limit: int,
    call_wait: float,
) -> Litestar:
    """All routes of the gateway over parts that are open already.

    Args:
        catalog: What is alive.
        dispatch: Moves tasks.
        broker: For readiness and the depth of queues.
        store: For readiness.
        polls: Bounds long polls.
        keys: API keys that are taken; with none, no key is asked.
        body_limit: Bytes of a request body at most.
        call_wait: Seconds that a synchronous call waits unless the client says otherwise.
    """
    metrics = GatewayMetrics(catalog, dispatch.accept, polls)
    system = SystemRoutes(catalog, broker, store, metrics)
    guarded = [
        *ModelRoutes(catalog, Overview(catalog, broker), polls).handlers(),
        *SubmitRoutes(catalog, dispatch, metrics, call_wait=call_wait).handlers(),
        *TaskRoutes(catalog, dispatch).handlers(),
        *system.handlers(),
    ]
    pages = PageRoutes(catalog, Description(catalog, guarded=bool(keys)), polls)
    return Litestar(
        [
            Router("/", route_handlers=guarded, guards=[require_credential(keys)]),
            *system.open_handlers(),
            *pages.handlers(),
            *WEB_ROUTES,
        ],
        exception_handlers={**EXCEPTION_HANDLERS, **_TASK_ERRORS},
        request_max_body_size=body_limit,
        openapi_config=None,
    )


def _on_task_error(_request: Request[Any, Any, Any], error: TaskError) -> Response[bytes]:
    reply = problem_of(error)
    reply.set_header("Location", f"/v1/tasks/{error.task}")
    return reply


_TASK_ERRORS: Final[ExceptionHandlersMap] = {  # pyright: ignore[reportUnknownVariableType]  # Litestar's alias
    TaskError: _on_task_error
}
