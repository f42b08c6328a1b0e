"""Frames between `hub up --reload` and the process of its models, over a socket pair.

A frame is the length of its content in four bytes, most significant first, and the content: one of the messages below,
pickled. Both ends are hub, run by one user on one machine for development, and the values are hub's own; the code of the
models can do all that its process may do in any case.
"""

from __future__ import annotations

import pickle
import socket
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf
from typing import Any, Final, final

from anyio import (
    BrokenResourceError,
    ClosedResourceError,
    create_memory_object_stream,
    wait_readable,
    wait_writable,
)

from hub.errors import ConnectionLost

PEER: Final = "hub up"
"""The other end, in errors."""

PIECE: Final = 65_536
"""Bytes that are read at once."""

_HEADER: Final = 4


@dataclass(frozen=True, slots=True)
class MethodCall:
    """Calls an async method of a target. `number` is that of the answer."""

    number: int
    target: str
    method: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class EnterCall:
    """Enters the context manager that a method returns. The answer is the name of the target that it yields."""

    number: int
    target: str
    method: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class LeaveCall:
    """Leaves the context manager with this number; the answer to `number` follows when it has been left."""

    number: int
    entered: int


@dataclass(frozen=True, slots=True)
class Notification:
    """Calls a method that is not async, without an answer. Notifications and calls are carried out in order."""

    target: str
    method: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class CancelCall:
    """Cancels a call that is in progress. It is answered all the same: by its value, if it has ended before."""

    number: int


@dataclass(frozen=True, slots=True)
class CallAnswer:
    """The value that a call returned, or the error that it raised, or that it was cancelled."""

    number: int
    value: Any = None
    error: Exception | None = None
    cancelled: bool = False


def encode(message: object) -> bytes:
    content = pickle.dumps(message)
    return len(content).to_bytes(_HEADER) + content


def receive_first(connection: socket.socket) -> object:
    """The first message, read without an event loop; the sender wrote it before it started this process."""
    with connection.makefile("rb", buffering=0) as file:
        size = int.from_bytes(_read(file.read, _HEADER))
        return pickle.loads(_read(file.read, size))  # noqa: S301 - see the text of this module


def _read(read: Any, size: int) -> bytes:
    parts = b""
    while len(parts) < size:
        more = read(size - len(parts))
        if not more:
            raise ConnectionLost(PEER, "it has ended")
        parts += more
    return parts


@final
class FrameConnection:
    """Sends messages in order, without a wait, and iterates over those that arrive until the other end is closed.

    It waits for its socket by `wait_readable`: a `UNIXSocketStream` of anyio that is cancelled when its other end is closed
    may raise `InvalidStateError` in asyncio's event loop.
    """

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self._socket = connection
        self._outgoing, self._queue = create_memory_object_stream[object](inf)  # bounded by the calls in progress

    def send(self, message: object) -> None:
        with suppress(ClosedResourceError, BrokenResourceError):  # the end of the connection is reported by `messages`
            self._outgoing.send_nowait(message)

    async def write(self) -> None:
        """Writes what `send` gets, until it is cancelled or the other end is closed."""
        with suppress(OSError, ClosedResourceError):
            async for message in self._queue:
                rest = memoryview(encode(message))
                while rest:
                    await wait_writable(self._socket)
                    rest = rest[self._socket.send(rest) :]

    async def messages(self) -> AsyncGenerator[object]:
        received = bytearray()
        while data := await self._read():
            received += data
            while len(received) >= _HEADER:
                end = _HEADER + int.from_bytes(received[:_HEADER])
                if len(received) < end:
                    break
                content = bytes(received[_HEADER:end])
                del received[:end]
                yield pickle.loads(content)  # noqa: S301 - see the text of this module

    async def _read(self) -> bytes:
        """The next bytes; none at the end of the connection."""
        try:
            await wait_readable(self._socket)
            return self._socket.recv(PIECE)
        except (OSError, ClosedResourceError):
            return b""

    def close(self) -> None:
        self._outgoing.close()
        self._queue.close()
        self._socket.close()
