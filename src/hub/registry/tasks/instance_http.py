"""HTTP requests to instances: only to addresses in the networks of instances, without redirects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, cast, final
from urllib.parse import urlsplit

from httpx2 import AsyncClient, ConnectError, Headers, HTTPError, NetworkError, RemoteProtocolError
from typing_extensions import override

from hub.concurrency.exceptions import collapse_exception_group
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
class InstanceHttp:
    """Sends requests to instances over kept-alive connections. The caller bounds the time.

    The name of a host is resolved for each call, and the connection goes to an address that was checked, so that a changed
    name cannot lead anywhere else.

    Args:
        http: Sends the requests, with the token of the instances; it follows no redirects.
        networks: Networks in which instances may be.
    """

    def __init__(self, http: AsyncClient, networks: InstanceNetworks) -> None:
        self._http = http
        self._networks = networks

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
        numeric = f"[{address}]" if address.version == 6 else str(address)
        target = f"{parts.scheme}://{numeric}:{_port(url)}{parts.path}/{path}"
        all_headers = {**headers, "Accept-Encoding": "identity", "Host": parts.netloc}
        host = parts.hostname or ""
        try:
            try:
                return await self._send(method, target, all_headers, host, limit)
            except (NetworkError, RemoteProtocolError) as error:
                if isinstance(error, ConnectError):
                    raise
                # The server closed a kept-alive connection during the write: the request may be repeated (RFC 9110 9.2.2).
                return await self._send(method, target, all_headers, host, limit)
        except ConnectError as error:
            if any(isinstance(cause, ConnectionRefusedError) for cause in _causes(error)):
                raise InstanceNotReached("connection refused", rejected=True) from error
            raise InstanceNotReached(f"no connection: {error}") from error
        except HTTPError as error:
            raise InstanceNotReached(str(error) or type(error).__name__) from error

    async def _send(self, method: str, target: str, headers: Mapping[str, str], host: str, limit: int) -> InstanceReply:
        with collapse_exception_group():
            async with self._http.stream(
                method,
                target,
                headers=headers,
                extensions={"sni_hostname": host},
                timeout=None,  # the caller bounds the time
            ) as response:
                body = b""
                async for chunk in response.aiter_raw():
                    # Read to the end, but not kept: a generator that is left early is not closed by httpx2.
                    body += chunk[: limit + 1 - len(body)]
        return InstanceReply(response.status_code, response.headers, body[:limit], len(body) <= limit)


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
