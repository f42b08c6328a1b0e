"""Notices that clients close their connections, without a task for each that reads from it."""

from __future__ import annotations

import select
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, Final, final

from anyio import wait_readable

AVAILABLE: Final = hasattr(select, "epoll")
"""Whether the system has epoll, whose `EPOLLRDHUP` tells of a closed connection also while data of it is unread."""


@final
class HangUps:
    """Calls back when a client has closed its connection, or its sending half.

    All sockets of a server are in one epoll object, which costs one call of the system for each connection and none for a
    request. A task per request that reads would cost as much as a fifth of a call.
    """

    def __init__(self) -> None:
        self._epoll: Any = select.epoll()
        self._callbacks: dict[int, Callable[[], None]] = {}

    @contextmanager
    def watching(self, descriptor: int, on_hangup: Callable[[], None]) -> Generator[None]:
        """Calls `on_hangup` once if the client of this socket goes during the block, in the task of `run`.

        Args:
            descriptor: Of a connected socket that stays open during the block.
            on_hangup: Raises nothing.
        """
        self._callbacks[descriptor] = on_hangup
        self._epoll.register(descriptor, select.EPOLLRDHUP | select.EPOLLET)
        try:
            yield
        finally:
            # Explicitly, since a forked process may keep the socket open, which would keep it in here.
            self._epoll.unregister(descriptor)
            del self._callbacks[descriptor]

    async def run(self) -> None:
        """Calls back until it is cancelled."""
        while True:
            await wait_readable(self._epoll.fileno())
            for descriptor, _ in self._epoll.poll(0):
                callback = self._callbacks.get(descriptor)
                if callback is not None:
                    callback()

    def close(self) -> None:
        """Closes the epoll object. No block of `watching` may be left by then."""
        self._epoll.close()
