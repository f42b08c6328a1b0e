"""The state of all models, for the dashboard."""

from __future__ import annotations

from typing import Final, final

from anyio.lowlevel import checkpoint

from hub.gateway.dashboard.stats import ModelStats, Quantiles, QueueBacklog, Throughput
from hub.gateway.models.catalog import Catalog
from hub.gateway.schemas import (
    InstanceCountsBody,
    ModelOverviewBody,
    OverviewBody,
    OverviewTotalsBody,
    QuantilesBody,
    QueueOverviewBody,
    ThroughputBody,
    moment,
    rounded,
)
from hub.gateway.tasks.backpressure import POLL_INTERVAL, QueueLimiter
from hub.ports.broker import QueueDepth
from hub.registry.client.snapshot import KnownModel
from hub.types import InstanceState, WallClock, wall_clock

_Facts = tuple[KnownModel, QueueDepth | None, Throughput | None, QueueBacklog | None]

_SLICE: Final = 100
"""Models that are read in one go: 2 ms. Other tasks run in between."""


@final
class Overview:
    """Joins the list and the statistics of the registry with the queue depths of the broker."""

    def __init__(
        self, catalog: Catalog, queues: QueueLimiter, stats: ModelStats, clock: WallClock = wall_clock
    ) -> None:
        self._catalog = catalog
        self._queues = queues
        self._stats = stats
        self._clock = clock
        self._rows: dict[str, tuple[_Facts, ModelOverviewBody]] = {}

    async def now(self) -> OverviewBody:
        """Every model that the registry remembers, by name. A server out of reach is a part of the result, no error."""
        await self._queues.poll(POLL_INTERVAL)
        known, depths = self._catalog.known, self._queues.depths
        rows: dict[str, tuple[_Facts, ModelOverviewBody]] = {}
        for number, name in enumerate(sorted(known)):
            depth, work = (depths or {}).get(name), self._stats.throughput(name)
            facts = known[name], depth, work, self._stats.backlog(name)
            row = self._rows.get(name)
            # Most models are as they were: comparing takes a tenth of the time.
            if row is None or row[0][0] is not facts[0] or row[0][2] is not work or row[0][1:] != facts[1:]:
                row = facts, self._model(*facts)
            rows[name] = row
            if number % _SLICE == _SLICE - 1:
                await checkpoint()
        self._rows = rows
        models = [body for _, body in rows.values()]
        return OverviewBody(
            at=moment(self._clock()),
            registry=self._catalog.connected,
            broker=depths is not None,
            figures=self._stats.is_fresh,
            models=tuple(models),
            totals=OverviewTotalsBody.of(models),
            matching=len(models),
        )

    def _model(
        self, model: KnownModel, depth: QueueDepth | None, work: Throughput | None, backlog: QueueBacklog | None
    ) -> ModelOverviewBody:
        counts = {state: model.instances.get(state, 0) for state in InstanceState}
        return ModelOverviewBody(
            name=model.name,
            active=bool(model.live),
            live=model.live,
            instances=sum(counts.values()),
            states=InstanceCountsBody(
                live=counts[InstanceState.LIVE],
                not_consuming=counts[InstanceState.NOT_CONSUMING],
                suspect=counts[InstanceState.SUSPECT],
                loading=counts[InstanceState.LOADING],
            ),
            fingerprint=model.fingerprint,
            request=model.contract.request,
            response=model.contract.response,
            queue=None if depth is None else _queue(depth, backlog),
            work=None if work is None else self._work(model, work),
            streaming=model.streaming,
            concurrency=model.limits.concurrency,
            max_batch_size=model.limits.max_batch_size,
        )

    def _work(self, model: KnownModel, throughput: Throughput) -> ThroughputBody:
        return ThroughputBody(
            in_flight=throughput.in_flight,
            finished_per_second=rounded(throughput.finished_per_second),
            failed_per_second=rounded(throughput.failed_per_second),
            failed=self._stats.failed(model.name),
            run=_quantiles(throughput.run_time),
            wait=_quantiles(throughput.queue_time),
        )


def _queue(depth: QueueDepth, backlog: QueueBacklog | None) -> QueueOverviewBody:
    """The depth is polled by the gateway; the numbers that the broker does not have are the registry's."""
    return QueueOverviewBody(
        ready=depth.ready,
        consumers=depth.consumers,
        dead=depth.dead,
        unacked=None if backlog is None else backlog.unacked,
        oldest_seconds=None if backlog is None else rounded(backlog.oldest_seconds),
    )


def _quantiles(quantiles: Quantiles) -> QuantilesBody:
    return QuantilesBody(p50=rounded(quantiles.p50), p95=rounded(quantiles.p95))
