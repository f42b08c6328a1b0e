"""Whether the server may throw away what hub keeps in it."""

from __future__ import annotations

from typing import Final

import structlog

from hub.redis.client import RedisClient

_log: Final = structlog.get_logger("hub.redis")


async def warn_of_eviction(client: RedisClient) -> None:
    """Logs a warning when the server has a memory limit and a policy that evicts keys with a lifetime.

    Source: Redis, "Key eviction": only `noeviction` refuses writes instead. Of a server that does not answer (`INFO` may be
    forbidden or renamed) nothing is reported.

    Raises:
        ConnectionLost: The server is out of reach.
    """
    (reply,) = await client.call([("INFO", "memory")])
    if not isinstance(reply, bytes):
        return
    lines = (line.partition(":") for line in reply.decode(errors="replace").splitlines())
    facts = {name: value for name, _, value in lines}
    policy = facts.get("maxmemory_policy", "noeviction")
    if policy != "noeviction" and facts.get("maxmemory", "0") != "0":
        _log.warning(
            "redis may evict task records: set maxmemory-policy to noeviction",
            server=client.server,
            policy=policy,
            maxmemory=facts["maxmemory"],
        )
