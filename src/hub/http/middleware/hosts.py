"""Which names a server answers to.

A web page can have its own name resolve to a server behind the reader's firewall, or on the reader's machine, and is then
of the same origin as that server (DNS rebinding). What gives it away is the `Host` of its requests.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final, final

from typing_extensions import override

from hub.errors import ConfigurationError, HubError
from hub.http.middleware.asgi import HttpApp, send_problem
from hub.http.serve.server_counts import LOAD

if TYPE_CHECKING:
    from litestar.types import HTTPScope, Receive, Send

ANY: Final = "*"

LONGEST: Final = 253
"""Characters of a host name at most (RFC 1035 section 2.3.4)."""

_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]*)(?::[0-9]{0,5})?", re.ASCII)
_NAME: Final = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*", re.ASCII)


@final
class UnknownHost(HubError):
    """A request for a host that this server is not known as."""

    code = "unknown_host"
    status = 421
    title = "Not a name of this server"

    def __init__(self, host: str) -> None:
        super().__init__(host)
        self.host = host

    @override
    def __str__(self) -> str:
        return (
            f"Host is {self.host[:LONGEST]!r}, which is no name of this server: use its IP address or localhost, or add the "
            "name to HUB_ALLOWED_HOSTS of this server (comma-separated, without port)"
        )


@final
@dataclass(frozen=True, slots=True)
class Hosts:
    """The names that a server answers to, beside IP addresses, `localhost` and the names below it.

    An IP address is no danger: a page that was loaded from one has no name that could lead elsewhere.

    Attributes:
        names: In lower case; a name that begins with a dot stands for all names that end with it.
        any: Whether every name will do.
    """

    names: frozenset[str] = frozenset()
    any: bool = False

    def known_as(self, *hosts: str) -> Hosts:
        """These, and the hosts that a server listens on or is advertised under; addresses and the empty string add nothing.

        For an address that stands for all addresses of the machine, the machine's own name is added.
        """
        names = {host.lower().rstrip(".") for host in hosts}
        if any(_is_unspecified(name) for name in names):
            own = socket.gethostname().lower()
            names |= {own, own.partition(".")[0]}
        return replace(self, names=self.names | {name for name in names if _NAME.fullmatch(name)})

    def allows(self, host: str) -> bool:
        """Whether a request with this `Host` is meant for the server; an empty one names no other."""
        if self.any or not host:
            return True
        match = _HOST.fullmatch(host)
        if match is None:
            return False
        name = match[1].lower().removesuffix(".")
        if _is_address(name.strip("[]")) or name == "localhost" or name.endswith(".localhost"):
            return True
        return name in self.names or any(name.endswith(each) for each in self.names if each.startswith("."))


def hosts_of(text: str) -> Hosts:
    """The names in a comma-separated list: `hub.example.com`, `*.example.com` for all names below one, `*` for any.

    Raises:
        ConfigurationError: One of them is no host name, or `*` stands beside others.
    """
    parts = {part.strip() for part in text.split(",") if part.strip()}
    if ANY in parts and len(parts) > 1:
        raise ConfigurationError("allowed_hosts has * beside other names; write * alone, or name the hosts")
    if parts == {ANY}:
        return Hosts(any=True)
    return Hosts(frozenset(_names(parts)))


def with_hosts(app: HttpApp, hosts: Hosts) -> HttpApp:
    """Answers requests for other hosts with 421 (RFC 9110 section 15.5.20); one without `Host` passes, browsers send it.

    Args:
        app: What answers the others.
        hosts: What `hosts_of` returned, with what the server listens on.
    """

    async def asgi(scope: HTTPScope, receive: Receive, send: Send) -> None:
        for name, value in scope["headers"]:
            if name == b"host" and not hosts.allows(host := value.decode("latin-1")):
                LOAD.unknown_host += 1
                await send_problem(UnknownHost(host), send, headers={})
                return
        await app(scope, receive, send)

    return asgi


def _names(parts: Iterable[str]) -> Iterable[str]:
    for part in parts:
        name = part.lower().removesuffix(".")
        bare = name.removeprefix("*.")
        if _is_address(bare.strip("[]")):
            continue  # each is allowed
        if len(bare) > LONGEST or not _NAME.fullmatch(bare):
            raise ConfigurationError(
                f"allowed_hosts: {part!r} is no host name; write names like hub.example.com, without scheme, port and path, "
                "in ASCII (xn--...), *.example.com for all names below one, or * alone for any"
            )
        yield name.removeprefix("*")


@lru_cache(256)  # a name or address has 255 characters at most; clients send few of them, and this costs 4 us
def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _is_unspecified(text: str) -> bool:
    return _is_address(text) and ip_address(text).is_unspecified
