"""Metrics of a process as a whole, on the page of each of its parts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import final

from prometheus_client.core import Metric
from prometheus_client.registry import Collector
from typing_extensions import override

from hub.http.exposition import counter
from hub.watchdog import STALLS


@final
class ProcessCollector(Collector):
    """How the event loops of this process fare."""

    @override
    def collect(self) -> Iterable[Metric]:
        yield counter(
            "hub_loop_stalls",
            "Times that an event loop of this process was held up for longer than a second.",
            [],
            [([], STALLS.count)],
        )
