"""Picks the client library that a URL names."""

from __future__ import annotations

from hub.redis.address import redis_address
from hub.redis.connection import Connector


def redis_links(url: str, *, read_timeout: float) -> Connector:
    """What opens connections to the server at `url`.

    Args:
        url: See `hub.redis.address`; the scheme is one of `hub.urls.REDIS_SCHEMES`.
        read_timeout: Seconds without an answer after which the server counts as lost.

    Raises:
        ConfigurationError: It is no Redis URL.
    """
    address = redis_address(url)
    # A process needs one client; the other one is not imported.
    if url.partition("://")[0].endswith("+redispy"):
        from hub.redis.redispy_connection import RedispyConnector  # noqa: PLC0415

        return RedispyConnector(address, read_timeout)
    from hub.redis.resp_connection import RespConnector  # noqa: PLC0415

    return RespConnector(address, read_timeout)
