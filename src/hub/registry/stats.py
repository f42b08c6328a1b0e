"""Statistics of each model: its queue, and the tasks of its instances."""

from __future__ import annotations

from typing import Final, final

from anyio.lowlevel import checkpoint

from hub.registry.client.schemas import ModelStatsBody, QueueBody, StatsBody
from hub.registry.client.views import ModelStatus
from hub.registry.core.state import RegistryState
from hub.registry.core.stats_aggregator import StatsAggregator
from hub.registry.tasks.queue_monitor import QueueMonitor

_SLICE: Final = 200
"""Models that are read in one go: about 2 ms."""


@final
class StatsService:
    """Joins the statistics of instances with those of the broker, from memory.

    Args:
        state: Models and instances with their last statistics.
        queues: Depths of the queues at the last poll.
        aggregator: Totals since this registry started.
    """

    def __init__(self, state: RegistryState, queues: QueueMonitor, aggregator: StatsAggregator) -> None:
        self._state = state
        self._queues = queues
        self._aggregator = aggregator

    async def all(self) -> StatsBody:
        """The statistics of every known model, by name. Other tasks run meanwhile."""
        at, bodies = self._state.now(), list[ModelStatsBody]()
        for number, model in enumerate(self._state.models(), 1):
            bodies.append(self._of(model))
            if number % _SLICE == 0:
                await checkpoint()
        return StatsBody(at=at, models=tuple(bodies))

    def queue(self, model: ModelStatus) -> QueueBody | None:
        """The queue of a model; `None` while the broker is out of reach, or when the queue does not exist."""
        depth = self._queues.depths.get(model.name)
        if depth is None:
            return None
        newest = self._aggregator.newest_task_created_at(model.name)
        newest_age = None if newest is None else self._state.now() - newest
        oldest = self._queues.oldest_age(model.name, newest_age=newest_age) if depth.ready else 0.0
        return QueueBody(
            ready=depth.ready,
            unacked=sum(each.stats.unacked for each in model.instances if each.stats is not None),
            consumers=depth.consumers,
            dead=depth.dead,
            oldest_seconds=round(oldest, 3),
        )

    def _of(self, model: ModelStatus) -> ModelStatsBody:
        totals = self._aggregator.totals(model.name)
        return ModelStatsBody(
            model=model.name,
            in_flight=sum(each.stats.in_flight for each in model.instances if each.stats is not None),
            outcomes=totals.outcomes,
            queue_time=totals.queue_time,
            run_time=totals.run_time,
            queue=self.queue(model),
        )
