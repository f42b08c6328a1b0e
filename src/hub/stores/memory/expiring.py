"""A mapping whose items have a lifetime."""

from __future__ import annotations

from heapq import heappop, heappush
from typing import Generic, TypeVar, final

K = TypeVar("K")
V = TypeVar("V")


@final
class Expiring(Generic[K, V]):
    """Items are gone from the moment that they were kept until. The caller says what time it is.

    Expired items are dropped by `keep`, a bounded number at a time, so memory follows what is alive.
    """

    def __init__(self) -> None:
        self._items: dict[K, tuple[float, V]] = {}
        self._queue: list[tuple[float, int, K]] = []
        self._serial = 0

    def __len__(self) -> int:
        return len(self._items)

    def get(self, key: K, now: float) -> V | None:
        until, value = self._items.get(key, (now, None))
        return value if until > now else None

    def keep(self, key: K, value: V, *, until: float, now: float) -> None:
        self._serial += 1
        self._items[key] = (until, value)
        heappush(self._queue, (until, self._serial, key))
        for _ in range(4):  # more than one, so that it catches up; few, so that nobody waits long
            if not self._queue or self._queue[0][0] > now:
                break
            _, _, key = heappop(self._queue)
            if key in self._items and self._items[key][0] <= now:
                del self._items[key]

    def drop(self, key: K) -> None:
        self._items.pop(key, None)
