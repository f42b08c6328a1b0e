"""Picks the store adapter that a URL names."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from hub.ports.result_store import ResultStore
from hub.redis.opening import redis_links
from hub.stores.options import StoreOptions
from hub.urls import STORE_SCHEMES, split_url


def open_store(url: str, options: StoreOptions | None = None) -> AbstractAsyncContextManager[ResultStore]:
    """The result store at `url`, used inside `async with`.

    Args:
        url: `memory://` (this process only, forgotten at exit); `redis://` or `rediss://` (hub's own client, both backends), also
            as `redis+sentinel://host:port,host:port/service/db`; or `redis+redispy://` or `rediss+redispy://` (redis-py,
            asyncio only).
        options: See `StoreOptions`.

    Raises:
        ConfigurationError: No adapter has this scheme; or, on entry, it cannot run on this backend.
        ConnectionRefused: On entry, when the server does not accept the credentials.
        ConnectionLost: On entry, when the server cannot be reached.
    """
    options = options or StoreOptions()
    # A process needs one adapter; the others are not imported.
    if split_url(url, STORE_SCHEMES).scheme == "memory":
        from hub.stores.memory.store import MemoryStore  # noqa: PLC0415

        return MemoryStore(options)
    from hub.stores.redis.store import RedisStore  # noqa: PLC0415

    return RedisStore(redis_links(url, read_timeout=options.read_timeout), options)
