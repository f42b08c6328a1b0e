"""The chunks of one run on their way from the code of the model, in any thread, to the event loop of the worker.

A generator may be faster than the store. It is not advanced while more than a window of its chunks waits, so that a slow
store costs time and not memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, final

from hub.errors import HubError
from hub.model.errors import ChunkTooLarge, StreamTooLarge
from hub.model.execution.wakeup import Wakeup

WINDOW_CHUNKS: Final = 128
"""Chunks of one run that may wait for the store: enough for several round trips of a generator that yields small chunks."""

WINDOW_BYTES: Final = 1024 * 1024
"""Bytes of these chunks, without the last one: as many tasks as one instance runs may have so many each."""


def _ignore() -> None: ...


@final
class WakeupPool:
    """Wake-ups for producers that wait. They are used again, so that a late `set` never meets a closed socket."""

    def __init__(self) -> None:
        self._free: deque[Wakeup] = deque()
        self._closed = False

    def take(self) -> Wakeup:
        """From any thread."""
        try:
            return self._free.pop()
        except IndexError:
            return Wakeup()

    def put_back(self, wakeup: Wakeup) -> None:
        """From any thread."""
        self._free.append(wakeup)
        if self._closed:
            self.close()

    def close(self) -> None:
        """Closes those that nothing waits for; the others are closed when they are put back."""
        self._closed = True
        while self._free:
            wakeup = self._free.pop()
            wakeup.close()
            wakeup.close_reader()


@final
class ChunkWindow:
    """The chunks of one run that are not stored yet.

    One producer calls `put`, and while the window is `full` waits for room. One consumer, in the event loop of the worker,
    sets `on_arrival` and takes the chunks. Each counter has one writer, so there is no lock.

    Args:
        wakeups: Where a producer that waits gets its wake-up.
        announce: Called by the producer when there is something to take; its consumer calls `arrived` then, in its own loop.
        stream_limit: Bytes of all chunks at most; 0: any number.
        chunk_limit: Bytes of one chunk at most; 0: any number.

    Attributes:
        on_arrival: Called in the event loop of the consumer when there is something to take, or the producer has returned.
    """

    def __init__(
        self,
        wakeups: WakeupPool,
        announce: Callable[[ChunkWindow], None],
        *,
        stream_limit: int = 0,
        chunk_limit: int = 0,
    ) -> None:
        self.on_arrival: Callable[[], None] = _ignore
        self._wakeups = wakeups
        self._announce = announce
        self._stream_limit = stream_limit
        self._chunk_limit = chunk_limit
        self._bodies: deque[bytes] = deque()
        self._announced = False
        self._put = self._put_bytes = 0
        self._stored = self._stored_bytes = 0
        self._waiter: Wakeup | None = None
        self._error: HubError | None = None
        self._ended = False
        self._closed = False

    @property
    def full(self) -> bool:
        """Whether the producer has to wait before it makes another chunk."""
        return (
            self._put - self._stored >= WINDOW_CHUNKS or self._put_bytes - self._stored_bytes >= WINDOW_BYTES
        ) and not self._closed

    @property
    def closed(self) -> bool:
        """Whether no more chunks are wanted."""
        return self._closed

    @property
    def ended(self) -> bool:
        """Whether the producer has returned."""
        return self._ended

    @property
    def stored(self) -> int:
        """Chunks that the store has."""
        return self._stored

    def put(self, body: bytes) -> bool:
        """Adds a chunk. Returns whether more are wanted; `False` when the run has ended or a limit is exceeded."""
        if self._closed:
            return False
        if self._chunk_limit and len(body) > self._chunk_limit:
            self._error = ChunkTooLarge(len(body), self._chunk_limit)
        elif self._stream_limit and self._put_bytes + len(body) > self._stream_limit:
            self._error = StreamTooLarge(self._stream_limit, self._put)
        else:
            self._bodies.append(body)
            self._put += 1
            self._put_bytes += len(body)
        self._closed = self._error is not None
        if not self._announced:
            self._announced = True
            self._announce(self)
        return not self._closed

    async def wait_for_room(self) -> None:
        """Waits until the window is not full any more, or the run has ended. In any event loop."""
        wakeup = self._waiter = self._wakeups.take()
        try:
            while self.full:
                await wakeup.wait()
        finally:
            self._waiter = None
            self._wakeups.put_back(wakeup)

    def wait_for_room_in_thread(self) -> None:
        """The same for a producer without an event loop."""
        wakeup = self._waiter = self._wakeups.take()
        try:
            while self.full:
                wakeup.wait_in_thread()
        finally:
            self._waiter = None
            self._wakeups.put_back(wakeup)

    def arrived(self) -> None:
        """Tells the consumer. Called in its event loop, some time after `announce`."""
        self._announced = False
        self.on_arrival()

    def take(self) -> list[bytes]:
        """All chunks that wait; an empty list if there are none.

        Raises:
            StreamTooLarge: The next chunk would exceed `stream_limit`.
            ChunkTooLarge: The next chunk exceeds `chunk_limit`.
        """
        bodies: list[bytes] = []
        while self._bodies:
            bodies.append(self._bodies.popleft())
        if not bodies and self._error is not None:
            raise self._error
        return bodies

    def mark_stored(self, bodies: list[bytes]) -> None:
        """The store has these chunks, which `take` returned."""
        self._stored += len(bodies)
        self._stored_bytes += sum(map(len, bodies))
        self._wake_producer()

    def end(self) -> None:
        """The producer has returned. Called in the event loop of the consumer."""
        self._ended = True
        self.on_arrival()

    def close(self) -> None:
        """The run has ended: what its producer still makes is dropped, and it does not wait."""
        self._closed = True
        self._wake_producer()

    def _wake_producer(self) -> None:
        waiter = self._waiter
        if waiter is not None:
            waiter.set()
