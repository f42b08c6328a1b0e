"""Picks the client library that a URL names."""

from __future__ import annotations

from typing import Final

from hub.errors import ConfigurationError
from hub.redis.address import redis_address
from hub.redis.link import LinkOpener

SCHEMES: Final = ("redis", "rediss", "redis+sentinel", "rediss+sentinel", "redis+redispy", "rediss+redispy")


def scheme_of(url: str) -> str:
    """What stands before `://`; empty if nothing does. A URL may hold a password, so only this goes into errors."""
    scheme, separator, _ = url.partition("://")
    return scheme if separator else ""


def redis_links(url: str, *, silence: float) -> LinkOpener:
    """What opens links to the server at `url`.

    Args:
        url: See `hub.redis.address`; the scheme is one of `SCHEMES`.
        silence: Seconds without an answer after which the server counts as lost.

    Raises:
        ConfigurationError: It is no Redis URL.
    """
    scheme = scheme_of(url)
    if scheme not in SCHEMES:
        raise ConfigurationError(f"{scheme!r} is no Redis: use {', '.join(f'{known}://' for known in SCHEMES)}")
    address = redis_address(url)
    # A process needs one client library; the other one is not imported.
    if scheme.endswith("+redispy"):
        from hub.redis.redispy_link import RedispyLinks  # noqa: PLC0415

        return RedispyLinks(address, silence)
    from hub.redis.coredis_link import CoredisLinks  # noqa: PLC0415

    return CoredisLinks(address, silence)
