"""The format of metrics for any `Accept`."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import accumulate
from typing import final

import anyio
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import example, given, settings, strategies as st
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_of
from prometheus_client.parser import text_string_to_metric_families as families_of
from prometheus_client.registry import Collector
from typing_extensions import override

from hub.histogram import HistogramSnapshot
from hub.observability.prometheus import (
    MetricFamily,
    MetricSource,
    MetricsPage,
    counter,
    exposition,
    gauge,
    histogram,
)

NAMES = st.sampled_from(["text/plain", "application/openmetrics-text", "*/*", "TEXT/PLAIN", "a", ""])
PARAMETERS = st.sampled_from(
    ["version=abc", "version=", "version", "version=1.0.0", "version=0.0.4", 'version="1.0.0"', "version=1e9", "version=9.9.9",
     "version=1.0.0\u00b2", "version=-1", "escaping=allow-utf-8", "escaping=x", "escaping", "q=0", "q=x", "=", ""]
)  # fmt: skip
ELEMENTS = st.builds(lambda name, parameters: ";".join([name, *parameters]), NAMES, st.lists(PARAMETERS, max_size=4))


def figures() -> CollectorRegistry:
    registry = CollectorRegistry()
    Counter("things", "Things.", registry=registry).inc()
    return registry


@given(st.one_of(st.text(max_size=60), st.lists(ELEMENTS, max_size=4).map(",".join)))
@example("text/plain;version=abc")
@example("application/openmetrics-text;version=")
def test_metrics_are_in_a_format_that_the_reply_names_for_any_accept(accept: str) -> None:
    content, media_type = exposition(figures(), accept)
    read = openmetrics_of if media_type.startswith("application/openmetrics-text") else families_of
    assert next(iter(read(content.decode()))).name.startswith("things")


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        (
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
            "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=allow-utf-8",
        ),
        ("application/openmetrics-text", "application/openmetrics-text; version=1.0.0; charset=utf-8"),
        ("text/plain;version=1.0.0;escaping=values", "text/plain; version=1.0.0; charset=utf-8; escaping=values"),
        ("text/plain;version=0.0.4", "text/plain; version=0.0.4"),
        ("*/*", "text/plain; version=0.0.4"),
        ("", "text/plain; version=0.0.4"),
    ],
)
def test_prometheus_gets_the_format_that_it_prefers(accept: str, media_type: str) -> None:
    assert exposition(figures(), accept)[1].startswith(media_type)


TEXTS = st.text(max_size=8)
COUNTS = st.one_of(st.integers(0, 10**9), st.floats(min_value=0), st.booleans())
BUCKETS = st.lists(st.integers(0, 10**8), min_size=4, max_size=4).map(tuple)
SNAPSHOTS = st.builds(
    HistogramSnapshot, bounds=st.just((0.005, 1.0, 2.5e7)), counts=BUCKETS, sum=st.floats(min_value=0, allow_nan=False)
)


@final
class Given(MetricSource):
    """A gauge, a counter and a histogram with the series that a test sets."""

    def __init__(self) -> None:
        self.numbers: dict[tuple[str, str], float] = {}
        self.times: dict[tuple[str, str], HistogramSnapshot] = {}

    @override
    def collect(self) -> Iterable[MetricFamily]:
        yield gauge("a_gauge", 'A "gauge",\nin two lines \\ of text.', ["z", "a"], self.numbers.items())
        yield counter("a_counter", "A counter.", ["z", "a"], self.numbers.items())
        yield histogram("a_histogram", "A histogram.", ["model", "zone"], self.times.items())


class Library(Collector):
    """The same as families of the library."""

    def __init__(self, source: Given) -> None:
        self._source = source

    @override
    def collect(self) -> Iterable[Metric]:
        text = 'A "gauge",\nin two lines \\ of text.'
        gauges = GaugeMetricFamily("a_gauge", text, labels=["z", "a"])
        counters = CounterMetricFamily("a_counter", "A counter.", labels=["z", "a"])
        histograms = HistogramMetricFamily("a_histogram", "A histogram.", labels=["model", "zone"])
        for values, number in self._source.numbers.items():
            gauges.add_metric(values, number)
            counters.add_metric(values, number)
        for values, times in self._source.times.items():
            bounds = [*map(str, times.bounds), "+Inf"]
            histograms.add_metric(values, list(zip(bounds, accumulate(times.counts), strict=True)), times.sum)
        return [gauges, counters, histograms]


@given(
    st.lists(
        st.tuples(
            st.dictionaries(st.tuples(TEXTS, TEXTS), COUNTS, max_size=4),
            st.dictionaries(st.tuples(TEXTS, TEXTS), SNAPSHOTS, max_size=4),
            st.sampled_from(
                [
                    "",
                    "application/openmetrics-text",
                    "text/plain;version=1.0.0;escaping=dots",
                    "text/plain;version=1.0.0;escaping=values",
                    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8",
                ]
            ),
        ),
        max_size=4,
    )
)
@settings(deadline=None, max_examples=50)
def test_each_scrape_has_the_bytes_that_the_library_would_write(
    scrapes: list[tuple[dict[tuple[str, str], float], dict[tuple[str, str], HistogramSnapshot], str]],
) -> None:
    async def scrape() -> None:
        source = Given()
        page = MetricsPage(source)
        for source.numbers, source.times, accept in scrapes:
            assert await page.exposition(accept) == exposition(Library(source), accept)

    anyio.run(scrape)


async def test_other_tasks_run_while_a_large_page_is_written() -> None:
    source, turns = Given(), 0
    source.numbers = {(str(number), ""): number for number in range(100_000)}

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await checkpoint()

    async with anyio.create_task_group() as tg:
        tg.start_soon(other)
        await MetricsPage(source).exposition("")
        tg.cancel_scope.cancel()
    assert turns > 100


async def test_a_series_that_changed_its_value_is_written_again_and_one_that_is_gone_is_left_out() -> None:
    source = Given()
    page = MetricsPage(source)
    source.numbers = {("one", ""): 1, ("two", ""): 2}
    assert b'a_gauge{a="",z="one"} 1.0\n' in (await page.exposition(""))[0]
    source.numbers = {("one", ""): 3}
    text = (await page.exposition(""))[0]
    assert b'a_gauge{a="",z="one"} 3.0\n' in text
    assert b'"two"' not in text
