"""What a model's author counts is on the page of the instance, and can do no harm to hub's own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any

import anyio
import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from structlog.testing import capture_logs
from typing_extensions import override

from hub.model.instance.author_metrics import AuthorMetrics
from hub.model.instance.metrics import InstanceMetrics
from hub.model.worker.statistics import WorkerCounters, WorkerStatistics
from hub.types import ModelName
from tests.model.fakes import TIMEOUT

OPEN_METRICS = "application/openmetrics-text; version=1.0.0"


def statistics() -> WorkerStatistics:
    tally = WorkerCounters((1.0,))
    return WorkerStatistics(
        consuming=True,
        in_flight=0,
        saving=0,
        unacked=0,
        attempts=7,
        stored={},
        queue_time=tally.queue_time.snapshot(),
        run_time={},
        newest_task_created_at=None,
        dropped=0,
        skipped=0,
        undecodable=0,
        requeued=0,
        retried=0,
        stopped=0,
    )


def page_of(registry: CollectorRegistry) -> InstanceMetrics:
    return InstanceMetrics(ModelName("Echo"), statistics, authors=AuthorMetrics(registry))


async def families(metrics: InstanceMetrics) -> dict[str, Metric]:
    with anyio.fail_after(TIMEOUT):
        content, _ = await metrics.exposition("")
    return {family.name: family for family in text_string_to_metric_families(content.decode())}


class Failing(Collector):
    """Describes itself, so that it can be registered."""

    def __init__(self, fail: Callable[[], Iterable[Metric]]) -> None:
        self._fail = fail

    def describe(self) -> Iterable[Metric]:
        return []

    @override
    def collect(self) -> Iterable[Metric]:
        return self._fail()


async def test_metrics_of_the_author_stand_beside_those_of_hub() -> None:
    registry = CollectorRegistry()
    Counter("words", "Words.", ["language"], registry=registry).labels("de\n\"'\\").inc(3)
    Gauge("loaded_models", "Models.", registry=registry).set(2)
    Histogram("audio_seconds", "Seconds.", registry=registry).observe(0.1)

    found = await families(page_of(registry))

    assert found["words"].samples[0].value == 3
    assert found["words"].samples[0].labels == {"language": "de\n\"'\\"}
    assert found["loaded_models"].samples[0].value == 2
    assert found["audio_seconds"].type == "histogram"
    assert found["hub_task_attempts"].samples[0].value == 7
    assert "hub_loop_stalls" in found


async def test_a_page_of_openmetrics_has_both_and_one_end() -> None:
    registry = CollectorRegistry()
    Counter("words", "Words.", registry=registry).inc(3)

    content, media_type = await page_of(registry).exposition(OPEN_METRICS)

    assert media_type.startswith("application/openmetrics-text")
    assert content.count(b"# EOF") == 1
    names = [family.name for family in open_metrics(content.decode())]  # type: ignore[no-untyped-call]
    assert {"words", "hub_task_attempts"} <= set(names)


async def test_the_default_registry_is_the_one_that_is_read() -> None:
    from prometheus_client import REGISTRY

    gauge = Gauge("test_author_metrics_default", "Of this test.")
    try:
        gauge.set(5)
        found = await families(InstanceMetrics(ModelName("Echo"), statistics))
    finally:
        REGISTRY.unregister(gauge)

    assert found["test_author_metrics_default"].samples[0].value == 5
    assert "process_start_time_seconds" in found


def broken_iteration() -> Iterable[Metric]:
    yield GaugeMetricFamily("first", "Comes before it breaks.", value=1)
    raise RuntimeError("no connection to the device")


def unwritable() -> Iterable[Metric]:
    family = GaugeMetricFamily("unwritable", "Has a label that is no text.", labels=["a"])
    family.add_metric([object()], 1)  # type: ignore[list-item]
    return [family]


def no_iterable() -> Any:
    return None


def leaves() -> Iterable[Metric]:
    raise LookupError


@pytest.mark.parametrize("fail", [broken_iteration, unwritable, no_iterable, leaves])
async def test_a_collector_that_fails_costs_hub_nothing_and_is_told_once(fail: Callable[[], Any]) -> None:
    registry = CollectorRegistry()
    Gauge("before", "Registered before it.", registry=registry).set(1)
    registry.register(Failing(fail))
    metrics = page_of(registry)

    with capture_logs() as logs:
        found = await families(metrics)
        assert (await families(metrics)).keys() == found.keys()

    assert found["before"].samples[0].value == 1
    assert found["hub_task_attempts"].samples[0].value == 7
    (line,) = logs
    assert "metrics of a model" in line["event"]


async def test_a_metric_that_takes_a_name_of_hub_is_left_out() -> None:
    registry = CollectorRegistry()
    Counter("hub_task_attempts", "Mine.", registry=registry).inc(1000)

    with capture_logs() as logs:
        found = await families(page_of(registry))

    assert [sample.value for sample in found["hub_task_attempts"].samples] == [7]
    assert "hub_task_attempts is left out" in logs[0]["event"]


async def test_a_collector_that_hangs_delays_one_page_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.model.instance.author_metrics.TIMEOUT", 0.05)
    over = threading.Event()
    asked: list[int] = []

    def hang() -> Iterable[Metric]:
        asked.append(1)
        over.wait(TIMEOUT)
        return []

    registry = CollectorRegistry()
    registry.register(Failing(hang))
    metrics = page_of(registry)
    try:
        with capture_logs() as logs:
            assert "hub_task_attempts" in await families(metrics)
            assert "hub_task_attempts" in await families(metrics)
    finally:
        over.set()

    assert len(asked) == 1
    assert "took longer" in logs[0]["event"]
