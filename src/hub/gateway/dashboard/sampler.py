"""Samples the overview for everybody who watches it."""

from __future__ import annotations

from typing import Final, final

import msgspec
from anyio import CancelScope, Event, current_time, sleep
from anyio.lowlevel import checkpoint

from hub.gateway.dashboard.overview import Overview
from hub.gateway.dashboard.timeseries import PERIOD, TimeSeries
from hub.gateway.models.catalog import Catalog
from hub.gateway.schemas import OverviewBody

APART: Final = 0.1
"""Seconds between two samples at least, however often the registry's list changes."""


@final
class OverviewSampler:
    """Takes a sample every `PERIOD` seconds, and at once when the registry's list changes.

    It keeps the newest one and the `TimeSeries`. Whoever reads slowly finds the newest sample when it comes for the next; no
    reader has a queue of its own.

    Attributes:
        overview: What it samples.
    """

    def __init__(self, catalog: Catalog, overview: Overview) -> None:
        self.overview = overview
        self._catalog = catalog
        self._history = TimeSeries()
        self._number = 0
        self._next = Event()
        self._sample = b""
        self._encoded_history: tuple[int, bytes] = (-1, b"")

    @property
    def number(self) -> int:
        """Of the newest sample, counting from 1; 0 before the first."""
        return self._number

    @property
    def sample(self) -> bytes:
        """The newest sample, an `OverviewBody` as JSON."""
        return self._sample

    @property
    def history(self) -> bytes:
        """What came before, as a `HistoryBody` in JSON; encoded once for all who ask between two samples."""
        if self._encoded_history[0] != self._number:
            self._encoded_history = self._number, msgspec.json.encode(self._history.body())
        return self._encoded_history[1]

    async def watch(self) -> None:
        """Takes one sample after the other. Never returns."""
        due = current_time()
        while True:
            listed = self._catalog.known
            self._keep(await self.overview.now())
            if due <= current_time():
                due = max(due + PERIOD, current_time())
            await sleep(APART)
            if self._catalog.known is listed:
                with CancelScope(deadline=due):
                    await self._catalog.changed()

    async def newer_than(self, number: int) -> None:
        """Waits for a sample that is not `number`."""
        await checkpoint()
        while self._number == number:
            await self._next.wait()

    def _keep(self, sample: OverviewBody) -> None:
        self._history.add(sample)
        self._sample = msgspec.json.encode(sample)
        self._number += 1
        told, self._next = self._next, Event()
        told.set()
