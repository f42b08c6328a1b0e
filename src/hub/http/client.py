"""The HTTP client of hub's own components."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import cache
from ssl import PROTOCOL_TLS_CLIENT, SSLContext
from typing import Final
from urllib.parse import urlsplit

from httpx2 import AsyncClient, Limits, Timeout, create_ssl_context

from hub.concurrency.exceptions import collapse_exception_group

CONNECT_TIMEOUT: Final = 5.0
"""Seconds to connect. The time of a whole call is bounded by the caller's `fail_after`."""

IDLE: Final = 30.0
"""Seconds that an unused connection is kept: some ping periods, and less than `hub.http.serve.server` keeps its end."""


@asynccontextmanager
async def open_client(*, url: str = "https:", token: str = "", connections: int = 100) -> AsyncGenerator[AsyncClient]:
    """A client with persistent connections; proxy settings of the environment are ignored.

    Args:
        url: Of the server, if all requests go to one. With `http:` no authorities are read, which take 8 MB; then a request to
            an `https:` URL fails, for no certificate is trusted.
        token: Sent as `Authorization: Bearer ...` with each request, unless empty.
        connections: Connections at a time; further requests wait for a free one.
    """
    headers = {"User-Agent": "hub", "Accept-Encoding": "identity"}  # between neighbours compressing does not pay
    if token:
        headers["Authorization"] = f"Bearer {token}"
    limits = Limits(max_connections=connections, max_keepalive_connections=connections, keepalive_expiry=IDLE)
    timeout = Timeout(None, connect=CONNECT_TIMEOUT)
    with collapse_exception_group():
        async with AsyncClient(
            headers=headers, limits=limits, timeout=timeout, trust_env=False, verify=tls_context(urlsplit(url).scheme)
        ) as client:
            yield client


def tls_context(scheme: str) -> SSLContext:
    """What connections trust: nothing, if their scheme is not https."""
    return _trusted() if scheme == "https" else SSLContext(PROTOCOL_TLS_CLIENT)


@cache
def _trusted() -> SSLContext:
    """Authorities. Read once per process: it takes some 0.05 s of CPU."""
    return create_ssl_context(trust_env=False)
