"""Picks the directory adapter that a URL names."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Final

from hub.ports.directory import Directory
from hub.redis.opening import redis_links
from hub.urls import STORE_SCHEMES, split_url

SILENCE: Final = 5.0
"""Seconds without an answer after which the server counts as lost."""


def open_directory(url: str, *, read_timeout: float = SILENCE) -> AbstractAsyncContextManager[Directory]:
    """The directory at `url`, used inside `async with`.

    Args:
        url: `memory://` (this process only, forgotten at exit), or what `hub.stores.open_store` takes.
        read_timeout: Seconds without an answer after which the server counts as lost.

    Raises:
        ConfigurationError: No adapter has this scheme; or, on entry, it cannot run on this backend.
        ConnectionRefused: On entry, when the server does not accept the credentials.
        ConnectionLost: On entry, when the server cannot be reached.
    """
    if split_url(url, STORE_SCHEMES).scheme == "memory":
        from hub.directories.memory import MemoryDirectory  # noqa: PLC0415 - as with the stores

        return MemoryDirectory()
    from hub.directories.redis.directory import RedisDirectory  # noqa: PLC0415 - as with the stores

    return RedisDirectory(redis_links(url, read_timeout=read_timeout))
