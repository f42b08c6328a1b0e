"""Many concurrent calls, one round trip.

The problem: a thousand tasks each have one record to write, and the server takes a thousand records in one call almost as
fast as one. Collecting them by hand couples tasks that have nothing to do with each other, and waiting for a timer to fill a
batch makes a lone call slow. With a `Batcher` each task calls `submit` with its own item and gets its own result or error,
in straight-line code; underneath, the items that arrive while one batch is under way make the next one.

    async with Batcher(store.create, name="create") as batcher:   # store.create takes many records, returns many results
        ...
        result = await batcher.submit(record)                      # in any task, one record each

A lone call is sent at once, so batching costs no latency when there is nothing to batch. All calls of a batch wait for one
`anyio.Future`: one object and one wake-up for up to `limit` tasks.

Cancellation: a caller that is cancelled before its batch has started takes its item back. Afterwards the item is part of a
call that others share: it is carried out, and its result is dropped. When the block ends, batches that are under way are
cancelled, and their callers, like those that still wait, get `ClosedResourceError`: no caller is left waiting.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, Generic, Self, TypeVar, final

from anyio import AsyncContextManagerMixin, ClosedResourceError, Future, create_task_group, current_time, sleep_until
from typing_extensions import override

from hub.concurrency.notify import Notifier
from hub.concurrency.retrying import DEFAULT_BACKOFF, ExponentialBackoff, Retried, retrying
from hub.errors import ConnectionLost, HubError

T = TypeVar("T")
R = TypeVar("R")

DEFAULT_LIMIT: Final = 256
"""Items in one batch: enough to spread the cost of a round trip, few enough that no item waits long behind the others."""


@dataclass(frozen=True, slots=True)
class BatcherStatistics:
    """What a `Batcher` has done.

    Attributes:
        waiting: Items whose batch has not started.
        batches: Batches that have been started.
        calls: Items in them.
    """

    waiting: int
    batches: int
    calls: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRetry:
    """How the batches of a `Batcher` are retried. A batch may be carried out more than once, so `flush` must allow it.

    Items whose callers have left are not part of the next attempt.

    Attributes:
        seconds: How long an item is retried, from the `submit` of the oldest item of its batch. An attempt is not cut short:
            `flush` bounds each one.
        on: The errors to retry.
        backoff: The pauses between attempts.
        on_retry: Called with an error that is retried and the seconds until the next attempt.
    """

    seconds: float
    on: Retried = ConnectionLost
    backoff: ExponentialBackoff = DEFAULT_BACKOFF
    on_retry: Callable[[Exception, float], None] | None = None


class _Batch(Generic[T, R]):
    """Items by their keys. `due` has those whose callers wait for a limited time; those in `late` have waited for too long."""

    __slots__ = ("done", "due", "items", "last_key", "late", "opened_at")

    def __init__(self) -> None:
        self.items: dict[int, T] = {}
        self.last_key = 0
        self.opened_at = current_time()
        self.done: Future[Mapping[int, R]] = Future()
        self.due: dict[int, float] = {}
        self.late: set[int] = set()

    def expire(self) -> None:
        """Wakes all callers, which look whether they are late; the others wait for the next future."""
        now = current_time()
        late = [key for key, due in self.due.items() if due <= now]
        if late:
            self.late.update(late)
            for key in late:
                del self.due[key]
            before, self.done = self.done, Future()
            before.cancel()


@final
class Batcher(AsyncContextManagerMixin, Generic[T, R]):
    """Carries out concurrent single calls in batches. Use it as an async context manager; call `submit` inside the block.

    A `HubError` of `flush` is raised in each caller of that batch. Any other error is a bug: it ends the block, inside
    an `ExceptionGroup`.

    Args:
        flush: Carries out one batch; returns one result for each item, in order.
        name: For task names.
        limit: Items in one batch at most.
        concurrency: Batches that may be under way at once.
        retry: Whether and how batches that fail are retried; meanwhile later items wait.
        timeout: Seconds that `submit` may take. One task watches all of them, which costs less than a scope for each.
    """

    def __init__(
        self,
        flush: Callable[[Sequence[T]], Awaitable[Sequence[R]]],
        *,
        name: str,
        limit: int = DEFAULT_LIMIT,
        concurrency: int = 1,
        retry: BatchRetry | None = None,
        timeout: float | None = None,
    ) -> None:
        self._flush = flush
        self._name = name
        self._limit = limit
        self._concurrency = concurrency
        self._retry = retry
        self._timeout = timeout
        self._timed: set[_Batch[T, R]] = set()  # those in which a caller waits for a limited time
        self._first_timed = Notifier()
        self._waiting: deque[_Batch[T, R]] = deque()  # none of them is empty, and none but the last has room
        self._idle: list[Notifier] = []  # one for each worker that waits for a batch
        self._open = False
        self._batch_count = 0
        self._call_count = 0

    def statistics(self) -> BatcherStatistics:
        waiting = sum(len(batch.items) for batch in self._waiting)
        return BatcherStatistics(waiting=waiting, batches=self._batch_count, calls=self._call_count)

    async def submit(self, item: T) -> R:
        """Carries `item` out with the next batch; returns its result.

        Raises:
            ClosedResourceError: The block has ended, before or during the call. Whether the item was carried out is unknown.
            HubError: `flush` raised it.
            TimeoutError: It took longer than `timeout`. Like a caller that is cancelled, this one takes its item back if it can.
        """
        if not self._open:
            raise ClosedResourceError
        batch = self._waiting[-1] if self._waiting else None
        if batch is None or len(batch.items) >= self._limit:
            batch = _Batch[T, R]()
            self._waiting.append(batch)
            if self._idle:
                self._idle.pop().notify()  # one worker is enough for one batch
        key = batch.last_key = batch.last_key + 1
        batch.items[key] = item
        try:
            if self._timeout is None:
                await batch.done.wait()
            else:
                await self._wait(batch, key, current_time() + self._timeout)
        except BaseException:
            self._withdraw(batch, key)
            raise
        match batch.done.exception:
            case None:
                return batch.done.return_value[key]
            case HubError() as error:  # one instance per caller: a traceback belongs to one `raise`
                raise type(error)(*error.args) from error
            case error:
                raise ClosedResourceError from error

    @override
    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        try:
            async with create_task_group() as tg:
                self._open = True
                for number in range(self._concurrency):
                    tg.start_soon(self._work, name=f"hub.batcher {self._name} {number}")
                if self._timeout is not None:
                    tg.start_soon(self._watch_time, name=f"hub.batcher {self._name} timeout")
                try:
                    yield self
                finally:
                    self._open = False
                    tg.cancel_scope.cancel("batcher closed")
        finally:
            while self._waiting:
                self._waiting.popleft().done.exception = ClosedResourceError()

    async def _work(self) -> None:
        opened = Notifier()
        while True:
            while not self._waiting:
                self._idle.append(opened)
                await opened.wait()
            batch = self._waiting.popleft()
            self._batch_count += 1
            self._call_count += len(batch.items)
            try:
                batch.done.return_value = await self._carry_out(batch)
            except HubError as error:
                batch.done.exception = error
            except Exception as error:
                batch.done.exception = error
                raise
            except BaseException:  # a cancellation, which belongs to this task
                batch.done.exception = ClosedResourceError()
                raise
            finally:
                self._timed.discard(batch)
            del batch  # its items are not kept until there is another one

    async def _wait(self, batch: _Batch[T, R], key: int, due: float) -> None:
        if not batch.due:
            self._timed.add(batch)
            self._first_timed.notify()
        batch.due[key] = due
        done: Future[Mapping[int, R]] | None = None
        while done is not batch.done:  # the next one, if another caller of the batch was late
            done = batch.done
            await done.wait()
            if key in batch.late:
                raise TimeoutError

    async def _watch_time(self) -> None:
        while True:
            await self._first_timed.wait_for(lambda: self._timed)
            first_due = min(next(iter(batch.due.values())) for batch in self._timed)  # the oldest item of each batch
            await sleep_until(first_due)
            self._expire()

    def _expire(self) -> None:
        for batch in list(self._timed):
            batch.expire()
            if not batch.due:
                self._timed.discard(batch)

    async def _carry_out(self, batch: _Batch[T, R]) -> Mapping[int, R]:
        retry = self._retry
        if retry is None:
            return await self._attempt(batch)
        until = batch.opened_at + retry.seconds
        attempts = retrying(on=retry.on, backoff=retry.backoff, until=until, on_retry=retry.on_retry)
        return await attempts.call(lambda: self._attempt(batch))

    async def _attempt(self, batch: _Batch[T, R]) -> Mapping[int, R]:
        keys = list(batch.items)
        results = await self._flush(list(batch.items.values())) if keys else ()
        return dict(zip(keys, results, strict=True))

    def _withdraw(self, batch: _Batch[T, R], key: int) -> None:
        """Takes back the item of a caller that leaves, if it can."""
        batch.items.pop(key, None)
        if batch.due.pop(key, None) is not None and not batch.due:
            self._timed.discard(batch)
        if not batch.items and batch in self._waiting:
            self._waiting.remove(batch)
