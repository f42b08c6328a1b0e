"""Routes for those who run the gateway."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, get
from litestar.di import NamedDependency

from hub.gateway.routes.health import Health
from hub.gateway.routes.replies import NO_STORE, json_reply
from hub.gateway.schemas import GatewayHealthBody
from hub.gateway.tasks.metrics import GatewayMetrics


@get("/health/live")
async def show_liveness() -> Response[bytes]:
    return json_reply({"live": True}, headers=NO_STORE)


@get("/health/ready")
async def show_readiness(health: NamedDependency[Health]) -> Response[bytes]:
    reasons = health.reasons()
    body = GatewayHealthBody(ready=not reasons, reasons=reasons, broker_nodes=health.broker_nodes())
    return json_reply(body, status=503 if reasons else 200, headers=NO_STORE)


@get("/metrics")
async def show_metrics(request: Request[Any, Any, Any], metrics: NamedDependency[GatewayMetrics]) -> Response[bytes]:
    content, media_type = metrics.exposition(request.headers.get("accept", ""))
    return Response(content, media_type=media_type, headers=NO_STORE)
