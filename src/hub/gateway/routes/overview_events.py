"""The overview as a stream of events."""

from __future__ import annotations

from typing import Final, final

from hub.gateway.dashboard.sampler import OverviewSampler
from hub.http.long_polling import LongPollRegistry
from hub.http.sse import comment, event, retry
from hub.http.streaming import RequestBody, Write

HEARTBEAT: Final = 15.0
"""Seconds of silence at most."""

RECONNECT: Final = 1.0
"""Seconds that a client whose stream was cut waits before it connects again."""


@final
class OverviewEvents:
    """Writes an event `history`, then an event `sample` for the newest sample and for each one that follows.

    A client that reads slowly misses samples, and always gets the newest. It ends when the server drains.
    """

    def __init__(self, observer: OverviewSampler, polls: LongPollRegistry) -> None:
        self._observer = observer
        self._polls = polls

    async def __call__(self, _body: RequestBody, write: Write) -> None:
        observer, number = self._observer, 0
        await write(retry(RECONNECT))
        await write(event("history", observer.history))
        while not self._polls.draining:
            with self._polls.hold(HEARTBEAT):
                await observer.newer_than(number)
            if observer.number == number:
                await write(comment("no news"))
            else:
                number = observer.number
                await write(event("sample", observer.sample, number=number))
