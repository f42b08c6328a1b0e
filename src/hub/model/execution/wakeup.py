"""Wakes an event loop from another thread, also from the event loop of another thread."""

from __future__ import annotations

import socket
from collections import deque
from select import POLLIN, poll
from typing import Final, Generic, TypeVar, final

from anyio import wait_readable

T = TypeVar("T")

_BYTES_AT_ONCE: Final = 64


@final
class Wakeup:
    """An event that any thread may set and that one task waits for, any number of times.

    A socket pair carries the wake-up, because every backend can wait for a socket. anyio's own ways between threads do
    not serve here: `from_thread.run_sync` blocks until the event loop comes round to it, and two event loops that call
    each other that way wait for each other for ever. `set` never blocks.
    """

    def __init__(self) -> None:
        self._writer, self._reader = socket.socketpair()
        self._writer.setblocking(False)
        self._reader.setblocking(False)
        self._is_set = False
        self._closed = False

    def set(self) -> None:
        """Wakes the waiting task, or the next one that waits. From any thread; without effect once closed."""
        # The flag saves a system call for each call after the first one. A race costs one wake-up too many, never one too
        # few: `wait` clears the flag before its caller takes the items.
        if not self._is_set:
            self._is_set = True
            self._send()

    def close(self) -> None:
        """Ends `wait` for good. From any thread, once nothing sets it any more; a `set` that comes later is dropped."""
        self._closed = True
        self._writer.close()

    def close_reader(self) -> None:
        """Frees the other end. From the thread that waits, or when nothing waits any more."""
        self._closed = True
        self._reader.close()

    async def wait(self) -> bool:
        """Waits until `set` has been called since the last `wait`.

        Returns:
            Whether it has been; `False` once the other side is closed.
        """
        await wait_readable(self._reader)
        return self._receive()

    def wait_in_thread(self) -> bool:
        """The same for a thread without an event loop."""
        ready = poll()
        ready.register(self._reader, POLLIN)
        ready.poll()
        return self._receive()

    def _receive(self) -> bool:
        received = self._reader.recv(_BYTES_AT_ONCE)
        self._is_set = False
        return bool(received)

    def _send(self) -> None:
        try:
            self._writer.send(b"!")
        except BlockingIOError:
            pass  # unread bytes fill the buffer, so the reader will wake
        except OSError:
            if not self._closed:
                raise


@final
class Crossing(Generic[T]):
    """A queue of items on their way to the event loop of another thread; one wake-up carries all that have gathered.

    Items are handed over in the order of their `put`. The queue is unbounded: its producers must be bounded, as by
    the number of tasks that run at the same time.
    """

    def __init__(self) -> None:
        self._items: deque[T] = deque()
        self._wakeup = Wakeup()
        self.close = self._wakeup.close
        self.close_reader = self._wakeup.close_reader

    def put(self, item: T) -> None:
        """Hands an item over. From any thread, never blocks; what comes after `close` is dropped."""
        self.append(item)
        self.wake()

    def append(self, item: T) -> None:
        """Hands an item over with the next wake-up."""
        self._items.append(item)

    def wake(self) -> None:
        """Wakes the other side."""
        self._wakeup.set()

    async def receive(self) -> list[T] | None:
        """Waits for items and returns all that there are, perhaps none; `None` once the other side is closed."""
        if not await self._wakeup.wait():
            return None
        items: list[T] = []
        while self._items:
            items.append(self._items.popleft())
        return items
