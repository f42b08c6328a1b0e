"""Gathers the requests of concurrent tasks into batches, one call of the model each. It knows neither models nor tasks.

Unlike `hub.concurrency.batching.Batcher`, which sends a lone item at once because a call to a server is cheap, this one
waits for a batch to fill, and cancels a call that no item needs any more.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from math import inf
from types import TracebackType
from typing import Final, Generic, Self, TypeAlias, TypeVar, final

from anyio import (
    AsyncContextManagerMixin,
    CancelScope,
    ClosedResourceError,
    Event,
    create_task_group,
    current_effective_deadline,
    current_time,
)
from anyio.abc import TaskGroup
from typing_extensions import override

from hub.concurrency.notify import Notifier
from hub.histogram import SIZES, Histogram, HistogramSnapshot

T = TypeVar("T")
R = TypeVar("R")

DEADLINE_SHARE: Final = 0.5
"""Share of the time to its deadline that an item waits for others, at most: the rest is for the call."""

WAITS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)
"""Upper bounds of the buckets of waits in seconds: finer than those of runs, because a good wait is a few milliseconds."""

OnAbandoned: TypeAlias = Callable[[Event], None]
"""Called when a call goes on although it was cancelled, with an event that is set when it ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchStatistics:
    """What a `DynamicBatcher` has done.

    Attributes:
        waiting: Items whose batch has not started.
        running: Batches that are under way.
        size: Items of each batch that was started.
        wait: Seconds from the `submit` of an item to the start of its batch.
    """

    waiting: int
    running: int
    size: HistogramSnapshot
    wait: HistogramSnapshot


@final
class _GatheredBatch(Generic[T, R]):
    """Items that are processed together.

    Attributes:
        limit: Number of items at which it is full.
        items: By key; without those whose callers have left.
        joined_at: When each of them was submitted.
        send_by: When it is started, although it is not full.
        gathering: Ends at `send_by`, while the batch is the next one.
        call: The scope of the call; `None` before it starts.
        done: Set when there are results, or an error.
        ended: Set when the call is over, which may be later if it was abandoned.
    """

    __slots__ = (
        "call",
        "done",
        "ended",
        "error",
        "gathering",
        "items",
        "joined_at",
        "limit",
        "results",
        "send_by",
        "trace",
    )

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.items: dict[int, T] = {}
        self.joined_at: list[float] = []
        self.send_by = inf
        self.gathering: CancelScope | None = None
        self.call: CancelScope | None = None
        self.done = Event()
        self.ended = Event()
        self.results: dict[int, R | Exception] = {}
        self.error: Exception | None = None
        self.trace: TracebackType | None = None

    @property
    def full(self) -> bool:
        return len(self.items) >= self.limit

    def add(self, item: T, now: float, send_by: float) -> int:
        key = len(self.joined_at)
        self.joined_at.append(now)
        self.items[key] = item
        if send_by < self.send_by:
            self.send_by = send_by
            if self.gathering is not None:
                self.gathering.deadline = send_by
        return key

    def result(self, key: int) -> R:
        """The result of an item, or what its place has instead of one."""
        result = self.results.get(key, self.error)
        try:
            if isinstance(result, Exception):
                # The error of a call is raised once for each item: each time from where the model raised it.
                raise result.with_traceback(self.trace if result is self.error else result.__traceback__)
            return result  # type: ignore[return-value]  # `done` is set when there are results for all items, or an error
        finally:
            del result  # no cycle of an error and this frame


@final
class DynamicBatcher(AsyncContextManagerMixin, Generic[T, R]):
    """Processes items of concurrent callers in batches. Use it as an async context manager; call `submit` inside the block.

    A batch is started when it is full, when its first item has waited for `wait` seconds, or when one of its items has
    waited for half of the time to its deadline; and then as soon as fewer than `concurrency` calls are under way.

    A caller that is cancelled leaves its batch; the others do not notice. When all have left, the call is cancelled. When
    the block ends, calls are cancelled, and callers that still wait get `ClosedResourceError`.

    Args:
        process: Processes the items of one batch; returns a result or an exception for each, in order. What it raises is
            raised in all callers. Its second argument is to be called if the call goes on after a cancellation: it then
            counts as under way until it has ended.
        name: For task names.
        limit: Items in one batch at most.
        wait: Seconds that an item waits for others at most.
        concurrency: Calls that may be under way at once.
    """

    def __init__(
        self,
        process: Callable[[Sequence[T], OnAbandoned], Awaitable[Sequence[R | Exception]]],
        *,
        name: str,
        limit: int,
        wait: float,
        concurrency: int,
    ) -> None:
        self._process = process
        self._name = name
        self._limit = limit
        self._wait = wait
        self._concurrency = concurrency
        self._waiting: deque[_GatheredBatch[T, R]] = deque()  # none is empty; items are added to the last one
        self._changed = Notifier()
        self._running = 0
        self._open = False
        self._flushing = False
        self._sizes = Histogram(SIZES)
        self._waits = Histogram(WAITS)

    def statistics(self) -> BatchStatistics:
        return BatchStatistics(
            waiting=sum(len(batch.items) for batch in self._waiting),
            running=self._running,
            size=self._sizes.snapshot(),
            wait=self._waits.snapshot(),
        )

    def flush(self) -> None:
        """From now on batches do not wait to be filled."""
        self._flushing = True
        self._changed.notify()

    async def submit(self, item: T, on_abandoned: OnAbandoned, *, alone: bool = False) -> R:
        """Processes `item` in a batch, and returns its result.

        Args:
            item: The item.
            on_abandoned: Called on cancellation if the call of its batch is under way, with an event that is set when it
                ends.
            alone: In a batch without others.

        Raises:
            Exception: The one in the place of its result, or the one that `process` raised.
            ClosedResourceError: The block has ended, before or during the call.
        """
        if not self._open:
            raise ClosedResourceError
        batch = self._waiting[-1] if self._waiting else None
        if batch is None or batch.full or alone:
            batch = _GatheredBatch[T, R](1 if alone else self._limit)
            self._waiting.append(batch)
        now = current_time()
        deadline = current_effective_deadline()
        send_by = now + self._wait
        if now < deadline < inf:
            send_by = min(send_by, now + (deadline - now) * DEADLINE_SHARE)
        key = batch.add(item, now, send_by)
        if len(batch.joined_at) == 1 or batch.full:
            self._changed.notify()
        try:
            await batch.done.wait()
        except BaseException:
            self._leave(batch, key)
            if batch.call is not None and not batch.ended.is_set():
                on_abandoned(batch.ended)
            raise
        return batch.result(key)

    def _leave(self, batch: _GatheredBatch[T, R], key: int) -> None:
        del batch.items[key]
        if batch.items:
            return
        if batch.call is not None:
            batch.call.cancel("all callers have left")
        elif batch in self._waiting:
            self._waiting.remove(batch)
            self._changed.notify()

    @override
    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        try:
            async with create_task_group() as tg:
                self._open = True
                tg.start_soon(self._start_batches, tg, name=f"hub.batches {self._name}")
                try:
                    yield self
                finally:
                    self._open = False
                    tg.cancel_scope.cancel("batcher closed")
        finally:
            while self._waiting:
                batch = self._waiting.popleft()
                batch.error = ClosedResourceError()
                batch.done.set()

    async def _start_batches(self, tg: TaskGroup) -> None:
        while True:
            await self._changed.wait_for(lambda: self._waiting and self._running < self._concurrency)
            batch = self._waiting[0]
            with CancelScope(deadline=batch.send_by) as batch.gathering:
                await self._changed.wait_for(partial(self._is_ready, batch))
            if batch.items:  # otherwise it is not in the queue any more
                self._waiting.popleft()
                self._running += 1
                batch.call = CancelScope()
                tg.start_soon(self._call, batch, batch.call, name=f"hub.batch {self._name}")

    def _is_ready(self, batch: _GatheredBatch[T, R]) -> bool:
        return self._flushing or len(self._waiting) > 1 or batch.full or not batch.items

    async def _call(self, batch: _GatheredBatch[T, R], scope: CancelScope) -> None:
        abandoned: list[Event] = []
        try:
            if batch.items:  # otherwise all callers have left since it was started
                keys, items = list(batch.items), list(batch.items.values())
                self._count(batch)
                with scope:
                    batch.results = dict(zip(keys, await self._process(items, abandoned.append), strict=True))
            for ended in abandoned:
                await ended.wait()
        except Exception as error:  # noqa: BLE001 - it is raised in all callers
            batch.error, batch.trace = error, error.__traceback__
        finally:
            if not batch.results:
                batch.error = batch.error or ClosedResourceError()
            batch.done.set()
            batch.ended.set()
            self._running -= 1
            self._changed.notify()

    def _count(self, batch: _GatheredBatch[T, R]) -> None:
        now = current_time()
        self._sizes.observe(len(batch.items))
        for key in batch.items:
            self._waits.observe(now - batch.joined_at[key])
