"""What Prometheus reads: families of metrics out of plain numbers, in the format that it asks for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import TypeAlias

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from hub.histogram import Buckets

Rows: TypeAlias = Iterable[tuple[Sequence[str], float]]
"""Values of the labels, and the number under them."""


def exposition(registry: Collector, accept: str) -> tuple[bytes, str]:
    """The figures in the format that `Accept` asks for, Prometheus's own or OpenMetrics, with its media type."""
    encode, media_type = choose_encoder(accept)
    if media_type.startswith("text/"):
        media_type = media_type.removesuffix("; charset=utf-8")  # Litestar adds it to every text
    return encode(registry), media_type


def gauge(name: str, text: str, labels: Sequence[str], rows: Rows) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=labels)
    for values, number in rows:
        family.add_metric(values, number)
    return family


def counter(name: str, text: str, labels: Sequence[str], rows: Rows) -> CounterMetricFamily:
    """`name` is without the `_total` that every counter gets."""
    family = CounterMetricFamily(name, text, labels=labels)
    for values, number in rows:
        family.add_metric(values, number)
    return family


def histogram(
    name: str, text: str, labels: Sequence[str], rows: Iterable[tuple[Sequence[str], Buckets]]
) -> HistogramMetricFamily:
    family = HistogramMetricFamily(name, text, labels=labels)
    for values, buckets in rows:
        bounds = [*map(str, buckets.bounds), "+Inf"]
        cumulative = accumulate(buckets.counts)
        family.add_metric(values, list(zip(bounds, cumulative, strict=True)), buckets.total)
    return family
