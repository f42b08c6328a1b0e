"""One ping over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Final, cast, final
from urllib.parse import urlsplit

import msgspec
from httpx2 import AsyncClient, ConnectError, HTTPError, NetworkError, RemoteProtocolError, Response

from hub.concurrency.exceptions import collapse_exception_group
from hub.histogram import HistogramSnapshot
from hub.ports.directory import InstanceEntry
from hub.registry.client.schemas import PING_HEADER
from hub.registry.core.networks import InstanceNetworks, IPAddress, addresses_of
from hub.registry.core.ping_result import PingMissed, PingOk, PingRejected, PingResult
from hub.safe_text import UNREADABLE_JSON
from hub.stats import InstanceStats
from hub.types import ReadinessSource

MAX_REPLY: Final = 64 * 1024
"""Bytes of a ping reply at most: a real one has some hundred."""

MAX_REASON: Final = 200
"""Characters of the reason that an instance gives for not taking tasks, at most."""

_HEADERS: Final = {"Accept": "application/json", "Accept-Encoding": "identity", PING_HEADER: "1"}
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


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
    """Sends `GET <url>/ping`, and `POST <url>/resubscribe`, over kept-alive connections.

    The name of a host is resolved at each ping, and the connection goes to the address that was checked, so that a changed
    name cannot lead anywhere else.

    Args:
        http: Sends the requests, with the token of the instances.
        networks: Networks in which instances may be.
    """

    def __init__(self, http: AsyncClient, networks: InstanceNetworks) -> None:
        self._http = http
        self._networks = networks

    async def ping(self, entry: InstanceEntry) -> PingResult:
        """Pings an instance. The caller bounds the time."""
        return await self._request(entry, "GET", "ping")

    async def resubscribe(self, entry: InstanceEntry) -> None:
        """Asks an instance to subscribe to its queue again. Its next ping has the result."""
        await self._request(entry, "POST", "resubscribe")

    async def _request(self, entry: InstanceEntry, method: str, path: str) -> PingResult:
        parts = urlsplit(entry.url)
        host = parts.hostname or ""
        port = parts.port or _DEFAULT_PORTS[parts.scheme]
        try:
            found = await addresses_of(host, port)
        except OSError as error:
            return PingMissed(f"the name {host} cannot be resolved: {error.strerror or error}")
        allowed = [address for address in found if address in self._networks]
        if not allowed:
            where = ", ".join(map(str, found))
            return PingRejected(f"{host} is at {where}, outside of HUB_INSTANCE_NETWORKS ({self._networks})")
        result: PingResult = PingRejected("no process listens there")
        for address in allowed:
            result = await self._request_at(entry, method, path, address, port)
            if not isinstance(result, PingRejected):
                break
        return result

    async def _request_at(
        self, entry: InstanceEntry, method: str, path: str, address: IPAddress, port: int
    ) -> PingResult:
        parts = urlsplit(entry.url)
        numeric = f"[{address}]" if address.version == 6 else str(address)
        url = f"{parts.scheme}://{numeric}:{port}{parts.path}/{path}"
        try:
            try:
                return await self._send(entry, method, url, parts.netloc, parts.hostname or "")
            except (NetworkError, RemoteProtocolError) as error:
                if isinstance(error, ConnectError):
                    raise
                # The server closed a kept-alive connection during the write: both requests may be repeated (RFC 9110 9.2.2).
                return await self._send(entry, method, url, parts.netloc, parts.hostname or "")
        except ConnectError as error:
            if any(isinstance(cause, ConnectionRefusedError) for cause in _causes(error)):
                return PingRejected("connection refused")
            return PingMissed(f"no connection: {error}")
        except HTTPError as error:
            return PingMissed(str(error) or type(error).__name__)

    async def _send(self, entry: InstanceEntry, method: str, url: str, netloc: str, host: str) -> PingResult:
        with collapse_exception_group():
            async with self._http.stream(
                method,
                url,
                headers=_HEADERS | {"Host": netloc},
                extensions={"sni_hostname": host},
                timeout=None,  # the pinger bounds the time
            ) as response:
                body = b""
                async for chunk in response.aiter_raw():
                    # Read to the end, but not kept: a generator that is left early is not closed by httpx2.
                    body += chunk[: MAX_REPLY + 1 - len(body)]
        if len(body) > MAX_REPLY:
            return PingMissed(f"its reply is longer than {MAX_REPLY} bytes", replied=True)
        return _classify(entry, response, body)


def _classify(entry: InstanceEntry, response: Response, body: bytes) -> PingResult:
    status = response.status_code
    if status in (401, 403):
        return PingMissed(f"it answered {status} to the registry: set the same HUB_TOKEN for both", replied=True)
    try:
        reply = msgspec.json.decode(body, type=_PingReply)
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


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error with the errors in its group, its cause or its context, recursively."""
    yield error
    if isinstance(error, BaseExceptionGroup):
        for inner in cast(
            "BaseExceptionGroup[BaseException]", error
        ).exceptions:  # isinstance leaves its type parameter open
            yield from _causes(inner)
    for earlier in (error.__cause__, error.__context__):
        if earlier is not None:
            yield from _causes(earlier)
            break
