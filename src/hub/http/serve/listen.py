"""The address that a server of hub listens on."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from hub.errors import ConfigurationError
from hub.http.serve.client import UNREAD, ConnectionLimits
from hub.urls import LARGEST_PORT

BACKLOG: Final = 1024
"""Connections that wait to be accepted at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenAddress:
    """An address to listen on. Port 0 takes a free one.

    Attributes:
        certificate: PEM file with the certificate chain; together with `key` it turns TLS on.
        key: PEM file with the private key.
        limits: Limits of the connections.
    """

    host: str = "127.0.0.1"
    port: int = 0
    certificate: Path | None = None
    key: Path | None = None
    limits: ConnectionLimits = field(default_factory=ConnectionLimits)

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
        """Whether only this machine can reach the address."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def tls(self) -> ssl.SSLContext | None:
        """The TLS context; `None` without a certificate.

        Raises:
            ConfigurationError: A file cannot be read, or is no certificate with its key.
        """
        if self.certificate is None:
            return None
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.set_alpn_protocols(["http/1.1"])
        try:
            context.load_cert_chain(self.certificate, self.key)
        except OSError as error:  # `ssl.SSLError` is one too
            raise ConfigurationError(
                f"tls_certificate {self.certificate} with tls_key {self.key} cannot be used: {error.strerror or error}; "
                "give PEM files, a certificate chain and its private key"
            ) from error
        return context

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
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux; the connections that it accepts inherit it
                listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(UNREAD * 1000))
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
