"""A bound on the bytes that are on their way at once."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import final

from anyio import Event
from anyio.lowlevel import checkpoint


@dataclass(frozen=True, slots=True)
class ByteBudgetStatistics:
    """`taken` bytes are on their way; `waiting` transfers have not begun."""

    taken: int
    waiting: int


@final
class ByteBudget:
    """Lets transfers begin in their order, while their sizes add up to `limit` bytes at most.

    A transfer that is larger than the limit is made alone.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._taken = 0
        self._queue: deque[tuple[int, Event]] = deque()

    def statistics(self) -> ByteBudgetStatistics:
        return ByteBudgetStatistics(self._taken, len(self._queue))

    @asynccontextmanager
    async def taken(self, size: int) -> AsyncGenerator[None]:
        """Waits for the turn of a transfer of `size` bytes, which is made in the block."""
        turn = (size, Event())
        self._queue.append(turn)
        self._begin()
        try:
            await (turn[1].wait() if not turn[1].is_set() else checkpoint())
            yield
        finally:
            if turn[1].is_set():
                self._taken -= size
            else:
                self._queue.remove(turn)
            self._begin()

    def _begin(self) -> None:
        while self._queue and (not self._taken or self._taken + self._queue[0][0] <= self._limit):
            size, event = self._queue.popleft()
            self._taken += size
            event.set()
