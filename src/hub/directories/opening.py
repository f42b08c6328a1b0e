"""Picks the directory adapter that a URL names."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Final

from hub.directories.memory import MemoryDirectory
from hub.errors import ConfigurationError
from hub.ports import Directory
from hub.redis.opening import SCHEMES, redis_links, scheme_of

SILENCE: Final = 5.0
"""Seconds without an answer after which the server counts as lost."""


def open_directory(url: str, *, silence: float = SILENCE) -> AbstractAsyncContextManager[Directory]:
    """The directory at `url`, used inside `async with`.

    Args:
        url: `memory://` (this process only, forgotten at exit), or what `hub.stores.open_store` takes.
        silence: Seconds without an answer after which the server counts as lost.

    Raises:
        ConfigurationError: No adapter has this scheme; or, on entry, it cannot run on this backend, or the server does
            not accept the credentials.
        LinkLost: On entry, when the server cannot be reached.
    """
    scheme = scheme_of(url)
    if scheme == "memory":
        return MemoryDirectory()
    if scheme in SCHEMES:
        from hub.directories.redis_directory import RedisDirectory  # noqa: PLC0415 - as with the stores

        return RedisDirectory(redis_links(url, silence=silence))
    known = ", ".join(f"{name}://" for name in ("memory", *SCHEMES))
    raise ConfigurationError(f"{scheme!r} is no directory: use {known}")
