"""Metrics of the registry, for Prometheus."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Final, final

from typing_extensions import override

from hub.histogram import Histogram
from hub.observability.prometheus import MetricFamily, MetricSource, counter, gauge, histogram
from hub.ports.directory import LoginLimits
from hub.registry.client.views import ModelStatus
from hub.registry.core.changes import Removal
from hub.registry.core.ping_result import PingOk, PingRejected, PingResult
from hub.registry.core.state import RegistryState
from hub.registry.stats import StatsService
from hub.registry.tasks.directory_sync import DirectorySync
from hub.registry.tasks.pinger import Pinger
from hub.registry.tasks.queue_monitor import QueueMonitor
from hub.registry.tasks.registration import RegistrationService
from hub.types import InstanceState

PING_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Seconds: from a process on the same machine to one that answers just before the timeout."""


@final
class PingCounters:
    """Counts pings by their result.

    Attributes:
        answered: Seconds of the answered pings.
        failures: The other ones: `refused` if no instance can be at the address, else `missed`.
    """

    def __init__(self) -> None:
        self.answered: Final = Histogram(PING_BUCKETS)
        self.failures: Final = Counter(missed=0, refused=0)

    def observe(self, result: PingResult, seconds: float) -> None:
        if isinstance(result, PingOk):
            self.answered.observe(seconds)
        else:
            self.failures["refused" if isinstance(result, PingRejected) else "missed"] += 1


@final
class RegistrationCollector(MetricSource):
    """Contracts, limits of registration, and refused calls. Limits are labelled by the names of their settings."""

    def __init__(self, state: RegistryState, registration: RegistrationService, limits: LoginLimits) -> None:
        self._state = state
        self._registration = registration
        self._limits = limits

    @override
    def collect(self) -> Iterable[MetricFamily]:
        yield gauge("hub_registry_contracts", "Contracts stored.", [], [([], len(self._state.contracts.keys()))])
        yield counter(
            "hub_registry_contracts_forgotten",
            "Contracts dropped because no instance had them for the lifetime, or to keep to a limit.",
            [],
            [([], self._state.contracts_forgotten)],
        )
        yield gauge(
            "hub_registry_limit",
            "Limits of registration.",
            ["limit"],
            [([k], v) for k, v in asdict(self._limits).items()],
        )
        yield counter(
            "hub_registry_refused_logins",
            "Logins refused because of a limit.",
            ["limit"],
            [([limit], self._registration.refused[limit]) for limit in asdict(self._limits)],
        )
        yield counter(
            "hub_registry_descriptor_reads",
            "Contracts read from the descriptor routes of instances, by result.",
            ["result"],
            [([result], number) for result, number in self._registration.descriptor_reads.items()],
        )
        yield counter(
            "hub_registry_unauthorized_calls",
            "Logins and logouts refused because they did not carry the secret of the instance.",
            [],
            [([], self._registration.foreign)],
        )


@final
class LiveCollector(MetricSource):
    """Collects the current state from memory. A series ends with its model or instance; scraping does no I/O."""

    def __init__(
        self,
        state: RegistryState,
        *,
        queues: QueueMonitor,
        sync: DirectorySync,
        pinger: Pinger,
        stats: StatsService,
        pings: PingCounters,
    ) -> None:
        self._state = state
        self._queue_monitor = queues
        self._sync = sync
        self._pinger = pinger
        self._stats = stats
        self._pings = pings

    @override
    def collect(self) -> Iterable[MetricFamily]:
        models = self._state.models()
        yield from self._models(models)
        yield from self._queues(models)
        yield from self._pings_and_servers()
        yield from self._leases(models)

    def _models(self, models: Sequence[ModelStatus]) -> Iterable[MetricFamily]:
        active = [model for model in models if model.active]
        yield gauge("hub_models", "Models with at least one live instance.", [], [([], len(active))])
        yield gauge(
            "hub_model_info",
            "1 for each model with a live instance.",
            ["model", "fingerprint"],
            (([model.name, model.fingerprint], 1) for model in active),
        )
        yield gauge(
            "hub_model_instances",
            "Instances by state: live, loading (in setup), not_consuming (answers, takes no tasks), suspect (misses pings).",
            ["model", "state"],
            (
                ([model.name, state], model.count(state))
                for model in models
                for state in (InstanceState if model.instances else ())
            ),
        )

    def _queues(self, models: Sequence[ModelStatus]) -> Iterable[MetricFamily]:
        queues = [(model.name, queue) for model in models if (queue := self._stats.queue(model)) is not None]
        yield gauge(
            "hub_queue_messages",
            "Messages in the queue of a model: ready (waiting) and unacked (delivered to instances).",
            ["model", "state"],
            (
                row
                for name, queue in queues
                for row in (([name, "ready"], queue.ready), ([name, "unacked"], queue.unacked))
            ),
        )
        for metric, text, rows in (
            (
                "hub_queue_oldest_message_seconds",
                "Maximum time that the oldest ready message of a model has waited; 0 without one.",
                (([name], queue.oldest_seconds) for name, queue in queues),
            ),
            (
                "hub_queue_consumers",
                "Consumers of the queue of a model.",
                (([name], queue.consumers) for name, queue in queues),
            ),
            (
                "hub_dead_letters",
                "Messages in the dead-letter queue of a model.",
                (([name], queue.dead) for name, queue in queues),
            ),
        ):
            yield gauge(metric, text, ["model"], rows)

    def _pings_and_servers(self) -> Iterable[MetricFamily]:
        yield histogram(
            "hub_registry_ping_duration_seconds",
            "Time until an instance answered a ping.",
            [],
            [([], self._pings.answered.snapshot())],
        )
        yield counter(
            "hub_registry_ping_failures",
            "Pings that failed: missed (no usable reply in time) or refused (no such instance at the address).",
            ["reason"],
            [([reason], count) for reason, count in self._pings.failures.items()],
        )
        yield gauge(
            "hub_registry_watchers",
            "Requests that are held until a list changes.",
            [],
            [([], self._state.watchers)],
        )
        yield gauge(
            "hub_registry_connected",
            "1 if a server behind the registry answered the last call.",
            ["server"],
            [(["directory"], self._sync.health.ok), (["broker"], self._queue_monitor.connected)],
        )

    def _leases(self, models: Sequence[ModelStatus]) -> Iterable[MetricFamily]:
        yield gauge("hub_registry_leases", "Instances that this registry pings.", [], [([], len(self._state.leases))])
        yield gauge(
            "hub_registry_self_preservation",
            "1 while missed pings are not counted, because most instances stopped answering at once.",
            [],
            [([], self._pinger.self_preservation.active)],
        )
        yield counter(
            "hub_registry_late_beats",
            "Groups of pings that began more than a second late, because the registry was busy or suspended.",
            [],
            [([], self._pinger.late_beats)],
        )
        yield counter(
            "hub_registry_resubscribes",
            "Requests to instances that do not consume to subscribe to their queue again.",
            ["model"],
            (([model.name], self._pinger.resubscribes.get(model.name, 0)) for model in models),
        )
        yield counter(
            "hub_registry_removals",
            "Instances that this registry removed, by reason.",
            ["reason"],
            [([reason], self._state.removals.get(reason, 0)) for reason in Removal if reason is not Removal.REMOTE],
        )
