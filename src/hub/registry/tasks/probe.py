"""One ping over HTTP."""

from __future__ import annotations

from itertools import pairwise
from typing import Final, final

import msgspec

from hub.histogram import HistogramSnapshot
from hub.ports.directory import InstanceEntry
from hub.registry.client.schemas import PING_HEADER
from hub.registry.core.ping_result import PingMissed, PingOk, PingRejected, PingResult
from hub.registry.tasks.instance_http import InstanceHttp, InstanceNotReached, InstanceReply
from hub.safe_text import UNREADABLE_JSON
from hub.stats import InstanceStats
from hub.types import ReadinessSource

MAX_REPLY: Final = 64 * 1024
"""Bytes of a ping reply at most: a real one has some hundred."""

MAX_REASON: Final = 200
"""Characters of the reason that an instance gives for not taking tasks, at most."""

_HEADERS: Final = {"Accept": "application/json", PING_HEADER: "1"}


class _PingReply(msgspec.Struct, frozen=True, kw_only=True):
    """The members of a ping reply that the registry reads. All are optional: a 200 with any other body is a live instance."""

    instance: str | None = None
    consuming: bool | None = None
    reason: str = ""
    draining: bool = False
    loading: bool = False
    stats: msgspec.Raw = msgspec.Raw(b"null")


@final
class HttpProbe:
    """Sends `GET <url>/ping`, and `POST <url>/resubscribe`, as `InstanceHttp` does.

    Args:
        instances: Sends the requests.
    """

    def __init__(self, instances: InstanceHttp) -> None:
        self._instances = instances

    async def ping(self, entry: InstanceEntry) -> PingResult:
        """Pings an instance. The caller bounds the time."""
        return await self._request(entry, "GET", "ping")

    async def resubscribe(self, entry: InstanceEntry) -> None:
        """Asks an instance to subscribe to its queue again. Its next ping has the result."""
        await self._request(entry, "POST", "resubscribe")

    async def _request(self, entry: InstanceEntry, method: str, path: str) -> PingResult:
        try:
            addresses = await self._instances.addresses(entry.url)
        except InstanceNotReached as error:
            return _not_reached(error)
        result: PingResult = PingRejected("no process listens there")
        for address in addresses:
            try:
                reply = await self._instances.request(
                    entry.url, method, path, address=address, headers=_HEADERS, limit=MAX_REPLY
                )
            except InstanceNotReached as error:
                result = _not_reached(error)
            else:
                result = _classify(entry, reply)
            if not isinstance(result, PingRejected):
                break
        return result


def _not_reached(error: InstanceNotReached) -> PingResult:
    return PingRejected(error.reason) if error.rejected else PingMissed(error.reason)


def _classify(entry: InstanceEntry, answer: InstanceReply) -> PingResult:
    if not answer.complete:
        return PingMissed(f"its reply is longer than {MAX_REPLY} bytes", replied=True)
    status = answer.status
    if status in (401, 403):
        return PingMissed(f"it answered {status} to the registry: set the same HUB_TOKEN for both", replied=True)
    try:
        reply = msgspec.json.decode(answer.body, type=_PingReply)
    except UNREADABLE_JSON:
        reply = _PingReply()
    if reply.instance is not None and reply.instance != entry.id:
        return PingRejected(f"another instance answers there, {reply.instance!r:.50}")
    if status == 200 and reply.consuming is not False:
        return PingOk(stats=_stats(reply.stats))
    if status in (200, 503) and (reply.instance is not None or reply.consuming is False):
        reason = reply.reason[:MAX_REASON] or "it answers, but does not consume from the queue of its model"
        unsubscribed = reply.consuming is False and not reply.draining
        source = ReadinessSource.PING if unsubscribed else ReadinessSource.HEALTH
        return PingOk(consuming=False, reason=reason, stats=_stats(reply.stats), source=source, loading=reply.loading)
    return PingMissed(f"it answered {status}", replied=True)


def _stats(raw: msgspec.Raw) -> InstanceStats | None:
    """The statistics in a reply; `None` if they cannot be read, which makes no difference to the state of the instance."""
    try:
        stats = msgspec.json.decode(raw, type=InstanceStats | None)
    except UNREADABLE_JSON:
        return None
    if stats is None:
        return None
    counts = (stats.in_flight, stats.unacked, stats.busy_seconds, *stats.outcomes.values())
    return stats if all(map(_is_valid, (stats.queue_time, stats.run_time))) and min(counts) >= 0 else None


def _is_valid(times: HistogramSnapshot) -> bool:
    return (
        len(times.counts) == len(times.bounds) + 1
        and min(times.counts) >= 0
        and times.sum >= 0
        and all(lower < upper for lower, upper in pairwise(times.bounds))
    )
