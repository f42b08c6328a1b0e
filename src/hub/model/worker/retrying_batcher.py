"""Concurrent single calls to a server, carried out in batches, and again while the server is away."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from itertools import islice
from typing import Final, Generic, TypeVar, final

from anyio import Event, current_time

from hub.concurrency.notify import Notifier
from hub.concurrency.retrying import AttemptLog, retrying
from hub.concurrency.timeouts import connection_timeout
from hub.errors import HubError

BATCH_LIMIT: Final = 256
"""Items in one batch at most."""

T = TypeVar("T")
R = TypeVar("R")


class NotTaken(Exception):
    """The server did not take an item within the timeout of its batcher."""


@final
class _Entry(Generic[T, R]):
    """An item on its way. Those that gather for the same batch share the event `done`."""

    __slots__ = ("done", "expired", "item", "result", "since")

    def __init__(self, item: T, since: float, done: Event) -> None:
        self.item = item
        self.since = since
        self.done = done
        self.expired = False
        self.result: R | None = None


@final
class RetryingBatcher(Generic[T, R]):
    """Sends the items of concurrent calls to a server in batches; while one is under way the next one gathers.

    A batch that the server does not take (a `HubError`, or no answer) is sent again, together with what has gathered, until
    the timeout of its items. One event wakes all callers of a batch: an event for each of them costs more than its share of
    the round trip.

    Args:
        flush: Sends a batch; returns one result for each item, in order. May be repeated with the same items.
        timeout: Seconds that an item may wait, and that one call of `flush` may take.
        name: What the items are, for the log.
    """

    def __init__(self, flush: Callable[[Sequence[T]], Awaitable[Sequence[R]]], *, timeout: float, name: str) -> None:
        self._flush = flush
        self._timeout = timeout
        self._attempts = AttemptLog(name, failing=f"{name} not taken, trying again")
        self._entries: dict[
            _Entry[T, R], None
        ] = {}  # oldest first; an entry stays in until it has a result or has expired
        self._submitted = Notifier()
        self._gathering = Event()

    def __len__(self) -> int:
        return len(self._entries)

    async def submit(self, item: T) -> R:
        """Sends `item` with the next batch and returns its result. A cancelled call takes the item back, if it can.

        Raises:
            NotTaken: The server did not take the item within the timeout.
        """
        entry: _Entry[T, R] = _Entry(item, current_time(), self._gathering)
        self._entries[entry] = None
        self._submitted.notify()
        try:
            await entry.done.wait()
            while entry in self._entries:  # the batch was full, or others in it have expired
                entry.done = self._gathering
                await entry.done.wait()
        except BaseException:
            self._entries.pop(entry, None)
            raise
        if entry.expired:
            raise NotTaken
        return entry.result  # type: ignore[return-value]  # set before `done`, unless the entry has expired

    async def run(self) -> None:
        """Sends batches until it is cancelled."""
        while True:
            await self._submitted.wait_for(lambda: self._entries)
            await retrying(on=HubError, on_retry=self._attempts.on_retry).call(self._send)
            self._attempts.succeeded()

    async def _send(self) -> None:
        """Sends what has gathered; after a failure that is more, without what has expired."""
        batch = list(islice(self._entries, BATCH_LIMIT))
        self._gathering = Event()
        try:
            with connection_timeout("the server", self._timeout):
                results = await self._flush([entry.item for entry in batch]) if batch else ()
        except HubError:
            self._expire()
            raise
        for entry, result in zip(batch, results, strict=True):
            entry.result = result
            self._end(entry)

    def _expire(self) -> None:
        due = current_time() - self._timeout
        for entry in [entry for entry in self._entries if entry.since <= due]:
            entry.expired = True
            self._end(entry)

    def _end(self, entry: _Entry[T, R]) -> None:
        self._entries.pop(entry, None)  # its caller may have been cancelled meanwhile
        entry.done.set()
