"""What an instance tells Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, final

from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from typing_extensions import override

from hub.model.run import Run
from hub.model.statistics import WorkerStatistics
from hub.task import Outcome
from hub.vocabulary import ModelName

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
"""What `InstanceMetrics.exposition` is (Prometheus text format)."""

BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
"""Seconds: from a lookup to a long inference."""


@final
class InstanceMetrics:
    """Metrics of one instance, in a registry of their own. Counts are read when scraped; only durations are recorded."""

    def __init__(self, model: ModelName) -> None:
        self._model = model
        self._registry = CollectorRegistry()
        self._wait = Histogram(
            "hub_task_queue_seconds",
            "From the creation of a task to the start of a run.",
            ["model"],
            buckets=BUCKETS,
            registry=self._registry,
        ).labels(model)
        self._work = Histogram(
            "hub_task_run_seconds",
            "From the start of a run to its outcome.",
            ["model", "state"],
            buckets=BUCKETS,
            registry=self._registry,
        )

    def follow(self, statistics: Callable[[], WorkerStatistics]) -> None:
        """Shows what `statistics` returns at each scrape. To be called once."""
        self._registry.register(_Numbers(self._model, statistics))

    def observe(self, run: Run, outcome: Outcome) -> None:
        if run.started_at is not None:
            self._wait.observe(max(0.0, run.started_at - run.task.created_at))
            self._work.labels(self._model, outcome.state.value).observe(max(0.0, outcome.finished_at - run.started_at))

    def exposition(self) -> bytes:
        return generate_latest(self._registry)


class _Numbers(Collector):
    def __init__(self, model: ModelName, statistics: Callable[[], WorkerStatistics]) -> None:
        self._model = model
        self._statistics = statistics

    @override
    def collect(self) -> Iterable[Metric]:
        now = self._statistics()
        for name, help_text, value in (
            ("hub_instance_consuming", "1 while the instance takes tasks from its queue.", now.consuming),
            ("hub_instance_in_flight", "Tasks that run or whose outcome is being stored.", now.in_flight),
            ("hub_instance_saving", "Tasks in flight that have an outcome.", now.saving),
        ):
            gauge = GaugeMetricFamily(name, help_text, labels=["model"])
            gauge.add_metric([self._model], value)
            yield gauge
        for name, help_text, value in (
            ("hub_task_attempts", "Runs that were started.", now.attempts),
            ("hub_task_outcomes_dropped", "Outcomes that came after another one of their task.", now.dropped),
            ("hub_task_deliveries_skipped", "Deliveries of tasks that need no run here.", now.skipped),
            ("hub_task_undecodable", "Messages that were no task.", now.undecodable),
            ("hub_task_requeued", "Started tasks that went back to the queue.", now.requeued),
            ("hub_task_retried", "Failed runs that are followed by another one.", now.retried),
            ("hub_task_stopped", "Runs that were cancelled because their task had ended elsewhere.", now.stopped),
        ):
            counter = CounterMetricFamily(name, help_text, labels=["model"])
            counter.add_metric([self._model], value)
            yield counter
        outcomes = CounterMetricFamily("hub_task_outcomes", "Stored outcomes.", labels=["model", "state"])
        for state, count in now.stored.items():
            outcomes.add_metric([self._model, state.value], count)
        yield outcomes
