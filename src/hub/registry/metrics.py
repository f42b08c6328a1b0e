"""The registry's figures for Prometheus."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from typing import Final, final

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from typing_extensions import override

from hub.histogram import Histogram
from hub.observability.prometheus import counter, gauge, histogram
from hub.ports.directory import LoginLimits
from hub.registry.core.ping_result import PingOk, PingRejected, PingResult
from hub.registry.core.state import RegistryState
from hub.registry.core.table import Removal
from hub.registry.stats import StatsService
from hub.registry.tasks.directory_sync import DirectorySync
from hub.registry.tasks.pinger import Pinger
from hub.registry.tasks.queue_monitor import QueueMonitor
from hub.registry.tasks.registration import RegistrationService
from hub.types import InstanceState

PING_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Seconds: from a process on this machine to one that is just within the timeout."""


@final
class PingCounts:
    """How pings went. Call it with each result.

    Attributes:
        answered: Seconds that answers took.
        failures: Pings without an answer, by whether the connection was refused or nothing came in time.
    """

    def __init__(self) -> None:
        self.answered: Final = Histogram(PING_BUCKETS)
        self.failures: Final = Counter(missed=0, refused=0)

    def __call__(self, result: PingResult, seconds: float) -> None:
        if isinstance(result, PingOk):
            self.answered.observe(seconds)
        else:
            self.failures["refused" if isinstance(result, PingRejected) else "missed"] += 1


@final
class RegistrationCollector(Collector):
    """What is registered, beside the bounds, and what was refused. The labels are those of the bounds."""

    def __init__(self, roll: RegistryState, registrar: RegistrationService, limits: LoginLimits) -> None:
        self._roll = roll
        self._registrar = registrar
        self._limits = limits

    @override
    def collect(self) -> Iterable[Metric]:
        yield gauge("hub_registry_contracts", "Contracts remembered.", [], [([], len(self._roll.lineage.keys()))])
        yield counter(
            "hub_registry_contracts_forgotten",
            "Contracts dropped because no instance had them for the lifetime, or for room.",
            [],
            [([], self._roll.forgotten)],
        )
        yield gauge(
            "hub_registry_limit",
            "Bounds of registration.",
            ["limit"],
            [([k], v) for k, v in asdict(self._limits).items()],
        )
        yield counter(
            "hub_registry_refused_logins",
            "Logins refused for lack of room, by the bound.",
            ["limit"],
            [([limit], self._registrar.refused[limit]) for limit in asdict(self._limits)],
        )
        yield counter(
            "hub_registry_foreign_calls",
            "Logins and logouts refused because they did not carry the secret of the instance.",
            [],
            [([], self._registrar.foreign)],
        )


@final
class LiveCollector(Collector):
    """Yields what is so now, from memory: a series ends with what it tells of, and a scrape waits for nobody."""

    def __init__(
        self,
        roll: RegistryState,
        *,
        depths: QueueMonitor,
        keeper: DirectorySync,
        pinger: Pinger,
        figures: StatsService,
        pings: PingCounts,
    ) -> None:
        self._roll = roll
        self._depths = depths
        self._keeper = keeper
        self._pinger = pinger
        self._figures = figures
        self._pings = pings

    @override
    def collect(self) -> Iterable[Metric]:
        yield from self._models()
        yield from self._queues()
        yield from self._itself()
        yield from self._judgement()

    def _models(self) -> Iterable[Metric]:
        models = self._roll.table.models()
        active = [model for model in models if model.active]
        yield gauge("hub_models", "Models with at least one live instance.", [], [([], len(active))])
        yield gauge(
            "hub_model_info",
            "1 for each model with a live instance.",
            ["model", "fingerprint"],
            [([model.name, model.fingerprint], 1) for model in active],
        )
        yield gauge(
            "hub_model_instances",
            "Instances by state: live, loading (in setup), deaf (answers but consumes nothing), suspect (silent).",
            ["model", "state"],
            [
                ([model.name, state], model.count(state))
                for model in models
                for state in (InstanceState if model.instances else ())
            ],
        )

    def _queues(self) -> Iterable[Metric]:
        models = self._roll.table.models()
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
        for metric, text, rows in (
            (
                "hub_queue_oldest_message_seconds",
                "How long the oldest ready message of a model has waited at most; 0 when none waits.",
                [([name], queue.oldest_seconds) for name, queue in queues],
            ),
            (
                "hub_queue_consumers",
                "Consumers of the queue of a model.",
                [([name], queue.consumers) for name, queue in queues],
            ),
            (
                "hub_dead_letters",
                "Messages in the dead-letter queue of a model.",
                [([name], queue.dead) for name, queue in queues],
            ),
        ):
            yield gauge(metric, text, ["model"], rows)

    def _itself(self) -> Iterable[Metric]:
        yield histogram(
            "hub_registry_ping_duration_seconds",
            "Time until an instance answered a ping.",
            [],
            [([], self._pings.answered.snapshot())],
        )
        yield counter(
            "hub_registry_ping_failures",
            "Pings without an answer, by whether the connection was refused or nothing came in time.",
            ["reason"],
            [([reason], count) for reason, count in self._pings.failures.items()],
        )
        yield gauge(
            "hub_registry_watchers",
            "Requests that are held until a list changes.",
            [],
            [([], self._roll.waiting)],
        )
        yield gauge(
            "hub_registry_connected",
            "Whether a server behind the registry answered last time.",
            ["server"],
            [(["directory"], self._keeper.linked), (["broker"], self._depths.linked)],
        )

    def _judgement(self) -> Iterable[Metric]:
        yield gauge("hub_registry_leases", "Instances that this registry pings.", [], [([], self._keeper.leases)])
        yield gauge(
            "hub_registry_self_preservation",
            "1 while most instances are silent at once, so that the registry takes its own network for lost.",
            [],
            [([], self._pinger.doubt.holds)],
        )
        yield counter(
            "hub_registry_resubscribes",
            "Deaf instances asked to subscribe to their queue again.",
            ["model"],
            [([model.name], self._pinger.resubscribes.get(model.name, 0)) for model in self._roll.table.models()],
        )
        yield counter(
            "hub_registry_removals",
            "Instances that this registry took off the lists, by reason.",
            ["reason"],
            [([reason], self._roll.removals.get(reason, 0)) for reason in Removal if reason is not Removal.ELSEWHERE],
        )
