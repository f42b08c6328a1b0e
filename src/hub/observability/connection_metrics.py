"""Prometheus metrics of the connections of a process to the broker and to the result store."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import final

from typing_extensions import override

from hub.histogram import SIZES, Histogram
from hub.observability.prometheus import MetricFamily, MetricSource, counter, gauge, histogram
from hub.ports.broker import Broker
from hub.ports.result_store import OperationStats, ResultStore


@final
class ConnectionCollector(MetricSource):
    """Collects the statistics of the broker and the store, without I/O. Components that share a connection report the same.

    Args:
        broker: The broker.
        store: The result store.
        operations: Operations of the store that are shown before their first call; others after it.
        buckets: Upper bounds of the buckets of call times, in seconds.
    """

    def __init__(
        self, broker: Broker, store: ResultStore, *, operations: Sequence[str], buckets: Sequence[float]
    ) -> None:
        self._broker = broker
        self._store = store
        none_yet = OperationStats(seconds=Histogram(buckets).snapshot(), sizes=Histogram(SIZES).snapshot())
        self._before = dict.fromkeys(operations, none_yet)

    @override
    def collect(self) -> Iterable[MetricFamily]:
        broker, store = self._broker.statistics(), self._store.statistics()
        calls = {**self._before, **store.calls}
        yield gauge("hub_broker_connected", "1 while the broker is connected.", [], [([], broker.connected)])
        yield gauge(
            "hub_broker_connections",
            "Open connections to each node of the broker.",
            ["node"],
            [([node], count) for node, count in sorted(broker.nodes.items())],
        )
        yield gauge(
            "hub_broker_blocked",
            "1 while the broker takes no messages because of a memory or disk alarm.",
            [],
            [([], broker.blocked is not None)],
        )
        yield counter("hub_broker_reconnects", "Reconnections to the broker.", [], [([], broker.reconnects)])
        yield gauge("hub_store_connected", "1 while the result store is connected.", [], [([], store.connected)])
        yield counter("hub_store_reconnects", "Reconnections to the result store.", [], [([], store.reconnects)])
        yield histogram(
            "hub_store_call_seconds",
            "Time of a call of the result store, with the wait for a connection, whatever its result.",
            ["operation"],
            [([operation], each.seconds) for operation, each in calls.items()],
        )
        yield histogram(
            "hub_store_batch_size",
            "Tasks in one call of the result store.",
            ["operation"],
            [([operation], each.sizes) for operation, each in calls.items()],
        )
