"""Work whose size is decided by a caller, kept off the event loop.

A body of a few megabytes keeps Python busy for a second. On the event loop nothing else would happen in that second: no
heartbeat, no ping, no other client. In a thread it takes turns with the loop, which waits for the interpreter's lock at
most `sys.getswitchinterval()` (5 ms) at a time, or as long as one call into C keeps it (decision 163 has figures).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from anyio import CapacityLimiter
from anyio.lowlevel import RunVar
from anyio.to_thread import run_sync

LARGE: Final = 32 * 1024
"""Bytes of a message or document from which on it is worked on in a thread. The way there and back costs 70 us; so many
bytes of JSON take 0.05 ms (one string) to 3.5 ms (a `Struct`), less than the loop would wait for the thread anyway."""

CONTRACT_WEIGHT: Final = 16
"""A byte of descriptors costs as much as so many bytes of JSON: 2 kB take about 8 ms to compile."""

THREADS: Final = 2
"""Threads for such work, so that a body of 40 kB does not wait for one of 4 MB. They share one interpreter's lock, so more
would make the loop wait longer and no body faster."""

T = TypeVar("T")

_limiter: Final = RunVar[CapacityLimiter]("hub.concurrency.offload limiter")


async def in_thread_if_large(size: int, call: Callable[[], T]) -> T:
    """Calls `call` here, or in a thread if it is about `LARGE` bytes or more.

    In a thread it cannot be interrupted: a caller that is cancelled meanwhile gets its cancellation when the call has
    ended, and the thread is taken until then. One that waits for a thread is cancelled at once. So an abandoned call leaves
    no thread behind that the limiter does not count.

    Args:
        size: Bytes that the work is about, weighed if they cost more than those of JSON.
        call: What to do; it must not touch what the event loop's tasks change.
    """
    return call() if size < LARGE else await run_sync(call, limiter=_threads())


def _threads() -> CapacityLimiter:
    """The limiter of this event loop: not anyio's own, which models and their libraries may have taken."""
    try:
        return _limiter.get()
    except LookupError:
        limiter = CapacityLimiter(THREADS)
        _limiter.set(limiter)
        return limiter
