"""The state of all models at a glance, for the dashboard."""

from __future__ import annotations

from typing import final

from hub.gateway.bodies import ModelOverview, OverviewBody, QueueBody, moment
from hub.gateway.catalog import Catalog
from hub.gateway.queues import PERIOD, Queues
from hub.ports import QueueDepth
from hub.vocabulary import WallClock, wall_clock


@final
class Overview:
    """Joins what the registry tells with what the broker sees."""

    def __init__(self, catalog: Catalog, queues: Queues, clock: WallClock = wall_clock) -> None:
        self._catalog = catalog
        self._queues = queues
        self._clock = clock

    async def now(self) -> OverviewBody:
        """Every model that the registry remembers, by name; a broker out of reach is part of the answer, no error."""
        await self._queues.look(PERIOD)
        known, depths = self._catalog.known, self._queues.depths
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


def _queue(depth: QueueDepth | None) -> QueueBody | None:
    return None if depth is None else QueueBody(ready=depth.ready, consumers=depth.consumers, dead=depth.dead)
