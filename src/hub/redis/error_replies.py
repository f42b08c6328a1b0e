"""Why a connection to Redis could not be opened, and whether trying again makes sense."""

from __future__ import annotations

from typing import Final

from hub.errors import ConnectionLost, ConnectionRefused
from hub.redis.address import RedisAddress
from hub.tls import answer_without_tls, speaks_tls, tls_refusal

_FINAL: Final = ("DB index is out of range", "invalid DB index", "protected mode")
"""Parts of error replies that stay the same until the URL or the configuration of the server is changed."""


def login_refused(address: RedisAddress, error: BaseException) -> ConnectionRefused:
    """The server wants other credentials, or some at all."""
    if address.password is None:
        scheme = "rediss" if address.tls else "redis"
        return ConnectionRefused(
            address.server,
            f"it asks for a password and the URL has none: write {scheme}://:PASSWORD@host:port, or "
            f"{scheme}://USER:PASSWORD@host:port",
        )
    return ConnectionRefused(
        address.server,
        f"it does not accept the credentials in the URL ({str(error).rstrip('.')}): check them, and write special "
        "characters as %XX",
    )


async def connect_failed(
    address: RedisAddress, node: tuple[str, int], error: BaseException, reason: str
) -> ConnectionLost:
    """What to raise when no connection could be opened: `ConnectionRefused` if it cannot work with this URL.

    A Redis without TLS waits for the end of a line that a TLS handshake does not have, and one with TLS cuts plain
    connections. So the port is tried in the other way.

    Args:
        address: What the URL says.
        node: Host and port of the server that was tried.
        error: What the client library raised.
        reason: `error` in words.
    """
    host, port = node
    if any(part in reason for part in _FINAL):
        return ConnectionRefused(address.server, f"{reason}: change the URL, or the server's configuration")
    if address.tls is not None:
        why = tls_refusal(error, trust="?cafile=FILE in the URL")
        if why is None and (await answer_without_tls(host, port, b"PING\r\n")).startswith((b"+", b"-")):
            why = "the server does not speak TLS at this port: write redis:// instead of rediss://"
        if why is not None:
            return ConnectionRefused(address.server, why)
    elif not _is_out_of_reach(error) and await speaks_tls(host, port):
        return ConnectionRefused(
            address.server, "the server speaks TLS at this port: write rediss:// instead of redis://"
        )
    return ConnectionLost(address.server, reason)


def _is_out_of_reach(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ConnectionRefusedError | TimeoutError):
            return True
        error = error.__cause__
    return False
