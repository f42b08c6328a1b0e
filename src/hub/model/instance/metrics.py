"""Metrics of an instance for Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import final

from typing_extensions import override

from hub.model.instance.author_metrics import AuthorMetrics, joined
from hub.model.worker.statistics import OUTCOMES, WorkerStatistics
from hub.observability.process_metrics import ProcessCollector
from hub.observability.prometheus import MetricFamily, MetricSource, MetricsPage, counter, gauge, histogram
from hub.types import ModelName


@final
class InstanceMetrics:
    """Metrics of one instance. It counts nothing: a scrape reads the statistics of the parts.

    Args:
        model: Name of the model.
        statistics: Returns those of the worker; the reply to a ping has the same numbers.
        links: Collects those of broker and store.
        authors: The metrics of the model's author; by default those of this process.
    """

    def __init__(
        self,
        model: ModelName,
        statistics: Callable[[], WorkerStatistics],
        *,
        links: MetricSource | None = None,
        authors: AuthorMetrics | None = None,
    ) -> None:
        self._authors = authors or AuthorMetrics()
        self._page = MetricsPage(_Work(model, statistics), ProcessCollector(), *([] if links is None else [links]))

    async def exposition(self, accept: str) -> tuple[bytes, str]:
        """The metrics in the format that `accept` asks for, hub's and the author's, and its media type."""
        theirs = await self._authors.exposition(accept)
        ours, media_type = await self._page.exposition(accept)
        return joined(ours, theirs), media_type


@final
class _Work(MetricSource):
    def __init__(self, model: ModelName, statistics: Callable[[], WorkerStatistics]) -> None:
        self._model = model
        self._statistics = statistics

    @override
    def collect(self) -> Iterable[MetricFamily]:
        now = self._statistics()
        model = [self._model]
        for name, text, value in (
            ("hub_instance_consuming", "1 while the instance takes tasks from its queue.", now.consuming),
            ("hub_instance_in_flight", "Tasks that run or whose outcome is being stored.", now.in_flight),
            ("hub_instance_saving", "Tasks in flight that have an outcome.", now.saving),
            (
                "hub_instance_busy_seconds",
                "For how long the model's code has held its event loop up; 0 below a second.",
                now.busy_seconds,
            ),
        ):
            yield gauge(name, text, ["model"], [(model, value)])
        yield counter(
            "hub_tasks",
            "Tasks that have ended, by their outcome: each is counted once, where its outcome was stored.",
            ["model", "outcome"],
            [([self._model, state.value], now.stored.get(state, 0)) for state in OUTCOMES],
        )
        yield histogram(
            "hub_task_queue_seconds",
            "From the creation of a task to the start of its first run.",
            ["model"],
            [(model, now.queue_time)],
        )
        yield histogram(
            "hub_task_run_seconds",
            "From the start of a run to its outcome.",
            ["model", "outcome"],
            [([self._model, state.value], buckets) for state, buckets in now.run_time.items()],
        )
        yield counter(
            "hub_model_calls",
            "Calls of other models by this one, by their result: the state of the task, or refused.",
            ["model", "called", "result"],
            [([self._model, called, result], value) for (called, result), value in now.calls.items()],
        )
        if now.batches is not None:
            yield histogram(
                "hub_batch_size", "Tasks in one call of process_batch.", ["model"], [(model, now.batches.size)]
            )
            yield histogram(
                "hub_batch_wait_seconds",
                "From the start of a run to the start of the call of process_batch that it is part of.",
                ["model"],
                [(model, now.batches.wait)],
            )
        for name, text, value in (
            ("hub_task_attempts", "Runs that were started.", now.attempts),
            ("hub_task_outcomes_dropped", "Outcomes that came after another one of their task.", now.dropped),
            ("hub_task_deliveries_skipped", "Deliveries of tasks that need no run here.", now.skipped),
            ("hub_task_undecodable", "Messages that were no task.", now.undecodable),
            ("hub_task_requeued", "Started tasks that went back to the queue.", now.requeued),
            ("hub_task_retried", "Failed runs that are followed by another one.", now.retried),
            ("hub_task_chunks", "Chunks of streams that were stored.", now.chunks),
            ("hub_task_stopped", "Runs that were cancelled because their task had ended elsewhere.", now.stopped),
        ):
            yield counter(name, text, ["model"], [(model, value)])
