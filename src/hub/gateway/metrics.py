"""What Prometheus gets to see of a gateway. Labels are names of models that were served, so their number is bounded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, final

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector
from typing_extensions import override

from hub.gateway.acceptance import Acceptance
from hub.gateway.catalog import Catalog
from hub.gateway.long_polls import LongPolls

BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
"""Seconds; from a look-up to a long inference."""


@final
class GatewayMetrics:
    """Counts what is submitted and how long it takes; everything else is read from its owner at scrape time."""

    def __init__(self, catalog: Catalog, accept: Acceptance, polls: LongPolls) -> None:
        registry = CollectorRegistry(auto_describe=False)
        self._registry = registry
        self._submits = Counter(
            "hub_submits", "Tasks by how their submit ended.", ["model", "result"], registry=registry
        )
        self._accept_seconds = Histogram(
            "hub_submit_seconds", "Time from a request to its accepted task.", ["model"],
            buckets=BUCKETS, registry=registry,
        )  # fmt: skip
        self._call_seconds = Histogram(
            "hub_call_seconds", "Time from an accepted task to its outcome, where somebody waited.", ["model", "state"],
            buckets=BUCKETS, registry=registry,
        )  # fmt: skip
        registry.register(_Now(catalog, accept, polls))

    def accepted(self, model: str, seconds: float, *, replayed: bool) -> None:
        """One submit that led to a task; `replayed` if that was there already, under the same key."""
        self._submits.labels(model, "replayed" if replayed else "accepted").inc()
        self._accept_seconds.labels(model).observe(seconds)

    def refused(self, model: str, code: str) -> None:
        """One submit that led to none, by the code of the error. `model` is one that is known."""
        self._submits.labels(model, code).inc()

    def waited(self, model: str, state: str, seconds: float) -> None:
        """One wait for an outcome; `state` is the last state that was seen."""
        self._call_seconds.labels(model, state).observe(seconds)

    def exposition(self) -> bytes:
        return generate_latest(self._registry)


@final
class _Now(Collector):
    def __init__(self, catalog: Catalog, accept: Acceptance, polls: LongPolls) -> None:
        self._catalog = catalog
        self._accept = accept
        self._polls = polls

    @override
    def collect(self) -> Iterator[GaugeMetricFamily]:
        accept = self._accept.statistics()
        yield GaugeMetricFamily("hub_gateway_models", "Models that are alive.", len(self._catalog.served))
        yield GaugeMetricFamily(
            "hub_gateway_registry_connected", "Whether the registry is in reach.", self._catalog.connected
        )
        yield GaugeMetricFamily("hub_gateway_long_polls", "Requests that are held back.", self._polls.held)
        yield GaugeMetricFamily("hub_gateway_submits_waiting", "Submits in no group yet.", accept.waiting)
        yield GaugeMetricFamily("hub_gateway_withdrawals_due", "Records to be taken back.", accept.failed)
