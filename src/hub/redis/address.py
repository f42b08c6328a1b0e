"""Where a Redis server is, read from a URL."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from hub.errors import ConfigurationError
from hub.observability.redaction import redacted_url
from hub.urls import REDIS_SCHEMES, split_url

_DIGITS: Final = 9
"""Digits of a number in a URL at most."""

_PORT: Final = 6379
_SENTINEL_PORT: Final = 26379
_QUERY: Final = frozenset({"cafile", "certfile", "keyfile"})


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """Paths of PEM files. Without a `cafile` the system's certificates are trusted."""

    cafile: str | None = None
    certfile: str | None = None
    keyfile: str | None = None

    def context(self) -> ssl.SSLContext:
        """Reads the files.

        Raises:
            OSError: One cannot be read (`ssl.SSLError` is an `OSError`).
        """
        context = ssl.create_default_context(cafile=self.cafile)
        if self.certfile is not None:
            context.load_cert_chain(self.certfile, self.keyfile)
        return context


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisAddress:
    """One server, or the service that a group of Sentinels watches over.

    Attributes:
        nodes: Host and port of the server, or of each Sentinel.
        service: What the Sentinels call the primary; empty if there are none.
        tls: What to talk TLS with; `None` for plain TCP.
    """

    nodes: tuple[tuple[str, int], ...]
    service: str = ""
    db: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: TlsFiles | None = None

    @property
    def server(self) -> str:
        """For errors and logs; never holds a password."""
        where = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.nodes)
        return f"redis {self.service!r} behind sentinel at {where}" if self.service else f"redis at {where}"


def redis_address(url: str) -> RedisAddress:
    """Reads `redis[s]://[user:password@]host[:port][/db]` or `redis+sentinel://[user:password@]host:port,.../service[/db]`.

    A `+redispy` in the scheme chooses a client library and is ignored here. With `rediss://` the query may name
    files: `cafile` (certificates to trust instead of the system's), `certfile` and `keyfile` (the client's own).

    Raises:
        ConfigurationError: The URL is no such URL.
    """
    parts = split_url(url, REDIS_SCHEMES)
    sentinel = parts.scheme.endswith("+sentinel")
    if parts.query and not parts.scheme.startswith("rediss"):
        raise _malformed(parts, "only rediss:// takes a query")
    path = [unquote(step) for step in parts.path.split("/") if step]
    service = ""
    if sentinel:
        if not path:
            raise _malformed(parts, "name the service after the Sentinels: redis+sentinel://host:26379/service")
        service = path.pop(0)
    if len(path) > 1 or not all(step.isascii() and step.isdigit() and len(step) <= _DIGITS for step in path):
        raise _malformed(parts, "what follows the host is the number of a database")
    credentials, _, hosts = parts.netloc.rpartition("@")
    if "," in hosts and not sentinel:
        raise _malformed(parts, "several hosts are Sentinels: write redis+sentinel://host:port,host:port/service")
    username, _, password = credentials.partition(":")
    return RedisAddress(
        nodes=tuple(_node(parts, host, _SENTINEL_PORT if sentinel else _PORT) for host in hosts.split(",")),
        service=service,
        db=int(path[0]) if path else 0,
        username=unquote(username) or None,
        password=unquote(password) or None,
        tls=_tls(parts) if parts.scheme.startswith("rediss") else None,
    )


def _node(parts: SplitResult, host: str, port: int) -> tuple[str, int]:
    node = urlsplit(f"//{host}")
    if node.hostname:
        return node.hostname, node.port or port
    raise _malformed(parts, "it names no host")


def _tls(parts: SplitResult) -> TlsFiles:
    query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
    if strange := query.keys() - _QUERY:
        raise _malformed(parts, f"{', '.join(sorted(strange))} is none of {', '.join(sorted(_QUERY))}")
    files = TlsFiles(cafile=query.get("cafile"), certfile=query.get("certfile"), keyfile=query.get("keyfile"))
    try:
        files.context()
    except OSError as error:
        raise _malformed(parts, f"the certificates cannot be read: {error}") from error
    return files


def _malformed(parts: SplitResult, repair: str) -> ConfigurationError:
    return ConfigurationError(f"{redacted_url(parts.geturl())} is no Redis URL: {repair}")
