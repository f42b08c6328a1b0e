"""HTTP requests to instances: only to addresses in the networks of instances, without redirects."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from math import inf
from resource import RLIMIT_NOFILE, getrlimit
from typing import Final, NamedTuple, Self, cast, final
from urllib.parse import urlsplit

from anyio import AsyncContextManagerMixin, CancelScope, current_time
from httpcore2 import (
    URL,
    AsyncHTTPConnection,
    ConnectError,
    ConnectionNotAvailable,
    NetworkError,
    Origin,
    ProtocolError,
    RemoteProtocolError,
    Request,
    TimeoutException,
)
from httpx2 import Headers
from typing_extensions import override

from hub.concurrency.exceptions import collapse_exception_group
from hub.http.client import CONNECT_TIMEOUT, IDLE, tls_context
from hub.registry.core.networks import InstanceNetworks, IPAddress, addresses_of

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


class InstanceNotReached(Exception):
    """An instance gave no reply.

    Attributes:
        reason: Why, for people.
        rejected: Whether it cannot be alive at this address: no process listens there, or hub may not connect to it.
    """

    def __init__(self, reason: str, *, rejected: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.rejected = rejected

    @override
    def __str__(self) -> str:
        return self.reason


@dataclass(frozen=True, slots=True)
class InstanceReply:
    """A reply to a request.

    Attributes:
        body: Without what was beyond the limit.
        complete: Whether nothing was beyond the limit.
    """

    status: int
    headers: Headers
    body: bytes
    complete: bool


@final
class InstanceHttp(AsyncContextManagerMixin):
    """Sends requests to instances, over one kept connection to each. The caller bounds the time.

    The name of a host is resolved for each call, and the connection goes to an address that was checked, so that a changed
    name cannot lead anywhere else. There is no pool: looking for a connection in a pool costs more with each instance.
    Enter it before the first request; it closes the connections at its end.

    Args:
        networks: Networks in which instances may be.
        token: Sent as a bearer token, unless empty.
        kept: Connections that are kept at most, by default half of the files that the process may open. Requests to
            further instances open a connection each.
    """

    def __init__(self, networks: InstanceNetworks, *, token: str = "", kept: int | None = None) -> None:
        self._networks = networks
        self._headers = {"User-Agent": "hub", "Accept-Encoding": "identity"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        self._limit = getrlimit(RLIMIT_NOFILE)[0] // 2 if kept is None else kept
        self._idle: dict[_Peer, _Idle] = {}
        self._swept_at = -inf

    @override
    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        try:
            yield self
        finally:
            with CancelScope(shield=True):
                await self._close_idle(since=inf)

    @property
    def kept(self) -> int:
        """Connections that wait for the next request."""
        return len(self._idle)

    async def addresses(self, url: str) -> Sequence[IPAddress]:
        """The addresses at which an instance may be asked, in the order in which to try them; at least one.

        Raises:
            InstanceNotReached: Its host has none, or none in the networks.
        """
        parts = urlsplit(url)
        host = parts.hostname or ""
        try:
            found = await addresses_of(host, _port(url))
        except OSError as error:
            raise InstanceNotReached(f"the name {host} cannot be resolved: {error.strerror or error}") from error
        allowed = [address for address in found if address in self._networks]
        if not allowed:
            where = ", ".join(map(str, found))
            reason = f"{host} is at {where}, outside of HUB_INSTANCE_NETWORKS ({self._networks})"
            raise InstanceNotReached(reason, rejected=True)
        return allowed

    async def request(
        self, url: str, method: str, path: str, *, address: IPAddress, headers: Mapping[str, str], limit: int
    ) -> InstanceReply:
        """Sends one request, which must be one that may be repeated.

        Args:
            url: Base URL of the instance.
            method: GET or POST.
            path: Below the base URL, without a slash at its start.
            address: Where to connect.
            headers: More headers.
            limit: Bytes of the body to keep.

        Raises:
            InstanceNotReached: There was no reply.
        """
        parts = urlsplit(url)
        peer = _Peer(parts.scheme, address, _port(url), parts.hostname or "")
        request = Request(
            method,
            peer.url(f"{parts.path}/{path}"),
            headers=[("Host", parts.netloc), *self._headers.items(), *headers.items()],
            extensions={"sni_hostname": peer.host, "timeout": {"connect": CONNECT_TIMEOUT}},
        )
        await self._close_idle_if_due()
        try:
            if (kept := self._idle.pop(peer, None)) is not None:
                # The server may close it at any moment; then the request may be repeated (RFC 9110 section 9.2.2).
                with suppress(NetworkError, RemoteProtocolError, ConnectionNotAvailable):
                    return await self._send(peer, kept.connection, request, limit)
            connection = AsyncHTTPConnection(peer.origin, ssl_context=tls_context(parts.scheme), keepalive_expiry=IDLE)
            return await self._send(peer, connection, request, limit)
        except ConnectError as error:
            if any(isinstance(cause, ConnectionRefusedError) for cause in _causes(error)):
                raise InstanceNotReached("connection refused", rejected=True) from error
            raise InstanceNotReached(f"no connection: {error}") from error
        except (NetworkError, ProtocolError, TimeoutException) as error:
            raise InstanceNotReached(str(error) or type(error).__name__) from error

    async def _send(self, peer: _Peer, connection: AsyncHTTPConnection, request: Request, limit: int) -> InstanceReply:
        """Sends a request over a connection, and keeps the connection if that can carry another one."""
        reusable = False
        try:
            with collapse_exception_group():
                response = await connection.handle_async_request(request)
                body = b""
                async for chunk in cast("AsyncIterable[bytes]", response.stream):
                    # Read to the end, but not kept: a generator that is left early is not closed by httpcore2.
                    body += chunk[: limit + 1 - len(body)]
                await response.aclose()
            reusable = connection.is_available() and len(self._idle) < self._limit and peer not in self._idle
        finally:
            if reusable:
                self._idle[peer] = _Idle(connection, current_time())
            else:
                with CancelScope(shield=True):
                    await connection.aclose()
        headers = Headers(response.headers)
        return InstanceReply(response.status, headers, body[:limit], len(body) <= limit)

    async def _close_idle_if_due(self) -> None:
        now = current_time()
        if now - self._swept_at > IDLE:
            self._swept_at = now
            await self._close_idle(since=now - IDLE)

    async def _close_idle(self, *, since: float) -> None:
        """Closes the connections that were last used before `since`: their instances are gone."""
        for peer in [peer for peer, idle in self._idle.items() if idle.used_at < since]:
            if (idle := self._idle.pop(peer, None)) is not None:
                await idle.connection.aclose()


class _Peer(NamedTuple):
    """Where a connection goes. Connections to one address for several host names are not shared, because of TLS."""

    scheme: str
    address: IPAddress
    port: int
    host: str

    @property
    def origin(self) -> Origin:
        return Origin(self.scheme.encode(), str(self.address).encode(), self.port)

    def url(self, target: str) -> URL:
        return URL(scheme=self.scheme, host=str(self.address), port=self.port, target=target)


@dataclass(frozen=True, slots=True)
class _Idle:
    connection: AsyncHTTPConnection
    used_at: float


def _port(url: str) -> int:
    parts = urlsplit(url)
    return parts.port or _DEFAULT_PORTS[parts.scheme]


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
