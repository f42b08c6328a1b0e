"""The Prometheus exposition: metric families from plain numbers, in the requested format."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Final, TypeAlias

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from hub.histogram import HistogramSnapshot

_VERSIONS: Final = {"application/openmetrics-text": ("", "1.0.0"), "text/plain": ("", "0.0.4", "1.0.0")}
"""The supported versions of each format. For any other `Accept` it is Prometheus's text format, without a version."""

_ESCAPINGS: Final = ("allow-utf-8", "underscores", "dots", "values")
"""Supported escapings of names outside of the old alphabet."""

Rows: TypeAlias = Iterable[tuple[Sequence[str], float]]
"""Values of the labels, and the number."""


def exposition(registry: Collector, accept: str) -> tuple[bytes, str]:
    """The metrics in the format that `Accept` requests, Prometheus's text format or OpenMetrics, with its media type."""
    encode, media_type = choose_encoder(",".join(_understood(accept)))
    if media_type.startswith("text/"):
        media_type = media_type.removesuffix("; charset=utf-8")  # Litestar adds it to every text
    return encode(registry), media_type


def _understood(accept: str) -> Iterator[str]:
    """The supported formats in `Accept`, with their relevant parameters: the library fails on any other version."""
    for element in accept.split(","):
        name, *parameters = (part.strip() for part in element.lower().split(";"))
        found = dict(parameter.split("=", 1) for parameter in parameters if "=" in parameter)
        version = found.get("version", "").strip('"')
        escaping = found.get("escaping", "").strip('"')
        if name in _VERSIONS and version in _VERSIONS[name] and found.get("q") != "0":
            yield ";".join(
                [
                    name,
                    *([f"version={version}"] if version else []),
                    *([f"escaping={escaping}"] if escaping in _ESCAPINGS else []),
                ]
            )


def gauge(name: str, text: str, labels: Sequence[str], rows: Rows) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=labels)
    for values, number in rows:
        family.add_metric(values, number)
    return family


def counter(name: str, text: str, labels: Sequence[str], rows: Rows) -> CounterMetricFamily:
    """`name` has no `_total`, which is added."""
    family = CounterMetricFamily(name, text, labels=labels)
    for values, number in rows:
        family.add_metric(values, number)
    return family


def histogram(
    name: str, text: str, labels: Sequence[str], rows: Iterable[tuple[Sequence[str], HistogramSnapshot]]
) -> HistogramMetricFamily:
    family = HistogramMetricFamily(name, text, labels=labels)
    for values, buckets in rows:
        bounds = [*map(str, buckets.bounds), "+Inf"]
        cumulative = accumulate(buckets.counts)
        family.add_metric(values, list(zip(bounds, cumulative, strict=True)), buckets.sum)
    return family
