"""The metrics of streams of chunks for Prometheus."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import final

from typing_extensions import override

from hub.gateway.models.catalog import Catalog
from hub.histogram import SECONDS, Histogram
from hub.observability.prometheus import MetricFamily, MetricSource, counter, gauge, histogram
from hub.types import ModelName


@final
class StreamMetrics(MetricSource):
    """Counts open streams, and the chunks that were sent; series of the streaming models that the registry knows.

    Args:
        catalog: The models.
        buckets: Upper bounds of the buckets of times, in seconds.
    """

    def __init__(self, catalog: Catalog, *, buckets: Sequence[float] = SECONDS) -> None:
        self._catalog = catalog
        self._buckets = tuple(buckets)
        self._open = 0
        self._chunks = Counter[ModelName]()
        self._first_chunks: dict[ModelName, Histogram] = {}

    @property
    def open(self) -> int:
        """Streams that are being sent now."""
        return self._open

    @contextmanager
    def stream(self, model: ModelName) -> Generator[Callable[[int], None]]:
        """Counts a stream as open during the block, which calls what it gets with each number of chunks that were sent."""

        def sent(chunks: int) -> None:
            self._chunks[model] += chunks

        self._open += 1
        try:
            yield sent
        finally:
            self._open -= 1

    def first_chunk(self, model: ModelName, seconds: float) -> None:
        """Observes the time from an accepted task to its first chunk."""
        found = self._first_chunks.get(model) or self._first_chunks.setdefault(model, Histogram(self._buckets))
        found.observe(seconds)

    @override
    def collect(self) -> Iterator[MetricFamily]:
        models = sorted(name for name, known in self._catalog.known.items() if known.streaming)
        self._chunks = Counter({name: self._chunks[name] for name in models})
        self._first_chunks = {name: self._first_chunks.get(name) or Histogram(self._buckets) for name in models}
        yield gauge("hub_gateway_streams", "Streams of chunks that are open.", [], [([], self._open)])
        yield counter(
            "hub_gateway_chunks",
            "Chunks that were sent to clients as events or lines; one that is sent to two clients counts twice.",
            ["model"],
            [([name], count) for name, count in self._chunks.items()],
        )
        yield histogram(
            "hub_first_chunk_seconds",
            "Time from an accepted task to its first chunk, of calls that stream.",
            ["model"],
            [([name], times.snapshot()) for name, times in self._first_chunks.items()],
        )
