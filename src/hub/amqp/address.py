"""An AMQP URL, taken apart.

Follows RabbitMQ's URI specification (https://www.rabbitmq.com/docs/uri-spec) and its query parameters
(https://www.rabbitmq.com/docs/uri-query-parameters).
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final, Self
from urllib.parse import parse_qsl, unquote

from hub.amqp.options import AmqpOptions
from hub.errors import ConfigurationError
from hub.urls import split_url

_DIGITS: Final = 9
"""Digits of a number in a URL at most."""

_PORTS: Final = {"amqp": 5672, "amqps": 5671}
_NUMBERS: Final = frozenset({"heartbeat", "frame_max", "body_limit", "connection_timeout"})
_TEXTS: Final = frozenset(
    {"auth_mechanism", "cacertfile", "certfile", "connection_name", "keyfile", "server_name_indication", "verify"}
)


class Mechanism(StrEnum):
    """How a client proves who it is: with a password, or with its TLS certificate."""

    PLAIN = "PLAIN"
    EXTERNAL = "EXTERNAL"


@dataclass(frozen=True, slots=True, kw_only=True)
class AmqpAddress:
    """Where a broker is, and who calls.

    Attributes:
        server_name: The name that the server's certificate has to carry.
        query: What the URL's query says about the link; see `options`.
    """

    host: str
    port: int
    user: str = "guest"
    password: str = field(default="guest", repr=False)
    vhost: str = "/"
    secure: bool = False
    mechanism: Mechanism = Mechanism.PLAIN
    server_name: str | None = None
    query: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, url: str) -> Self:
        """Reads `amqp[s]://user:password@host:port/vhost?query`; every part but the scheme may be left out.

        User, password and virtual host are percent-encoded: the virtual host `/` is `%2F`, or no path at all.
        The query may have `heartbeat` (seconds), `frame_max` and `body_limit` (bytes), `connection_timeout`
        (milliseconds), `connection_name`, `auth_mechanism` (`plain`, `external`), `cacertfile`, `certfile`,
        `keyfile`, `verify` (`verify_peer`, `verify_none`) and `server_name_indication`.

        Raises:
            ConfigurationError: It is no such URL. The message does not repeat the password.
        """
        parts = split_url(url, tuple(_PORTS))
        if "," in parts.netloc.rpartition("@")[2]:
            raise ConfigurationError("an AMQP address has one host; `hub.brokers.open_broker` takes a URL with several")
        vhost = parts.path.removeprefix("/")
        if "/" in vhost:
            raise ConfigurationError(f"write '/' as '%2F' in the virtual host {vhost!r}")
        query = parse_qsl(parts.query, keep_blank_values=True)
        for name, _ in query:
            if name not in _NUMBERS | _TEXTS:
                known = ", ".join(sorted(_NUMBERS | _TEXTS))
                raise ConfigurationError(f"an AMQP URL has no parameter {name!r}; it may have {known}")
        texts = dict(query)
        return cls(
            host=parts.hostname or "localhost",
            port=parts.port or _PORTS[parts.scheme],
            user="guest" if parts.username is None else unquote(parts.username),
            password="guest" if parts.password is None else unquote(parts.password),
            vhost=unquote(vhost) or "/",
            secure=parts.scheme == "amqps",
            mechanism=_mechanism(texts.get("auth_mechanism", "plain")),
            server_name=texts.get("server_name_indication"),
            query=tuple(query),
        )

    @property
    def node(self) -> str:
        """`host:port`, as metrics and logs name one node of a cluster."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def server(self) -> str:
        """The address as errors and logs show it: without credentials."""
        vhost = "" if self.vhost == "/" else f"/{self.vhost}"
        return f"{'amqps' if self.secure else 'amqp'}://{self.node}{vhost}"

    def options(self, defaults: AmqpOptions) -> AmqpOptions:
        """`defaults`, with the query of the URL instead.

        Raises:
            ConfigurationError: A value is out of range, or a certificate file cannot be read.
        """
        query = dict(self.query)
        numbers = {name: _number(name, value) for name, value in self.query if name in _NUMBERS}
        return replace(
            defaults,
            heartbeat=numbers.get("heartbeat", defaults.heartbeat),
            frame_max=numbers.get("frame_max", defaults.frame_max),
            body_limit=numbers.get("body_limit", defaults.body_limit),
            connect_timeout=numbers["connection_timeout"] / 1000
            if "connection_timeout" in numbers
            else defaults.connect_timeout,
            connection_name=query.get("connection_name", defaults.connection_name),
            tls=(defaults.tls or _tls(query)) if self.secure else None,
        )


def _number(name: str, value: str) -> int:
    if not (value.isascii() and value.isdigit() and len(value) <= _DIGITS):
        raise ConfigurationError(f"{name}={value!r} in the AMQP URL is not a whole number")
    return int(value)


def _mechanism(value: str) -> Mechanism:
    try:
        return Mechanism(value.upper())
    except ValueError as error:
        raise ConfigurationError(f"auth_mechanism is 'plain' or 'external', not {value!r}") from error


def _tls(query: dict[str, str]) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=query.get("cacertfile"))
        if "certfile" in query:
            context.load_cert_chain(query["certfile"], query.get("keyfile"))
    except OSError as error:
        raise ConfigurationError(f"cannot read the certificates that the AMQP URL names: {error}") from error
    verify = query.get("verify", "verify_peer")
    if verify == "verify_none":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif verify != "verify_peer":
        raise ConfigurationError(f"verify is 'verify_peer' or 'verify_none', not {verify!r}")
    return context
