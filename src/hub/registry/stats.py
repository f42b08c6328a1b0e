"""Each model in figures: its queue, and what its instances do and have done. From memory, so that nobody has to wait."""

from __future__ import annotations

from typing import final

from hub.registry.client.schemas import ModelStatsBody, QueueBody, StatsBody
from hub.registry.client.views import ModelStatus
from hub.registry.core.state import RegistryState
from hub.registry.core.stats_aggregator import StatsAggregator
from hub.registry.tasks.queue_monitor import QueueMonitor
from hub.types import ModelName, WallClock, wall_clock


@final
class StatsService:
    """Joins what instances say with what the broker says.

    Args:
        roll: Which models and instances there are, and what each of them said last.
        depths: What the broker said last.
        totals: What instances have said since this registry began.
        clock: Where Unix time comes from.
    """

    def __init__(
        self, roll: RegistryState, depths: QueueMonitor, totals: StatsAggregator, clock: WallClock = wall_clock
    ) -> None:
        self._roll = roll
        self._depths = depths
        self._totals = totals
        self._clock = clock

    def now(self) -> StatsBody:
        """Every known model, by name."""
        return StatsBody(at=self._clock(), models=tuple(map(self._of, self._roll.table.models())))

    def queue(self, model: ModelStatus) -> QueueBody | None:
        """The queue of a model; `None` while the broker is out of reach, or when there is no such queue."""
        depth = self._depths.latest.get(model.name)
        if depth is None:
            return None
        return QueueBody(
            ready=depth.ready,
            unacked=sum(status.stats.unacked for status in model.instances if status.stats is not None),
            consumers=depth.consumers,
            dead=depth.dead,
            oldest_seconds=round(self._oldest(model.name), 3) if depth.ready else 0.0,
        )

    def _of(self, model: ModelStatus) -> ModelStatsBody:
        totals = self._totals.totals(model.name)
        return ModelStatsBody(
            model=model.name,
            in_flight=sum(status.stats.in_flight for status in model.instances if status.stats is not None),
            outcomes=totals.outcomes,
            queue_time=totals.queue_time,
            run_time=totals.run_time,
            queue=self.queue(model),
        )

    def _oldest(self, model: ModelName) -> float:
        newest = self._totals.totals(model).newest_task_created_at
        return self._depths.oldest(model, newest_age=None if newest is None else self._clock() - newest)
