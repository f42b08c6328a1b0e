"""Where a server of hub listens."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from hub.errors import ConfigurationError
from hub.urls import LARGEST_PORT

BACKLOG = 1024

KEEP_ALIVE = 75
"""Seconds that a server keeps an idle connection: longer than clients do, so that none is closed as it is reused."""

UNREAD: Final = 60
"""Seconds that a client may leave what it was sent unread; then its connection is broken (RFC 5482).

A server that is to stop waits for its replies to be sent, so without this one such client could keep it from stopping."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bind:
    """An address to listen on. Port 0 takes a free one.

    Attributes:
        certificate: PEM file with the certificate chain; together with `key` it turns TLS on.
        key: PEM file with the private key.
    """

    host: str = "127.0.0.1"
    port: int = 0
    certificate: Path | None = None
    key: Path | None = None

    def __post_init__(self) -> None:
        """Refuses a port that is none: the system calls take it modulo 65536.

        Raises:
            ConfigurationError: It is not between 0 and 65535.
        """
        if not 0 <= self.port <= LARGEST_PORT:
            raise ConfigurationError(f"cannot listen on port {self.port}; a port is a number from 0 to {LARGEST_PORT}")

    @property
    def scheme(self) -> str:
        return "http" if self.certificate is None else "https"

    @property
    def loopback(self) -> bool:
        """Whether nobody outside this machine can reach the address."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def open(self) -> socket.socket:
        """A listening socket.

        Raises:
            ConfigurationError: The address is taken, not ours, or no address at all.
        """
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(
                self.host, self.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            listener = socket.socket(family, kind, protocol)
        except OSError as error:
            raise ConfigurationError(f"cannot listen on {self.host}:{self.port}: {error}") from error
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux; the connections that it accepts inherit it
                listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD * 1000)
            listener.bind(address)
            listener.listen(BACKLOG)
        except OSError as error:
            listener.close()
            raise ConfigurationError(
                f"cannot listen on {self.host}:{self.port}: {error.strerror}; choose another port or end the process "
                "that holds it"
            ) from error
        listener.setblocking(False)
        return listener

    def is_free(self) -> bool:
        """Whether `open` works now."""
        try:
            self.open().close()
        except ConfigurationError:
            return False
        return True

    def url(self, listener: socket.socket) -> str:
        """The base URL of a socket that `open` returned."""
        host, port = listener.getsockname()[:2]
        return f"{self.scheme}://[{host}]:{port}" if ":" in host else f"{self.scheme}://{host}:{port}"
