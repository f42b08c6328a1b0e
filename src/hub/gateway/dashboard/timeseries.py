"""The last quarter of an hour of the overview, so that a page that was just opened has its charts at once."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from math import inf, isnan, nan
from typing import Final, final

from hub.gateway.schemas import ModelHistory, ModelOverview, OverviewBody, TimeSeriesBody

PERIOD: Final = 2.0
"""Seconds between two samples, as long as nothing changes."""

KEPT: Final = 450
"""Samples: fifteen minutes of them."""

CLOSE: Final = 1.0
"""Seconds: a sample that comes sooner after the one before takes its place, so that changes do not shorten the history."""

MAX_MODELS: Final = 500
"""Models whose history is kept; the rest, by name, are in the overview only."""

COLUMNS: Final = tuple(name for name in ModelHistory.__struct_fields__ if name != "name")


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeSeriesStatistics:
    """How many samples and models are kept, and in how many bytes."""

    samples: int
    models: int
    size: int


@final
class TimeSeries:
    """One column of numbers for each model and chart; `nan` where there was nothing to tell.

    It takes 33 kB for each model: 1.6 MB for 50 of them (see the test).
    """

    def __init__(self) -> None:
        self._times = array("d")
        self._models: dict[str, dict[str, array[float]]] = {}

    def statistics(self) -> TimeSeriesStatistics:
        columns = [column for model in self._models.values() for column in model.values()]
        size = sum(column.itemsize * len(column) for column in [self._times, *columns])
        return TimeSeriesStatistics(samples=len(self._times), models=len(self._models), size=size)

    def add(self, sample: OverviewBody) -> None:
        """Takes in the newest sample; the oldest one goes when there are `KEPT`."""
        at = sample.at.timestamp()
        if self._times and at - self._times[-1] < CLOSE:
            self._drop(-1)
        elif len(self._times) == KEPT:
            self._drop(0)
        self._times.append(at)
        told = {model.name: model for model in sample.models}
        for name in told:
            if name not in self._models and len(self._models) < MAX_MODELS:
                empty = [nan] * (len(self._times) - 1)
                self._models[name] = {column: array("d", empty) for column in COLUMNS}
        for name, columns in self._models.items():
            values = _values(told.get(name))
            for column, value in zip(COLUMNS, values, strict=True):
                columns[column].append(value)

    def body(self) -> TimeSeriesBody:
        """All of it, by the names of the models. Encoding takes some 30 ms for 50 models on a busy machine (0.9 MB)."""
        return TimeSeriesBody(
            period=PERIOD,
            times=tuple(self._times),
            models=tuple(
                ModelHistory(name=name, **{column: _shown(values) for column, values in columns.items()})
                for name, columns in sorted(self._models.items())
            ),
        )

    def _drop(self, index: int) -> None:
        self._times.pop(index)
        for columns in self._models.values():
            for column in columns.values():
                column.pop(index)
        if index == 0:
            # A model of which nothing is left, and of which the registry does not tell any more, makes room.
            self._models = {
                name: columns for name, columns in self._models.items() if not all(isnan(x) for x in columns["live"])
            }


def _values(model: ModelOverview | None) -> tuple[float, ...]:
    row: dict[str, float | None] = {}
    if model is not None:
        row["live"] = model.live
        if model.queue is not None:
            row |= {"ready": model.queue.ready, "dead": model.queue.dead, "oldest": model.queue.oldest_seconds}
        if model.work is not None:
            work = model.work
            row |= {"finished": work.finished_per_second, "failing": work.failed_per_second, "failed": work.failed}
            row |= {"run": work.run.p95, "wait": work.wait.p95}
    found = [row.get(column) for column in COLUMNS]
    return tuple(nan if value is None else value for value in found)


def _shown(values: array[float]) -> tuple[float | None, ...]:
    return tuple(None if isnan(x) else int(x) if x.is_integer() and abs(x) < inf else x for x in values)
