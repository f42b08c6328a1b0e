"""How long the queues are, and whether there is room for one task more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from math import inf
from typing import Final, final

from anyio import Event, current_time, fail_after, move_on_after

from hub.errors import ConnectionLost
from hub.gateway.errors import QueueLimitExceeded
from hub.gateway.models.catalog import Catalog, ServedModel
from hub.gateway.tasks.run_times import MeanRunTimes
from hub.ports.broker import Broker, QueueDepth
from hub.types import ModelName

PERIOD: Final = 1.0
"""Seconds between two looks at the queues."""

AGAIN: Final = 0.1
"""Seconds after which a look is too old to refuse a task by: instances may have taken many since."""

BROKER_TIMEOUT: Final = 2.0
"""Seconds that the broker has to answer; nothing that needs a look is worth a longer wait."""

MIN_RETRY: Final = 1.0
MAX_RETRY: Final = 600.0
"""Seconds that a refused client is told to stay away, at least and at most."""


@final
class QueueLimiter:
    """Looks at the queues of all known models about once a second, for everybody who wants to know how long they are.

    Between two looks it adds what this gateway has accepted since, so that a burst is stopped at the limit and not a
    second later. What other gateways accept, and what instances take, it sees with the next look.

    Args:
        catalog: The models.
        broker: Where their queues are.
        run_times: How long a task takes.
        limit: Messages that may wait in one queue; 0: any number.
    """

    def __init__(self, catalog: Catalog, broker: Broker, run_times: MeanRunTimes, *, limit: int = 0) -> None:
        self._catalog = catalog
        self._broker = broker
        self._run_times = run_times
        self._limit = limit
        self._looking: Event | None = None
        self._looks = 0
        self._looked_at = -inf
        self._depths: Mapping[ModelName, QueueDepth | None] | None = None
        self._under_way = Counter[ModelName]()
        self._accepted = Counter[ModelName]()

    @property
    def depths(self) -> Mapping[ModelName, QueueDepth | None] | None:
        """What the last look saw; a model may be missing that is new. `None` while the broker is out of reach."""
        return self._depths

    async def watch(self) -> None:
        """Looks about once a `PERIOD`, and at once when the registry has something new. Never returns."""
        while True:
            await self.look(AGAIN)
            with move_on_after(PERIOD):
                await self._catalog.changed()

    async def look(self, max_age: float = 0.0) -> None:
        """Looks at the queues now, unless the last look is at most `max_age` seconds old and has all models.

        A broker that cannot be reached is no error; see `depths`.
        """
        # Calls that find a look under way all return when it ends. A lock would let them through one by one, each a round of
        # the event loop after the one before: seconds, when there are hundreds, and most of them for nothing.
        while (looking := self._looking) is not None:
            count = self._looks
            await looking.wait()
            if self._looks > count:  # else it was cancelled
                return
        names = self._catalog.known.keys()
        if current_time() - self._looked_at < max_age and names <= (self._depths or {}).keys():
            return
        self._looking = looking = Event()
        try:
            await self._look(names)
        finally:
            self._looking = None
            looking.set()

    async def _look(self, names: Iterable[ModelName]) -> None:
        accepted = self._accepted.copy()
        try:
            with fail_after(BROKER_TIMEOUT):
                self._depths = await self._broker.depths(names)
        except (ConnectionLost, TimeoutError):
            self._depths = None
        self._looks += 1
        self._looked_at = current_time()
        self._accepted -= accepted  # they are in the queue, or were taken from it

    async def admit(self, model: ServedModel) -> None:
        """Returns if there is room for one task more; at once, unless it seems that there is none.

        Raises:
            QueueLimitExceeded: There is none; says when to come again.
        """
        if self._full(model.name):
            await self.look(AGAIN)
            if self._full(model.name):
                raise self._overloaded(model)

    async def refusal(self, model: ServedModel) -> QueueLimitExceeded:
        """What to tell a client whose task the broker did not take because the queue is full."""
        await self.look(AGAIN)
        return self._overloaded(model)

    @contextmanager
    def place(self, name: ModelName) -> Generator[None]:
        """Counts a task that is being submitted in the block, and when the block ends well until the next look."""
        self._under_way[name] += 1
        try:
            yield
            self._accepted[name] += 1
        finally:
            self._under_way[name] -= 1

    def _waiting(self, name: ModelName) -> int:
        depth = (self._depths or {}).get(name)
        return (0 if depth is None else depth.ready) + self._accepted[name] + self._under_way[name]

    def _full(self, name: ModelName) -> bool:
        return bool(self._limit) and self._waiting(name) >= self._limit

    def _overloaded(self, model: ServedModel) -> QueueLimitExceeded:
        waiting = self._waiting(model.name)
        depth = (self._depths or {}).get(model.name)
        consumers = max(1, model.known.live if depth is None else depth.consumers)
        at_once = consumers * max(1, model.known.limits.concurrency)
        seconds = waiting * self._run_times.mean(model.name) / at_once
        return QueueLimitExceeded(model.name, waiting, min(max(MIN_RETRY, seconds), MAX_RETRY))
