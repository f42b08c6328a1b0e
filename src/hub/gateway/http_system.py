"""Routes for those who run the gateway."""

from __future__ import annotations

from collections.abc import Iterator
from typing import final

from litestar import Response, get
from litestar.handlers import HTTPRouteHandler
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from hub.gateway.bodies import HealthBody
from hub.gateway.catalog import Catalog
from hub.gateway.metrics import GatewayMetrics
from hub.gateway.replies import NO_STORE, json_reply
from hub.ports import Broker, ResultStore


@final
class SystemRoutes:
    """`/health/live`, `/health/ready` and `/metrics`."""

    def __init__(self, catalog: Catalog, broker: Broker, store: ResultStore, metrics: GatewayMetrics) -> None:
        self._catalog = catalog
        self._broker = broker
        self._store = store
        self._metrics = metrics

    def open_handlers(self) -> list[HTTPRouteHandler]:
        """Those that ask for no key: probes have none."""
        return [get("/health/live")(self.show_liveness), get("/health/ready")(self.show_readiness)]

    def handlers(self) -> list[HTTPRouteHandler]:
        return [get("/metrics")(self.show_metrics)]

    async def show_liveness(self) -> Response[bytes]:
        return json_reply({"live": True}, headers=NO_STORE)

    async def show_readiness(self) -> Response[bytes]:
        reasons = tuple(self._reasons())
        body = HealthBody(ready=not reasons, reasons=reasons)
        return json_reply(body, status=503 if reasons else 200, headers=NO_STORE)

    async def show_metrics(self) -> Response[bytes]:
        return Response(self._metrics.exposition(), headers={"Content-Type": CONTENT_TYPE_LATEST, **NO_STORE})

    def _reasons(self) -> Iterator[str]:
        if not self._catalog.connected:
            yield "the registry is out of reach; the last known list of models stands"
        if not self._broker.statistics().connected:
            yield "the broker is out of reach"
        if not self._store.statistics().connected:
            yield "the result store is out of reach"
