"""What Prometheus gets to see of a gateway. Labels are names of models that the registry knows, so their number is bounded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, final

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.registry import Collector
from typing_extensions import override

from hub.gateway.catalog import Catalog
from hub.gateway.dispatch import Dispatch
from hub.gateway.errors import ModelNotAlive, Overloaded
from hub.gateway.long_polls import LongPolls
from hub.histogram import SECONDS, Histogram
from hub.http.exposition import counter, exposition, gauge, histogram
from hub.http.process_metrics import ProcessCollector
from hub.vocabulary import ModelName, TaskState

RESULTS: Final = ("accepted", "replayed", ModelNotAlive.code, Overloaded.code)
"""Results of submits that have a series before there was one; any other code of an error gets one when it happens."""

STATES: Final = (TaskState.SUCCEEDED, TaskState.FAILED)
"""States at the end of a wait that have a series before there was one; the others get one when they happen."""

VERDICTS: Final = (TaskState.CANCELLED, TaskState.EXPIRED)
"""Outcomes that a gateway gives."""


@final
class _Counts:
    """The submits of one model."""

    def __init__(self, buckets: Sequence[float]) -> None:
        self._buckets = buckets
        self.results = Counter[str](dict.fromkeys(RESULTS, 0))
        self.accepting = Histogram(buckets)
        self.waiting: dict[str, Histogram] = {state: Histogram(buckets) for state in STATES}

    def waited(self, state: str) -> Histogram:
        return self.waiting.get(state) or self.waiting.setdefault(state, Histogram(self._buckets))


@final
class GatewayMetrics:
    """Counts what is submitted and how long it takes; everything else is read from its owner at scrape time.

    Series of a model last as long as the registry knows it, alive or not: a counter that went away with the last
    instance and came back with the next one would have forgotten. With the registry's word the names are bounded.

    Args:
        catalog: Which models there are.
        dispatch: What it accepts, and the outcomes that it gives.
        polls: Long polls that are held.
        links: Tells of the broker and the store.
        buckets: Upper bounds of the buckets of times, in seconds.
    """

    def __init__(
        self,
        catalog: Catalog,
        dispatch: Dispatch,
        polls: LongPolls,
        *,
        links: Collector | None = None,
        buckets: Sequence[float] = SECONDS,
    ) -> None:
        self._catalog = catalog
        self._buckets = tuple(buckets)
        self._counts: dict[str, _Counts] = {}
        self._registry = CollectorRegistry()
        self._registry.register(ProcessCollector())
        self._registry.register(_Now(catalog, dispatch, polls, self._known))
        if links is not None:
            self._registry.register(links)

    def accepted(self, model: str, seconds: float, *, replayed: bool) -> None:
        """One submit that led to a task; `replayed` if that was there already, under the same key."""
        counts = self._of(model)
        counts.results["replayed" if replayed else "accepted"] += 1
        counts.accepting.add(seconds)

    def refused(self, model: str, code: str) -> None:
        """One submit that led to none, by the code of the error. `model` is one that is known."""
        self._of(model).results[code] += 1

    def waited(self, model: str, state: str, seconds: float) -> None:
        """One wait for an outcome; `state` is the last state that was seen."""
        self._of(model).waited(state).add(seconds)

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """The metrics in the format that `accept` asks for, and its media type."""
        return exposition(self._registry, accept)

    def _of(self, model: str) -> _Counts:
        return self._counts.get(model) or self._counts.setdefault(model, _Counts(self._buckets))

    def _known(self) -> Mapping[str, _Counts]:
        """The counts of the models that the registry knows; those of others are dropped."""
        self._counts = {name: self._of(name) for name in sorted(self._catalog.known)}
        return self._counts


@final
class _Now(Collector):
    def __init__(
        self, catalog: Catalog, dispatch: Dispatch, polls: LongPolls, counts: Callable[[], Mapping[str, _Counts]]
    ) -> None:
        self._catalog = catalog
        self._dispatch = dispatch
        self._polls = polls
        self._counts = counts

    @override
    def collect(self) -> Iterator[Metric]:
        counts = self._counts()
        yield counter(
            "hub_submits",
            "Submits by how they ended.",
            ["model", "result"],
            [([model, result], number) for model, each in counts.items() for result, number in each.results.items()],
        )
        yield histogram(
            "hub_submit_seconds",
            "Time from a request to its accepted task.",
            ["model"],
            [([model], each.accepting.read()) for model, each in counts.items()],
        )
        yield histogram(
            "hub_call_seconds",
            "Time from an accepted task to its outcome, where somebody waited.",
            ["model", "state"],
            [
                ([model, state], waiting.read())
                for model, each in counts.items()
                for state, waiting in each.waiting.items()
            ],
        )
        yield counter(
            "hub_tasks",
            "Tasks that have ended, by their outcome: each is counted once, where its outcome was stored.",
            ["model", "outcome"],
            [
                ([model, state.value], self._dispatch.verdicts[ModelName(model), state])
                for model in counts
                for state in VERDICTS
            ],
        )
        congestion = self._dispatch.congestion.statistics()
        yield counter(
            "hub_gateway_busy_refusals",
            "Requests refused because the gateway did not keep up.",
            [],
            [([], congestion.refused)],
        )
        accept = self._dispatch.accept.statistics()
        yield histogram("hub_submit_group_size", "Tasks that were accepted in one group.", [], [([], accept.sizes)])
        for name, text, value in (
            ("hub_gateway_models", "Models that are alive.", len(self._catalog.served)),
            ("hub_gateway_registry_connected", "1 while the registry is in reach.", self._catalog.connected),
            ("hub_gateway_long_polls", "Requests that are held back.", self._polls.held),
            ("hub_gateway_submits_waiting", "Submits in no group yet.", accept.waiting),
            ("hub_gateway_requests_under_way", "Submits and look-ups that are not done yet.", congestion.under_way),
            ("hub_gateway_requests_limit", "So many of these are too many, if it lasts.", congestion.limit),
            ("hub_gateway_oldest_request_seconds", "Age of the oldest of these.", congestion.oldest),
            ("hub_gateway_withdrawals_due", "Records to be taken back.", accept.failed),
        ):
            yield gauge(name, text, [], [([], value)])
