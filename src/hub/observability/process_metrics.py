"""Metrics of a whole process, for the metrics page of each of its components."""

from __future__ import annotations

from collections.abc import Iterable
from typing import final

from typing_extensions import override

from hub.http.serve.server_counts import LOAD
from hub.observability.prometheus import MetricFamily, MetricSource, counter, gauge
from hub.observability.watchdog import STALLS


@final
class ProcessCollector(MetricSource):
    """Metrics of the event loops and the HTTP servers of this process."""

    @override
    def collect(self) -> Iterable[MetricFamily]:
        yield counter(
            "hub_loop_stalls",
            "Times that an event loop of this process was blocked for longer than a second.",
            [],
            [([], STALLS.count)],
        )
        yield gauge(
            "hub_http_connections",
            "Connections of clients that the HTTP servers of this process have.",
            [],
            [([], LOAD.open)],
        )
        yield counter(
            "hub_http_connections_refused",
            "Connections of clients that were not kept: answered 503 (full), closed since idle to make room (evicted), "
            "or left waiting since there were no descriptors (paused).",
            ["reason"],
            [(["full"], LOAD.refused), (["evicted"], LOAD.evicted), (["paused"], LOAD.paused)],
        )
        yield counter(
            "hub_http_requests_refused",
            "Requests that were refused before a route saw them: too slow (408), no proper HTTP (400, 431, 501, 505), of a web "
            "page of another origin (403), or for another host (421).",
            ["reason"],
            [
                (["timeout"], LOAD.timeouts),
                (["malformed"], LOAD.malformed),
                (["cross_site"], LOAD.cross_site),
                (["unknown_host"], LOAD.unknown_host),
            ],
        )
