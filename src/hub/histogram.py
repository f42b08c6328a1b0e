"""Histograms in plain numbers, which ping replies, `/v1/stats` and Prometheus share."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isfinite
from typing import Final, final

from hub.errors import ConfigurationError

SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
"""Upper bounds of the buckets of times, unless `HUB_METRIC_BUCKETS` says otherwise: from a look-up to a long inference."""

SIZES: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)
"""Upper bounds of the buckets of sizes of groups, whose limit is 256 (`hub.concurrency.batching.DEFAULT_LIMIT`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HistogramSnapshot:
    """A histogram at one moment.

    Attributes:
        bounds: Upper bounds of the buckets, rising, each of them inclusive; the last bucket has none.
        counts: Values in each bucket (not cumulative), so one more than there are bounds.
        sum: The sum of all values.
    """

    bounds: tuple[float, ...] = ()
    counts: tuple[int, ...] = (0,)
    sum: float = 0.0


EMPTY_HISTOGRAM: Final = HistogramSnapshot()


@final
class Histogram:
    """Counts values in buckets. An observation costs a binary search in the bounds and two additions."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(self._bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Counts one value. A negative one, which clocks that disagree produce, counts as 0."""
        value = max(0.0, value)
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def snapshot(self) -> HistogramSnapshot:
        """The counts so far; later observations do not change it."""
        return HistogramSnapshot(bounds=self._bounds, counts=tuple(self._counts), sum=self._sum)


def merge(histograms: Iterable[HistogramSnapshot], *, bounds: Sequence[float]) -> HistogramSnapshot:
    """The sum of histograms that all have these `bounds`."""
    snapshots = list(histograms)
    columns = zip([0] * (len(bounds) + 1), *(each.counts for each in snapshots), strict=True)
    return HistogramSnapshot(
        bounds=tuple(bounds),
        counts=tuple(sum(column) for column in columns),
        sum=sum(each.sum for each in snapshots),
    )


def parse_buckets(text: str) -> tuple[float, ...]:
    """Parses upper bounds of buckets in seconds: rising numbers, separated by commas.

    Raises:
        ConfigurationError: They are something else.
    """
    repair = "write seconds above 0, each more than the one before, such as 0.01,0.1,1,10,60"
    try:
        bounds = tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise ConfigurationError(f"metric_buckets is {text!r}, where one is no number: {repair}") from error
    if not all(isfinite(bound) and bound > 0 for bound in bounds):
        raise ConfigurationError(f"metric_buckets is {text!r}, where one is not above 0, or has no end: {repair}")
    if not all(lower < upper for lower, upper in pairwise(bounds)):
        raise ConfigurationError(f"metric_buckets is {text!r}, which does not rise: {repair}")
    return bounds
