"""Limits the length of the queues: refuses a submit when the queue of its model is full."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, suppress
from math import inf
from types import TracebackType
from typing import Final, final

from anyio import CancelScope, Event, current_time, move_on_after
from typing_extensions import override

from hub.concurrency.timeouts import connection_timeout
from hub.errors import ConnectionLost
from hub.gateway.errors import QueueLimitExceeded
from hub.gateway.models.catalog import Catalog, ServedModel
from hub.ports.broker import Broker, QueueDepth
from hub.task import TaskRecord
from hub.types import ModelName

POLL_INTERVAL: Final = 1.0
"""Seconds between two polls of the depths."""

FULL_POLL_INTERVAL: Final = 0.05
"""Seconds between two polls while tasks are refused: short, so that a queue with room again is not refused for long."""

MAX_AGE_TO_REFUSE: Final = 0.1
"""Seconds after which a depth is too old to refuse a task by: instances may have received many since."""

BROKER_TIMEOUT: Final = 2.0
"""Seconds that the broker has to answer; no use of the depths is worth a longer wait."""

MIN_RETRY: Final = 1.0
MAX_RETRY: Final = 600.0
"""Bounds of the seconds after which a refused client should send its task again."""

ALPHA: Final = 0.1
"""The weight of one more run in the moving mean: after some twenty runs a model has a new mean."""

DEFAULT_RUN_TIME: Final = 1.0
"""Seconds of a run before one was observed."""


@final
class MeanRunTimes:
    """An exponentially weighted moving mean of the run times of each model that was served."""

    def __init__(self) -> None:
        self._means: dict[ModelName, float] = {}
        self._last_ends: dict[ModelName, float] = {}

    def observe(self, record: TaskRecord) -> None:
        """Adds the run of a task that has ended; a record that is observed again counts once."""
        outcome = record.outcome
        if outcome is None or outcome.started_at is None:
            return
        if outcome.finished_at > self._last_ends.get(record.model, 0.0):
            self._last_ends[record.model] = outcome.finished_at
            seconds = max(0.0, outcome.finished_at - outcome.started_at)
            mean = self._means.get(record.model, seconds)
            self._means[record.model] = mean + ALPHA * (seconds - mean)

    def mean(self, model: ModelName) -> float:
        """Seconds that a run of the model takes."""
        return self._means.get(model, DEFAULT_RUN_TIME)


@final
class QueueLimiter:
    """Polls the depths of the queues of all known models about once a second, and limits them.

    Between two polls it adds the tasks that this gateway has accepted since, so that a burst is stopped at the limit and
    not a second later. Tasks that other gateways accept, and those that instances receive, show at the next poll.

    Args:
        catalog: The models.
        broker: Where their queues are.
        run_times: For the time until a queue has room again.
        limit: Messages that may wait in one queue; 0: any number.
    """

    def __init__(self, catalog: Catalog, broker: Broker, run_times: MeanRunTimes, *, limit: int = 0) -> None:
        self._catalog = catalog
        self._broker = broker
        self._run_times = run_times
        self._limit = limit
        self._polling: Event | None = None
        self._polls = 0
        self._polled_at = -inf
        self._pause: CancelScope | None = None
        self._depths: Mapping[ModelName, QueueDepth | None] | None = None
        self._under_way = Counter[ModelName]()
        self._accepted = Counter[ModelName]()

    @property
    def depths(self) -> Mapping[ModelName, QueueDepth | None] | None:
        """The depths of the last poll, without models that are new since; `None` while the broker is out of reach."""
        return self._depths

    async def run(self) -> None:
        """Polls about once a `POLL_INTERVAL`, and new models when the list of models has changed. Never returns.

        A refusal makes the next poll come after a `FULL_POLL_INTERVAL`, so that further ones need not wait for one.
        """
        while True:
            await self.poll(FULL_POLL_INTERVAL / 2)
            with move_on_after(POLL_INTERVAL) as self._pause:
                while True:
                    await self._catalog.changed()
                    await self.poll(POLL_INTERVAL)

    async def poll(self, max_age: float = 0.0) -> None:
        """Reads the depths, unless the last poll is at most `max_age` seconds old or ends meanwhile.

        If it is and lacks new models, these are read.

        A broker out of reach is no error; see `depths`.
        """
        # Callers that find a poll under way all return when it ends. A lock would let them through one by one, each a round
        # of the event loop after the one before: seconds, when there are hundreds, and most of them for nothing.
        while (polling := self._polling) is not None:
            count = self._polls
            await polling.wait()
            if max_age and self._polls > count:  # else it was cancelled, or began too early
                return
        known = self._depths
        recent = current_time() - self._polled_at < max_age
        new = self._catalog.known.keys() - (known or {}).keys()
        if recent and not new:
            return
        self._polling = polling = Event()
        try:
            await (self._read_new(new, known) if recent and known is not None else self._read_depths())
        finally:
            self._polling = None
            polling.set()

    def known_full(self, name: ModelName) -> QueueLimitExceeded | None:
        """The error for a task that would be sent now, if the last poll is recent enough to refuse by; else `None`."""
        if not self._full(name) or current_time() - self._polled_at > MAX_AGE_TO_REFUSE:
            return None
        model = self._catalog.get(name)
        return None if model is None else self._limit_error(model)

    async def admit(self, model: ServedModel) -> None:
        """Returns if the queue has room for one more task; without a poll, unless it seems to be full.

        Raises:
            QueueLimitExceeded: It is full; has the time after which to try again.
        """
        if self._full(model.name):
            await self.poll(MAX_AGE_TO_REFUSE)
            if self._full(model.name):
                raise self._limit_error(model)

    async def rejection(self, model: ServedModel) -> QueueLimitExceeded:
        """The error for a client whose task the broker has rejected because the queue is full."""
        await self.poll(MAX_AGE_TO_REFUSE)
        return self._limit_error(model)

    def reserve_slot(self, name: ModelName) -> AbstractContextManager[None]:
        """Counts a task that is submitted in the block, and after a block without an error until the next poll."""
        return _Slot(name, self._under_way, self._accepted)

    async def _read_depths(self) -> None:
        """Reads the depths of all known models."""
        accepted = self._accepted.copy()
        self._depths = await self._look(self._catalog.known.keys())
        self._polled_at = current_time()
        self._accepted -= accepted  # they are in the queue, or were received from it

    async def _read_new(self, names: Iterable[ModelName], known: Mapping[ModelName, QueueDepth | None]) -> None:
        """Adds the depths of new models to those of the last poll: a change of one model does not cost a poll of all."""
        accepted = Counter({name: self._accepted[name] for name in names})
        found = await self._look(names)
        self._depths = None if found is None else {**known, **found}
        self._accepted -= accepted

    async def _look(self, names: Iterable[ModelName]) -> Mapping[ModelName, QueueDepth | None] | None:
        """The depths of some queues; `None` if the broker is out of reach."""
        found: Mapping[ModelName, QueueDepth | None] | None = None
        with suppress(ConnectionLost), connection_timeout("the broker", BROKER_TIMEOUT):
            found = await self._broker.depths(names)
        self._polls += 1
        return found

    def _waiting(self, name: ModelName) -> int:
        depth = (self._depths or {}).get(name)
        return (0 if depth is None else depth.ready) + self._accepted[name] + self._under_way[name]

    def _full(self, name: ModelName) -> bool:
        return bool(self._limit) and self._waiting(name) >= self._limit

    def _limit_error(self, model: ServedModel) -> QueueLimitExceeded:
        soon = current_time() + FULL_POLL_INTERVAL
        if self._pause is not None and self._pause.deadline > soon:  # to set a deadline costs more than to read it
            self._pause.deadline = soon
        waiting = self._waiting(model.name)
        depth = (self._depths or {}).get(model.name)
        consumers = max(1, model.known.live if depth is None else depth.consumers)
        limits = model.known.limits
        concurrent_runs = consumers * max(1, limits.concurrency * limits.max_batch_size)
        seconds = waiting * self._run_times.mean(model.name) / concurrent_runs
        return QueueLimitExceeded(model.name, waiting, min(max(MIN_RETRY, seconds), MAX_RETRY))


@final
class _Slot(AbstractContextManager[None]):
    """The block of `QueueLimiter.reserve_slot`; a class, since a generator costs twice as much."""

    __slots__ = ("_accepted", "_name", "_under_way")

    def __init__(self, name: ModelName, under_way: Counter[ModelName], accepted: Counter[ModelName]) -> None:
        self._name = name
        self._under_way = under_way
        self._accepted = accepted

    @override
    def __enter__(self) -> None:
        self._under_way[self._name] += 1

    @override
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._under_way[self._name] -= 1
        if kind is None:
            self._accepted[self._name] += 1
