"""How long calls of a store take, and how much each of them carries."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import final

from anyio import current_time

from hub.histogram import SIZES, Histogram
from hub.ports.result_store import OperationStats


@final
class OperationTimer:
    """Counts calls by operation, in plain numbers: who shows them to Prometheus is no business of a store.

    Args:
        bounds: Upper bounds of the buckets of times, in seconds.
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = tuple(bounds)
        self._operations: dict[str, tuple[Histogram, Histogram]] = {}

    @contextmanager
    def timed(self, operation: str, size: int) -> Generator[None]:
        """Counts one call, however it ends: one that fails, or is given up by its caller, has taken its time too.

        A call without items sends nothing, and is not counted.
        """
        began = current_time()
        try:
            yield
        finally:
            if size:
                seconds, sizes = self._of(operation)
                seconds.observe(current_time() - began)
                sizes.observe(size)

    def _of(self, operation: str) -> tuple[Histogram, Histogram]:
        found = self._operations.get(operation)
        if found is None:
            found = self._operations[operation] = (Histogram(self._bounds), Histogram(SIZES))
        return found

    def read(self) -> Mapping[str, OperationStats]:
        return {
            operation: OperationStats(seconds=seconds.snapshot(), sizes=sizes.snapshot())
            for operation, (seconds, sizes) in self._operations.items()
        }
