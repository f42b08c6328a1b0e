"""The registry's figures for Prometheus."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, final

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from typing_extensions import override

from hub.http.exposition import gauge
from hub.registry.depths import QueueDepths
from hub.registry.figures import Figures
from hub.registry.keeper import DirectoryKeeper
from hub.registry.pings import Answered, PingResult, Refused
from hub.registry.roll import Roll
from hub.registry.states import InstanceState

PING_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Seconds: from a process on this machine to one that is just within the timeout."""


@final
class PingMetrics:
    """How pings went. Call it with each result."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._seconds = Histogram(
            "hub_registry_ping_duration_seconds",
            "Time until an instance answered a ping.",
            buckets=PING_BUCKETS,
            registry=registry,
        )
        self._failures = Counter(
            "hub_registry_ping_failures_total",
            "Pings without an answer, by whether the connection was refused or nothing came in time.",
            ["reason"],
            registry=registry,
        )
        for reason in ("missed", "refused"):
            self._failures.labels(reason)  # so that a rate has a zero to start from

    def __call__(self, result: PingResult, seconds: float) -> None:
        if isinstance(result, Answered):
            self._seconds.observe(seconds)
        else:
            self._failures.labels("refused" if isinstance(result, Refused) else "missed").inc()


@final
class LiveCollector(Collector):
    """Yields what is so now, from memory: a series ends with what it tells of, and a scrape waits for nobody."""

    def __init__(self, roll: Roll, depths: QueueDepths, keeper: DirectoryKeeper, figures: Figures) -> None:
        self._roll = roll
        self._depths = depths
        self._keeper = keeper
        self._figures = figures

    @override
    def collect(self) -> Iterable[Metric]:
        models = self._roll.table.models()
        active = [model for model in models if model.active]
        yield GaugeMetricFamily("hub_models", "Models with at least one live instance.", len(active))
        info = GaugeMetricFamily(
            "hub_model_info", "1 for each model with a live instance.", labels=["model", "fingerprint"]
        )
        for model in active:
            info.add_metric([model.name, model.fingerprint], 1)
        yield info
        instances = GaugeMetricFamily(
            "hub_model_instances",
            "Instances by state: live, deaf (answers but consumes nothing), suspect (does not answer).",
            labels=["model", "state"],
        )
        for model in models:
            for state in InstanceState if model.instances else ():
                instances.add_metric([model.name, state], model.count(state))
        yield instances
        queues = [(model.name, queue) for model in models if (queue := self._figures.queue(model)) is not None]
        yield gauge(
            "hub_queue_messages",
            "Messages in the queue of a model: ready (they wait) and unacked (instances have them).",
            ["model", "state"],
            [
                row
                for name, queue in queues
                for row in (([name, "ready"], queue.ready), ([name, "unacked"], queue.unacked))
            ],
        )
        yield gauge(
            "hub_queue_oldest_message_seconds",
            "How long the oldest ready message of a model has waited at most; 0 when none waits.",
            ["model"],
            [([name], queue.oldest_seconds) for name, queue in queues],
        )
        yield gauge(
            "hub_queue_consumers",
            "Consumers of the queue of a model.",
            ["model"],
            [([name], queue.consumers) for name, queue in queues],
        )
        yield gauge(
            "hub_dead_letters",
            "Messages in the dead-letter queue of a model.",
            ["model"],
            [([name], queue.dead) for name, queue in queues],
        )
        yield GaugeMetricFamily(
            "hub_registry_watchers", "Requests that are held until a list changes.", self._roll.waiting
        )
        links = GaugeMetricFamily(
            "hub_registry_linked", "Whether a server behind the registry answered last time.", labels=["server"]
        )
        links.add_metric(["directory"], self._keeper.linked)
        links.add_metric(["broker"], self._depths.linked)
        yield links
