"""How long a message can have waited in a queue, from what can be seen: no broker tells it without taking the message."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

from hub.ports.broker import QueueDepth
from hub.types import ModelName


@final
class OldestMessageEstimator:
    """Remembers when each queue was last seen empty. Times are those of one clock that never goes back, in seconds."""

    def __init__(self) -> None:
        self._empty_at: dict[ModelName, float] = {}
        self._known_since: dict[ModelName, float] = {}

    def look(self, depths: Mapping[ModelName, QueueDepth], *, at: float) -> None:
        """Takes in one look at all queues.

        Args:
            depths: The queues that exist; the others are forgotten.
            at: When the look began: what was empty later was so at some moment after that.
        """
        self._known_since = {name: self._known_since.get(name, at) for name in depths}
        self._empty_at = {
            name: at if depth.ready == 0 else self._empty_at[name]
            for name, depth in depths.items()
            if depth.ready == 0 or name in self._empty_at
        }

    def oldest(self, model: ModelName, *, now: float, newest_age: float | None) -> float:
        """Seconds that the oldest message of a queue, which is not empty, has waited at most.

        It came after the queue was last seen empty. And queues hand out the oldest first, so it came after the youngest
        task that has begun to run. If neither is known, which is so for what this process found when it started and
        nobody works on, it is the time since then: the message has waited longer than that.

        Args:
            model: Whose queue.
            now: When.
            newest_age: Seconds since the youngest task was created that has begun to run; `None`: not known.
        """
        bounds = [] if newest_age is None else [newest_age]
        if model in self._empty_at:
            bounds.append(now - self._empty_at[model])
        return max(0.0, min(bounds, default=now - self._known_since.get(model, now)))
