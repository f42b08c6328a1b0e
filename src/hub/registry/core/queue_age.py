"""Estimate of how long the oldest message of a queue has waited; brokers do not tell without handing the message out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

from hub.ports.broker import QueueDepth
from hub.types import ModelName


@final
class OldestMessageEstimator:
    """Remembers when each queue was last empty. Times are seconds of one monotonic clock."""

    def __init__(self) -> None:
        self._empty_at: dict[ModelName, float] = {}
        self._known_since: dict[ModelName, float] = {}

    def observe(self, depths: Mapping[ModelName, QueueDepth], *, at: float) -> None:
        """Adds one poll of all queues.

        Args:
            depths: The queues that exist; all others are dropped.
            at: When the poll began. A queue that it found empty was so at some moment after that.
        """
        self._known_since = {name: self._known_since.get(name, at) for name in depths}
        self._empty_at = {
            name: at if depth.ready == 0 else self._empty_at[name]
            for name, depth in depths.items()
            if depth.ready == 0 or name in self._empty_at
        }

    def estimate(self, model: ModelName, *, now: float, newest_age: float | None) -> float:
        """Maximum age of the oldest message of a queue with messages, in seconds.

        It was published after the queue was last empty, and, because queues are first in, first out, after the newest
        task that has started. If neither is known (the queue had messages when this process started, and no task has
        started since), the result is the time since then, and the message is older.

        Args:
            model: The model of the queue.
            now: The current time.
            newest_age: Seconds since the creation of the newest task that has started; `None` if not known.
        """
        bounds = [] if newest_age is None else [newest_age]
        if model in self._empty_at:
            bounds.append(now - self._empty_at[model])
        return max(0.0, min(bounds, default=now - self._known_since.get(model, now)))
