"""The state of all models at a glance, for the dashboard."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import Final, final

from anyio import Lock, current_time, fail_after

from hub.errors import LinkLost
from hub.gateway.bodies import ModelOverview, OverviewBody, QueueBody, moment
from hub.gateway.catalog import Catalog
from hub.ports import Broker, QueueDepth
from hub.vocabulary import ModelName, WallClock, wall_clock

FRESH: Final = 1.0
"""Seconds for which one look at the queues serves everybody who asks."""

BROKER_PATIENCE: Final = 2.0
"""Seconds that the broker has to answer; whoever looks at a dashboard would rather see the rest than wait longer."""


@final
class Overview:
    """Joins what the registry tells with what the broker sees."""

    def __init__(self, catalog: Catalog, broker: Broker, clock: WallClock = wall_clock) -> None:
        self._catalog = catalog
        self._broker = broker
        self._clock = clock
        self._lock = Lock()
        self._looked_at = -inf
        self._depths: Mapping[ModelName, QueueDepth | None] | None = None

    async def now(self) -> OverviewBody:
        """Every model that the registry remembers, by name; a broker out of reach is part of the answer, no error."""
        known = self._catalog.known
        depths = await self._look(known)
        return OverviewBody(
            at=moment(self._clock()),
            registry=self._catalog.connected,
            broker=depths is not None,
            models=tuple(
                ModelOverview(
                    name=name,
                    active=bool(known[name].live),
                    live=known[name].live,
                    instances=sum(known[name].instances.values()),
                    queue=_queue((depths or {}).get(name)),
                )
                for name in sorted(known)
            ),
        )

    async def _look(self, names: Mapping[ModelName, object]) -> Mapping[ModelName, QueueDepth | None] | None:
        async with self._lock:
            if current_time() - self._looked_at >= FRESH or (self._depths or {}).keys() != names.keys():
                try:
                    with fail_after(BROKER_PATIENCE):
                        self._depths = await self._broker.depths(names)
                except (LinkLost, TimeoutError):
                    self._depths = None
                self._looked_at = current_time()
            return self._depths


def _queue(depth: QueueDepth | None) -> QueueBody | None:
    return None if depth is None else QueueBody(ready=depth.ready, consumers=depth.consumers)
