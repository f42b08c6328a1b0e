"""What hub asks of a Redis client library."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import Enum
from typing import Protocol, TypeAlias

Arg: TypeAlias = bytes | str | int
Command: TypeAlias = tuple[Arg, ...]


class ErrorReplyKind(Enum):
    """What can be done about an error reply.

    `NO_SCRIPT`: send the script along. `NOT_PRIMARY`: look for the primary elsewhere. `WRONG_TYPE`: nothing, another
    program writes under the keys of hub. `OTHER`: try again later.
    """

    NO_SCRIPT = "no script"
    NOT_PRIMARY = "not primary"
    WRONG_TYPE = "wrong type"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class ErrorReply:
    """An error reply of the server."""

    kind: ErrorReplyKind
    text: str


Reply: TypeAlias = "int | bytes | ErrorReply | Sequence[Reply] | None"


class RedisConnection(Protocol):
    """One live connection to one server. It does not reconnect: once broken it stays broken, and its owner opens another."""

    async def call(self, commands: Sequence[Command]) -> Sequence[Reply]:
        """Sends commands in one go and returns their replies in order.

        Other calls may be under way at the same time. Cancelling one disturbs no other.

        Raises:
            ConnectionLost: The connection broke, or the server did not answer in time; the connection is broken from then on.
        """
        ...

    async def receive(self) -> Sequence[bytes]:
        """Waits for messages on the channel that the connection was opened with, and returns all that have arrived.

        Raises:
            ConnectionLost: The connection broke.
        """
        ...

    def abort(self, reason: str) -> None:
        """Breaks the connection: every call under way, and `receive`, raises `ConnectionLost`."""
        ...


class Connector(Protocol):
    @property
    def server(self) -> str:
        """For errors and logs; never holds a password."""
        ...

    def connect(self, channel: str | None) -> AbstractAsyncContextManager[RedisConnection]:
        """Opens a connection, and subscribes it to a channel if one is given.

        Raises:
            ConnectionRefused: On entry, when the server does not accept the credentials, or TLS is there on one side only.
            ConnectionLost: On entry, when the server cannot be reached.
            ConfigurationError: On entry, when the library cannot run on this backend.
        """
        ...
