"""What the models have been doing, as the registry adds it up from the answers to its pings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, final

from hub.gateway.rates import Rates, Reading, Work
from hub.vocabulary import ModelName

PERIOD: Final = 2.0
"""Seconds between two looks at the figures. They change with the pings only, every 10 s by default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """What the registry knows of a queue and the broker does not tell; see `hub.gateway.bodies.OverviewQueue`."""

    unacked: int
    oldest_seconds: float


@final
class Figures:
    """The newest figures of the registry, and what follows from the last ones."""

    def __init__(self) -> None:
        self._rates = Rates()
        self._backlogs: Mapping[ModelName, Backlog] = {}
        self._fresh = False

    @property
    def fresh(self) -> bool:
        """Whether the last look succeeded. Without that there is no `work` and no `backlog`."""
        return self._fresh

    def take(self, readings: Mapping[ModelName, Reading], backlogs: Mapping[ModelName, Backlog]) -> None:
        """Takes in what the registry says of all models."""
        self._rates.take(readings)
        self._backlogs = backlogs
        self._fresh = True

    def miss(self) -> None:
        """Notes that the registry could not be asked."""
        self._fresh = False

    def backlog(self, name: ModelName) -> Backlog | None:
        return self._backlogs.get(name) if self._fresh else None

    def work(self, name: ModelName) -> Work | None:
        return self._rates.work(name) if self._fresh else None

    def failed(self, name: ModelName) -> int:
        """Tasks of the model that have failed since this gateway first looked."""
        return self._rates.failed(name)
