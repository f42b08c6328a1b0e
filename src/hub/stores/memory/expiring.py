"""A mapping whose items have a lifetime."""

from __future__ import annotations

from heapq import heappop, heappush
from math import inf
from typing import Final, Generic, TypeVar, final

K = TypeVar("K")
V = TypeVar("V")

WIDTH: Final = 10.0
"""Seconds of the lifetimes that end in one group. Memory of an expired item is free after so long at the latest."""

DROPPED: Final = 4
"""Items dropped by one `keep`: more than one, so that it catches up; few, so that no caller waits long."""


@final
class Expiring(Generic[K, V]):
    """Items are gone from the moment that they were kept until. The caller passes the time.

    Expired items are dropped by `keep`, a bounded number at a time, so memory follows what is alive: an item has one
    place in one group, which it leaves when its lifetime changes.

    Args:
        limit: Items at most; above, those are dropped whose lifetime ends first, give or take `WIDTH`.
    """

    def __init__(self, limit: float = inf) -> None:
        self._limit = limit
        self._items: dict[K, tuple[float, V]] = {}
        self._groups: dict[int, set[K]] = {}
        self._order: list[int] = []

    def __len__(self) -> int:
        return len(self._items)

    def get(self, key: K, now: float) -> V | None:
        until, value = self._items.get(key, (now, None))
        return value if until > now else None

    def keep(self, key: K, value: V, *, until: float, now: float) -> None:
        known = self._items.get(key)
        self._items[key] = (until, value)
        number = int(until // WIDTH)
        before = None if known is None else int(known[0] // WIDTH)
        if before != number:
            if before is not None:
                self._groups[before].discard(key)
            if (group := self._groups.get(number)) is None:
                group = self._groups[number] = set()
                heappush(self._order, number)
            group.add(key)
        if (self._order[0] + 1) * WIDTH <= now or len(self._items) > self._limit:
            self._drop_some(now)

    def drop(self, key: K) -> None:
        item = self._items.pop(key, None)
        if item is not None:
            self._groups[int(item[0] // WIDTH)].discard(key)

    def _drop_some(self, now: float) -> None:
        for _ in range(DROPPED):
            if not self._order or (len(self._items) <= self._limit and (self._order[0] + 1) * WIDTH > now):
                return
            group = self._groups[self._order[0]]
            if group:
                del self._items[group.pop()]
            else:
                del self._groups[heappop(self._order)]
