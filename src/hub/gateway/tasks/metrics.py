"""The metrics of a gateway for Prometheus. Labels are names of models that the registry knows, so their number is bounded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, Generic, TypeVar, final

from anyio import current_time
from typing_extensions import override

from hub.errors import HubError, ModelUnavailable
from hub.gateway.errors import QueueLimitExceeded
from hub.gateway.models.catalog import Catalog
from hub.gateway.tasks.service import TaskService
from hub.histogram import SECONDS, Histogram
from hub.http.long_polling import LongPollRegistry
from hub.observability.process_metrics import ProcessCollector
from hub.observability.prometheus import MetricFamily, MetricSource, MetricsPage, counter, gauge, histogram
from hub.submission.outcomes import SubmitResult
from hub.task import TaskRecord
from hub.types import ModelName, TaskState

R = TypeVar("R")

RESULTS: Final = ("accepted", "replayed", ModelUnavailable.code, QueueLimitExceeded.code)
"""Results of submits that have a series from the start; any other error code gets one when it occurs."""

STATES: Final = (TaskState.SUCCEEDED, TaskState.FAILED)
"""States at the end of a wait that have a series from the start; the others get one when they occur."""

OUTCOMES: Final = (TaskState.CANCELLED, TaskState.EXPIRED)
"""Outcomes that a gateway gives."""


@final
class Measured(Generic[R]):
    """What is measured in a block; the block sets `result` when it has one."""

    result: R


@final
class _ModelCounts:
    """The submits of one model."""

    def __init__(self, buckets: Sequence[float]) -> None:
        self._buckets = buckets
        self.results = Counter[str](dict.fromkeys(RESULTS, 0))
        self.submit_times = Histogram(buckets)
        self.wait_times: dict[str, Histogram] = {state: Histogram(buckets) for state in STATES}

    def wait_time(self, state: str) -> Histogram:
        return self.wait_times.get(state) or self.wait_times.setdefault(state, Histogram(self._buckets))


@final
class SubmitMetrics:
    """Observes submits and waits.

    Series of a model last as long as the registry knows it, alive or not: a counter must not begin anew with the next
    instance.

    Args:
        catalog: The models.
        buckets: Upper bounds of the buckets of times, in seconds.
    """

    def __init__(self, catalog: Catalog, *, buckets: Sequence[float] = SECONDS) -> None:
        self._catalog = catalog
        self._buckets = tuple(buckets)
        self._counts: dict[str, _ModelCounts] = {}

    def accepted(self, result: SubmitResult, seconds: float) -> None:
        """Counts and times one submit that was accepted after so many seconds."""
        counts = self._of(result.model)
        counts.results["replayed" if result.replayed else "accepted"] += 1
        counts.submit_times.observe(seconds)

    @contextmanager
    def wait(self, model: ModelName) -> Generator[Measured[TaskRecord | SubmitResult]]:
        """Times one wait for an outcome, by the last state of the task. A wait that ends by an error does not count."""
        measured, began = Measured[TaskRecord | SubmitResult](), current_time()
        yield measured
        self.waited(model, measured.result.state, current_time() - began)

    def waited(self, model: ModelName, state: TaskState, seconds: float) -> None:
        """As `wait`, for one that is over."""
        self._of(model).wait_time(state).observe(seconds)

    def refused(self, model: str, error: HubError) -> None:
        """Counts one submit of a known model that made no task."""
        self._of(model).results[error.code] += 1

    def counts(self) -> Mapping[str, _ModelCounts]:
        """The counts of the models that the registry knows; those of others are dropped."""
        self._counts = {name: self._of(name) for name in sorted(self._catalog.known)}
        return self._counts

    def _of(self, model: str) -> _ModelCounts:
        return self._counts.get(model) or self._counts.setdefault(model, _ModelCounts(self._buckets))


@final
class GatewayMetrics:
    """All metrics of the process; except for `SubmitMetrics` they are read from their owners at scrape time.

    Args:
        submits: Submits and waits.
        catalog: The models.
        tasks: Its statistics, and the outcomes that it gives.
        polls: The long polls.
        streams: Collects the metrics of streams.
        connections: Collects the metrics of the broker and the store.
    """

    def __init__(
        self,
        submits: SubmitMetrics,
        catalog: Catalog,
        tasks: TaskService,
        polls: LongPollRegistry,
        *,
        streams: MetricSource | None = None,
        connections: MetricSource | None = None,
    ) -> None:
        own = _GatewayCollector(catalog, tasks, polls, submits.counts)
        self._page = MetricsPage(
            ProcessCollector(), own, *(more for more in (streams, connections) if more is not None)
        )

    async def exposition(self, accept: str) -> tuple[bytes, str]:
        """The metrics in the format that `accept` prefers, and its media type. Other tasks run meanwhile."""
        return await self._page.exposition(accept)


@final
class _GatewayCollector(MetricSource):
    def __init__(
        self,
        catalog: Catalog,
        tasks: TaskService,
        polls: LongPollRegistry,
        counts: Callable[[], Mapping[str, _ModelCounts]],
    ) -> None:
        self._catalog = catalog
        self._tasks = tasks
        self._polls = polls
        self._counts = counts

    @override
    def collect(self) -> Iterator[MetricFamily]:
        counts = [*self._counts().items()]
        yield counter(
            "hub_submits",
            "Submits by their result.",
            ["model", "result"],
            (([model, result], number) for model, each in counts for result, number in (*each.results.items(),)),
        )
        yield histogram(
            "hub_submit_seconds",
            "Time from a request to its accepted task.",
            ["model"],
            (([model], each.submit_times.snapshot()) for model, each in counts),
        )
        yield histogram(
            "hub_call_seconds",
            "Time from an accepted task to its outcome, of requests that waited for it.",
            ["model", "state"],
            (
                ([model, state], times.snapshot())
                for model, each in counts
                for state, times in (*each.wait_times.items(),)
            ),
        )
        yield counter(
            "hub_tasks",
            "Tasks that have ended, by their outcome: each is counted once, where its outcome was stored.",
            ["model", "outcome"],
            (
                ([model, state.value], self._tasks.outcomes[ModelName(model), state])
                for model, _ in counts
                for state in OUTCOMES
            ),
        )
        congestion = self._tasks.congestion.statistics()
        yield counter(
            "hub_gateway_busy_refusals",
            "Requests refused because the gateway did not keep up.",
            [],
            [([], congestion.refused)],
        )
        publisher = self._tasks.publisher.statistics()
        yield histogram("hub_submit_group_size", "Tasks that were accepted in one batch.", [], [([], publisher.sizes)])
        for name, text, value in (
            ("hub_gateway_models", "Models that are alive.", len(self._catalog.served)),
            ("hub_gateway_registry_connected", "1 while the registry is in reach.", self._catalog.connected),
            ("hub_gateway_long_polls", "Requests that are held back.", self._polls.waiting),
            ("hub_gateway_submits_waiting", "Submits in no batch yet.", publisher.waiting),
            ("hub_gateway_requests_under_way", "Submits and look-ups under way.", congestion.under_way),
            ("hub_gateway_requests_limit", "Number of these that is too many, if it lasts.", congestion.limit),
            ("hub_gateway_oldest_request_seconds", "Age of the oldest of these.", congestion.oldest),
            ("hub_gateway_withdrawals_due", "Records to be withdrawn.", publisher.failed),
        ):
            yield gauge(name, text, [], [([], value)])
