"""Routes for the operation of the gateway: health and metrics."""

from __future__ import annotations

from typing import final

from litestar import Response, get
from litestar.di import NamedDependency

from hub.gateway.models.catalog import Catalog
from hub.gateway.schemas import GatewayHealthBody
from hub.gateway.tasks.metrics import GatewayMetrics
from hub.http.conditional import NO_STORE, json_reply
from hub.http.dependencies import HttpRequest
from hub.ports.broker import Broker
from hub.ports.result_store import ResultStore


@final
class GatewayHealth:
    """Whether the gateway can accept tasks, from the state of its connections. Does no I/O."""

    def __init__(self, catalog: Catalog, broker: Broker, store: ResultStore) -> None:
        self._catalog = catalog
        self._broker = broker
        self._store = store

    def broker_nodes(self) -> int:
        """How many nodes of the broker have an open connection."""
        return sum(connections > 0 for connections in self._broker.statistics().nodes.values())

    def reasons(self) -> tuple[str, ...]:
        """Why it cannot, as sentences; empty when it can."""
        broker, store = self._broker.statistics(), self._store.statistics()
        blocked = () if broker.blocked is None else (f"the broker accepts no messages: {broker.blocked}",)
        connections = {
            "the registry is out of reach; the last known list of models stands": self._catalog.connected,
            "the broker is out of reach": broker.connected,
            "the result store is out of reach": store.connected,
        }
        refused = () if store.refusal is None else (f"the result store accepts no changes: {store.refusal}",)
        return (*(reason for reason, connected in connections.items() if not connected), *blocked, *refused)


@get("/health/live")
async def show_liveness() -> Response[bytes]:
    return json_reply({"live": True}, headers=NO_STORE)


@get("/health/ready")
async def show_readiness(health: NamedDependency[GatewayHealth]) -> Response[bytes]:
    reasons = health.reasons()
    body = GatewayHealthBody(ready=not reasons, reasons=reasons, broker_nodes=health.broker_nodes())
    return json_reply(body, status=503 if reasons else 200, headers=NO_STORE)


@get("/metrics")
async def show_metrics(request: HttpRequest, metrics: NamedDependency[GatewayMetrics]) -> Response[bytes]:
    content, media_type = await metrics.exposition(request.headers.get("accept", ""))
    return Response(content, media_type=media_type, headers=NO_STORE)
