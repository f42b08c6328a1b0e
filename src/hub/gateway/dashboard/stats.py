"""What the models have been doing: what the registry adds up from the answers to its pings, and this gateway's verdicts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, final

import structlog
from anyio import current_time, sleep_until

from hub.errors import ConnectionLost
from hub.gateway.dashboard.throughput import CounterSample, Rates, Throughput
from hub.gateway.models.registry_queries import RegistryQueries, timeout
from hub.registry.client.errors import RegistryRefused
from hub.registry.client.schemas import ModelStatsBody, QueueBody
from hub.types import ModelName, TaskState

PERIOD: Final = 2.0
"""Seconds between two looks at the figures. They change with the pings only, every 10 s by default."""

_log = structlog.get_logger("hub.gateway")


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueBacklog:
    """What the registry knows of a queue and the broker does not tell; see `hub.gateway.schemas.OverviewQueue`."""

    unacked: int
    oldest_seconds: float


@final
class ModelStats:
    """The newest figures of the registry, and what follows from the last ones.

    Args:
        registry: Knows what instances have done.
        verdicts: Outcomes that tasks got from this gateway, which no instance counts; see `Dispatch.verdicts`. What other
            gateways decide is not to be seen here.
    """

    def __init__(self, registry: RegistryQueries, verdicts: Mapping[tuple[ModelName, TaskState], int]) -> None:
        self._registry = registry
        self._verdicts = verdicts
        self._rates = Rates()
        self._backlogs: Mapping[ModelName, QueueBacklog] = {}
        self._fresh = False

    @property
    def fresh(self) -> bool:
        """Whether the last look succeeded. Without that there is no `work` and no `backlog`."""
        return self._fresh

    async def watch(self) -> None:
        """Looks every `PERIOD` seconds. Never returns; a registry that cannot be asked is no error."""
        due = current_time()
        while True:
            try:
                with timeout():
                    body = await self._registry.stats()
            except (ConnectionLost, RegistryRefused) as error:
                self.miss(str(error))
            else:
                self.take(
                    {ModelName(figures.model): self._reading(body.at, figures) for figures in body.models},
                    {ModelName(figures.model): _backlog(figures.queue) for figures in body.models if figures.queue},
                )
            due = max(due + PERIOD, current_time())
            await sleep_until(due)

    def take(self, readings: Mapping[ModelName, CounterSample], backlogs: Mapping[ModelName, QueueBacklog]) -> None:
        """Takes in what the registry says of all models."""
        self._rates.take(readings)
        self._backlogs = backlogs
        self._fresh = True

    def miss(self, reason: str) -> None:
        """Notes that the registry could not be asked."""
        if self._fresh:
            _log.warning("the registry's figures cannot be read", reason=reason)
        self._fresh = False

    def backlog(self, name: ModelName) -> QueueBacklog | None:
        return self._backlogs.get(name) if self._fresh else None

    def work(self, name: ModelName) -> Throughput | None:
        return self._rates.work(name) if self._fresh else None

    def failed(self, name: ModelName) -> int:
        """Tasks of the model that have failed since this gateway first looked."""
        return self._rates.failed(name)

    def _reading(self, at: float, figures: ModelStatsBody) -> CounterSample:
        outcomes = {
            state: figures.outcomes.get(state, 0) + self._verdicts.get((ModelName(figures.model), state), 0)
            for state in TaskState
            if state.terminal
        }
        return CounterSample(
            at=at, in_flight=figures.in_flight, outcomes=outcomes, waited=figures.queue_time, ran=figures.run_time
        )


def _backlog(queue: QueueBody) -> QueueBacklog:
    return QueueBacklog(unacked=queue.unacked, oldest_seconds=queue.oldest_seconds)
