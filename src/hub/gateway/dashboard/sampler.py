"""Samples of the overview: the newest one, and the time series of the last quarter of an hour for the charts."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from math import inf, isnan, nan
from typing import Final, final

import msgspec
from anyio import current_time, move_on_at, sleep
from anyio.lowlevel import checkpoint
from msgspec import Raw

from hub.concurrency.notify import Notifier
from hub.gateway.dashboard.overview import Overview
from hub.gateway.models.catalog import Catalog
from hub.gateway.schemas import ModelOverviewBody, ModelSeriesBody, OverviewBody, TimeSeriesBody, TotalSeriesBody

PERIOD: Final = 2.0
"""Seconds between two samples, as long as nothing changes."""

MIN_INTERVAL: Final = 0.1
"""Seconds between two samples at least, however often the registry's list changes."""

MAX_SAMPLES: Final = 450
"""Samples of fifteen minutes."""

COALESCE_WITHIN: Final = 1.0
"""Seconds: a sample that follows the last one sooner replaces it, so that changes do not shorten the time series."""

MAX_MODELS: Final = 1000
"""Models with a time series; further ones, by name, are in the overview only."""

SERIES: Final = tuple(name for name in ModelSeriesBody.__struct_fields__ if name != "name")


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeSeriesStatistics:
    """How many samples and models are kept, and in how many bytes."""

    samples: int
    models: int
    size: int


@final
class TimeSeries:
    """One column of numbers for each model and chart; `nan` where there was no value.

    A model takes 33 kB: 50 models take 1.6 MB (see the test).
    """

    def __init__(self) -> None:
        self._times = array("d")
        self._totals = {column: array("d") for column in TotalSeriesBody.__struct_fields__}
        self._models: dict[str, dict[str, array[float]]] = {}

    def statistics(self) -> TimeSeriesStatistics:
        columns = [column for model in self._models.values() for column in model.values()]
        size = sum(column.itemsize * len(column) for column in [self._times, *self._totals.values(), *columns])
        return TimeSeriesStatistics(samples=len(self._times), models=len(self._models), size=size)

    def add(self, sample: OverviewBody) -> None:
        """Appends the newest sample, and drops the oldest one of `MAX_SAMPLES`."""
        at = sample.at.timestamp()
        if self._times and at - self._times[-1] < COALESCE_WITHIN:
            self._drop(-1)
        elif len(self._times) == MAX_SAMPLES:
            self._drop(0)
        self._times.append(at)
        for column, totals in self._totals.items():
            total: float | None = getattr(sample.totals, column)
            totals.append(nan if total is None else total)
        models = {model.name: model for model in sample.models}
        for name in models:
            if name not in self._models and len(self._models) < MAX_MODELS:
                empty = [nan] * (len(self._times) - 1)
                self._models[name] = {column: array("d", empty) for column in SERIES}
        for name, columns in self._models.items():
            values = _values(models.get(name))
            for column, value in zip(SERIES, values, strict=True):
                columns[column].append(value)

    def part(self, names: Iterable[str] | None = None) -> TimeSeries:
        """A copy, of the models of these names only."""
        copy = TimeSeries()
        copy._times = self._times[:]
        copy._totals = {column: values[:] for column, values in self._totals.items()}
        for name in sorted(self._models if names is None else names):
            if name in self._models:
                columns = self._models[name].items()
                copy._models[name] = {column: values[:] for column, values in columns}
        return copy

    async def encode(self) -> bytes:
        """All series, a `TimeSeriesBody` as JSON. A model takes half a millisecond (18 kB); other tasks run in between."""
        models: list[Raw] = []
        for name, columns in self._models.items():
            series = ModelSeriesBody(name=name, **{column: _shown(values) for column, values in columns.items()})
            models.append(Raw(msgspec.json.encode(series)))
            await checkpoint()
        totals = TotalSeriesBody(**{column: _shown(values) for column, values in self._totals.items()})
        body = TimeSeriesBody(period=PERIOD, times=tuple(self._times), totals=totals, models=tuple(models))
        return msgspec.json.encode(body)

    def _drop(self, index: int) -> None:
        self._times.pop(index)
        for totals in self._totals.values():
            totals.pop(index)
        for columns in self._models.values():
            for column in columns.values():
                column.pop(index)
        if index == 0:
            # A model without any value left, which the registry does not list any more, makes room.
            self._models = {
                name: columns for name, columns in self._models.items() if not all(isnan(x) for x in columns["live"])
            }


@final
class OverviewSampler:
    """Takes a sample every `PERIOD` seconds, and when the registry's list changes.

    Readers share the newest sample and the `TimeSeries`; none has a queue of its own, so a slow one skips samples.

    Attributes:
        overview: The source of the samples.
    """

    def __init__(self, catalog: Catalog, overview: Overview) -> None:
        self.overview = overview
        self._catalog = catalog
        self._series = TimeSeries()
        self._number = 0
        self._changed = Notifier()
        self._sample: OverviewBody | None = None
        self._encoded = (0, b"")

    @property
    def number(self) -> int:
        """Of the newest sample, counting from 1; 0 before the first."""
        return self._number

    @property
    def sample(self) -> OverviewBody | None:
        """The newest sample; `None` before the first."""
        return self._sample

    @property
    def encoded(self) -> bytes:
        """The newest sample as JSON, encoded once for all readers."""
        if self._encoded[0] != self._number:
            self._encoded = self._number, msgspec.json.encode(self._sample)
        return self._encoded[1]

    async def history(self, names: Iterable[str] | None = None) -> bytes:
        """The time series of these models, or of all, a `TimeSeriesBody` as JSON."""
        return await self._series.part(names).encode()

    async def run(self) -> None:
        """Takes one sample after the other. Never returns."""
        due = current_time()
        while True:
            listed = self._catalog.known
            self._publish(await self.overview.now())
            if due <= current_time():  # a sample because of a change does not move the schedule
                due = max(due + PERIOD, current_time())
            await sleep(MIN_INTERVAL)
            if self._catalog.known is listed:
                with move_on_at(due):
                    await self._catalog.changed()

    async def wait_for_newer(self, number: int) -> None:
        """Waits for a sample that is not `number`."""
        await checkpoint()
        await self._changed.wait_for(lambda: self._number != number)

    def _publish(self, sample: OverviewBody) -> None:
        self._series.add(sample)
        self._sample = sample
        self._number += 1
        self._changed.notify()


def _values(model: ModelOverviewBody | None) -> tuple[float, ...]:
    row: dict[str, float | None] = {}
    if model is not None:
        row["live"] = model.live
        if model.queue is not None:
            row |= {"ready": model.queue.ready, "dead": model.queue.dead, "oldest": model.queue.oldest_seconds}
        if model.work is not None:
            work = model.work
            row |= {"finished": work.finished_per_second, "failing": work.failed_per_second, "failed": work.failed}
            row |= {"run": work.run.p95, "wait": work.wait.p95}
    found = [row.get(column) for column in SERIES]
    return tuple(nan if value is None else value for value in found)


def _shown(values: array[float]) -> tuple[float | None, ...]:
    return tuple(None if isnan(x) else int(x) if x.is_integer() and abs(x) < inf else x for x in values)
