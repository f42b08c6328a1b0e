"""The state of all models at a glance, for the dashboard."""

from __future__ import annotations

from typing import final

from hub.gateway.dashboard.stats import ModelStats, QueueBacklog
from hub.gateway.dashboard.throughput import Quantiles
from hub.gateway.models.catalog import Catalog
from hub.gateway.schemas import (
    ModelOverview,
    OverviewBody,
    OverviewQueue,
    QuantilesBody,
    StatesBody,
    WorkBody,
    moment,
    rounded,
)
from hub.gateway.tasks.backpressure import PERIOD, QueueLimiter
from hub.ports.broker import QueueDepth
from hub.registry.client.snapshot import KnownModel
from hub.types import InstanceState, WallClock, wall_clock


@final
class Overview:
    """Joins what the registry tells with what the broker sees."""

    def __init__(
        self, catalog: Catalog, queues: QueueLimiter, figures: ModelStats, clock: WallClock = wall_clock
    ) -> None:
        self._catalog = catalog
        self._queues = queues
        self._figures = figures
        self._clock = clock

    async def now(self) -> OverviewBody:
        """Every model that the registry remembers, by name; a server out of reach is part of the answer, no error."""
        await self._queues.look(PERIOD)
        known, depths = self._catalog.known, self._queues.depths
        return OverviewBody(
            at=moment(self._clock()),
            registry=self._catalog.connected,
            broker=depths is not None,
            figures=self._figures.fresh,
            models=tuple(self._model(known[name], (depths or {}).get(name)) for name in sorted(known)),
        )

    def _model(self, model: KnownModel, depth: QueueDepth | None) -> ModelOverview:
        counts = {state: model.instances.get(state, 0) for state in InstanceState}
        return ModelOverview(
            name=model.name,
            active=bool(model.live),
            live=model.live,
            instances=sum(counts.values()),
            states=StatesBody(
                live=counts[InstanceState.LIVE],
                not_consuming=counts[InstanceState.NOT_CONSUMING],
                suspect=counts[InstanceState.SUSPECT],
                loading=counts[InstanceState.LOADING],
            ),
            fingerprint=model.fingerprint,
            request=model.contract.request,
            response=model.contract.response,
            queue=None if depth is None else _queue(depth, self._figures.backlog(model.name)),
            work=self._work(model),
        )

    def _work(self, model: KnownModel) -> WorkBody | None:
        work = self._figures.work(model.name)
        if work is None:
            return None
        return WorkBody(
            in_flight=work.in_flight,
            finished_per_second=rounded(work.finished_per_second),
            failed_per_second=rounded(work.failed_per_second),
            failed=self._figures.failed(model.name),
            run=_quantiles(work.ran),
            wait=_quantiles(work.waited),
        )


def _queue(depth: QueueDepth, told: QueueBacklog | None) -> OverviewQueue:
    """Depths are our own look, a second old at most; what the broker does not tell is the registry's."""
    return OverviewQueue(
        ready=depth.ready,
        consumers=depth.consumers,
        dead=depth.dead,
        unacked=None if told is None else told.unacked,
        oldest_seconds=None if told is None else rounded(told.oldest_seconds),
    )


def _quantiles(quantiles: Quantiles) -> QuantilesBody:
    return QuantilesBody(p50=rounded(quantiles.p50), p95=rounded(quantiles.p95))
