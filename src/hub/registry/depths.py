"""How long the queues of the models are, looked up in the background so that nobody who asks has to wait."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, final

import structlog
from anyio import current_time, fail_after, sleep_until

from hub.errors import HubError
from hub.ports import Broker, QueueDepth
from hub.registry.ages import QueueAges
from hub.registry.roll import Roll
from hub.vocabulary import ModelName, WallClock, wall_clock

BROKER_PATIENCE: Final = 5.0
"""Seconds that one look may take before the broker counts as lost."""

_log = structlog.get_logger("hub.registry.depths")


@final
class QueueDepths:
    """The depth of the queue of each model that was ever here: tasks may wait where no instance is left.

    Args:
        roll: Which models there are.
        broker: Where their queues are.
        period: Seconds between two looks.
        on_look: Told after each look how many consumers each queue has (none, if it does not exist), and when the look
            began, in Unix seconds.
        clock: Where Unix time comes from.
    """

    def __init__(
        self,
        roll: Roll,
        broker: Broker,
        *,
        period: float,
        on_look: Callable[[Mapping[ModelName, int], float], None] = lambda _consumers, _began: None,
        clock: WallClock = wall_clock,
    ) -> None:
        self._roll = roll
        self._broker = broker
        self._period = period
        self._on_look = on_look
        self._clock = clock
        self._depths: Mapping[ModelName, QueueDepth] = {}
        self._ages = QueueAges()
        self._linked = True

    @property
    def linked(self) -> bool:
        """Whether the broker answered when it was last asked."""
        return self._linked

    @property
    def blocked(self) -> str | None:
        """Why the broker takes no messages at present, in its own words; see `hub.ports.BrokerStatistics.blocked`."""
        return self._broker.statistics().blocked

    @property
    def latest(self) -> Mapping[ModelName, QueueDepth]:
        """What the last look saw; empty after one that failed, because an old figure is worse than none."""
        return self._depths

    def oldest(self, model: ModelName, *, newest_age: float | None) -> float:
        """Seconds that the oldest message of a queue, which is not empty, has waited at most; see `QueueAges.oldest`."""
        return self._ages.oldest(model, now=current_time(), newest_age=newest_age)

    async def run(self) -> None:
        """Looks once a period until cancelled, however often the broker goes away."""
        due = current_time()
        while True:
            try:
                self._depths = await self._look()
            except (HubError, TimeoutError) as error:
                self._depths = {}
                if self._linked:
                    _log.warning("queue depths are unknown", reason=str(error) or "the broker does not answer")
                self._linked = False
            else:
                self._linked = True
            due = max(due + self._period, current_time())
            await sleep_until(due)

    async def _look(self) -> Mapping[ModelName, QueueDepth]:
        names = [model.name for model in self._roll.table.models()]
        if not names:
            return {}
        with fail_after(BROKER_PATIENCE):
            at, began = current_time(), self._clock()
            found = await self._broker.depths(names)
        depths = {name: depth for name, depth in found.items() if depth is not None}
        self._ages.look(depths, at=at)
        self._on_look({name: 0 if depth is None else depth.consumers for name, depth in found.items()}, began)
        return depths
