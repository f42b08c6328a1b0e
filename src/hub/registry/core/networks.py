"""Networks in which instances may be. The registry connects to addresses that callers name, so it restricts them."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final, TypeAlias, final
from urllib.parse import urlsplit

from anyio import getaddrinfo
from typing_extensions import override

from hub.registry.client.errors import InvalidLogin

IPAddress: TypeAlias = IPv4Address | IPv6Address
IPNetwork: TypeAlias = IPv4Network | IPv6Network

MAX_URL: Final = 2048
"""Characters of an instance's URL at most."""


def base_url(text: str) -> str:
    """Checks the URL of a login, and removes a slash at its end.

    Raises:
        InvalidLogin: It is not `http[s]://host[:port][/path]`.
    """
    try:
        parts = urlsplit(text)
        wrong = (
            parts.scheme not in ("http", "https")
            or not parts.hostname
            or parts.port == 0
            or parts.username is not None
            or "?" in text
            or "#" in text
            or len(text) > MAX_URL
            or not text.isascii()
            or not text.isprintable()
            or " " in text
        )
    except ValueError:  # a port that is no number, an open bracket
        wrong = True
    if wrong:
        raise InvalidLogin("url", f"{text!r} is not a base URL: write http://host:port or https://host:port")
    return text.rstrip("/")


@final
class InstanceNetworks:
    """The networks in which the registry pings instances (`HUB_INSTANCE_NETWORKS`)."""

    def __init__(self, networks: Sequence[IPNetwork]) -> None:
        self._networks = tuple(networks)

    @override
    def __str__(self) -> str:
        return ", ".join(map(str, self._networks))

    def __contains__(self, address: IPAddress) -> bool:
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address.version == network.version and address in network for network in self._networks)

    def check(self, url: str) -> None:
        """Refuses a URL whose host is an address outside of the networks. A name is resolved at each ping.

        Raises:
            InvalidLogin: It is outside.
        """
        address = literal_address(urlsplit(url).hostname or "")
        if address is not None and address not in self:
            raise InvalidLogin(
                "url",
                f"{address} is outside of the networks in which this registry pings instances ({self}): log in from "
                "one of them, or add its network to HUB_INSTANCE_NETWORKS of the registry",
            )


def literal_address(host: str) -> IPAddress | None:
    """The IP address in `host`, or `None` if it is a name."""
    try:
        return ip_address(host)
    except ValueError:
        return None


async def addresses_of(host: str, port: int) -> Sequence[IPAddress]:
    """The addresses of a host, in the order in which to try them.

    Raises:
        OSError: The name cannot be resolved.
    """
    literal = literal_address(host)
    if literal is not None:
        return (literal,)
    found = await getaddrinfo(host, port)
    return tuple(dict.fromkeys(ip_address(sockaddr[0]) for *_, sockaddr in found))
