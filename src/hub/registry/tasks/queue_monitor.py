"""Depths, consumers and ages of the models' queues, polled in the background so that requests need no broker."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final, final

import structlog
from anyio import current_time

from hub.concurrency.periodic import every
from hub.concurrency.timeouts import connection_timeout
from hub.errors import HubError
from hub.ports.broker import Broker, QueueDepth
from hub.registry.core.queue_age import OldestMessageEstimator
from hub.registry.core.state import RegistryState
from hub.registry.core.table import CONSECUTIVE_POLLS
from hub.types import InstanceState, ModelName

BROKER_TIMEOUT: Final = 5.0
"""Seconds that one poll may take before the broker counts as out of reach."""

_log = structlog.get_logger("hub.registry.queues")


@final
class QueueMonitor:
    """Polls the queue of every known model, also of those without instances: tasks may wait there.

    Each poll is a second signal beside the pings. If the broker counts no consumer of a queue, all live instances of its
    model are marked not consuming (`RegistryState.consumer_counts`). If it counts fewer consumers than live instances,
    it cannot be said whose are missing; the number is kept for the model.

    Args:
        state: The models, and where the numbers of consumers go.
        broker: The broker.
        period: Seconds between two polls.
    """

    def __init__(self, state: RegistryState, broker: Broker, *, period: float) -> None:
        self._state = state
        self._broker = broker
        self._period = period
        self._depths: Mapping[ModelName, QueueDepth] = {}
        self._ages = OldestMessageEstimator()
        self._connected = True
        self._short_polls: Counter[ModelName] = Counter()
        self._missing: dict[ModelName, int] = {}
        self._incidents: Counter[ModelName] = Counter()

    @property
    def connected(self) -> bool:
        """Whether the broker answered the last poll."""
        return self._connected

    @property
    def blocked(self) -> str | None:
        """Why the broker accepts no messages, in its own words; see `hub.ports.broker.BrokerStatistics.blocked`."""
        return self._broker.statistics().blocked

    @property
    def depths(self) -> Mapping[ModelName, QueueDepth]:
        """The queues that exist, as of the last poll; empty after one that failed, because old depths are misleading."""
        return self._depths

    @property
    def missing_consumer_incidents(self) -> Mapping[ModelName, int]:
        """How often consumers began to be missing, by model."""
        return self._incidents

    def missing_consumers(self, model: ModelName) -> int:
        """Live instances minus consumers, if the broker counted fewer consumers in two polls in a row; else 0."""
        return self._missing.get(model, 0)

    def oldest_age(self, model: ModelName, *, newest_age: float | None) -> float:
        """Maximum age of the oldest message in a queue with messages, in seconds; see `OldestMessageEstimator.estimate`."""
        return self._ages.estimate(model, now=current_time(), newest_age=newest_age)

    async def run(self) -> None:
        """Polls once per period until cancelled, also while the broker is out of reach."""
        async for _ in every(self._period, immediately=True):
            try:
                self._depths = await self._poll()
            except HubError as error:
                self._depths = {}
                if self._connected:
                    _log.warning("queue depths are unknown", reason=str(error))
                self._connected = False
            else:
                self._connected = True

    async def _poll(self) -> Mapping[ModelName, QueueDepth]:
        names = [model.name for model in self._state.models()]
        if not names:
            return {}
        with connection_timeout("the broker", BROKER_TIMEOUT):
            at, began = current_time(), self._state.now()
            found = await self._broker.depths(names)
        depths = {name: depth for name, depth in found.items() if depth is not None}
        self._ages.observe(depths, at=at)
        self.count_consumers({name: 0 if depth is None else depth.consumers for name, depth in found.items()}, began)
        return depths

    def count_consumers(self, consumers: Mapping[ModelName, int], began: float) -> None:
        """Applies the numbers of consumers of a poll that began at a Unix time; a queue that does not exist has 0."""
        self._state.consumer_counts(consumers, began=began)
        live = {model.name: model.count(InstanceState.LIVE) for model in self._state.models()}
        for name, count in consumers.items():
            missing = live.get(name, 0) - count
            self._short_polls[name] = self._short_polls[name] + 1 if missing > 0 else 0
            if self._short_polls[name] >= CONSECUTIVE_POLLS:
                self._incidents[name] += self._short_polls[name] == CONSECUTIVE_POLLS
                self._missing[name] = missing
            else:
                self._missing.pop(name, None)
