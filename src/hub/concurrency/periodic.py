"""Work that is done once per period, on an absolute schedule.

The problem: `while True: await work(); await sleep(period)` drifts, because the period begins after the work. A loop
that adds the period to the last due time does not drift, but after a stall (a suspended machine, a slow server) it
makes up for all missed beats at once. `every` does neither: beats keep their schedule as long as the work is faster than
the period; a late beat comes at once, is not repeated, and the schedule goes on from there.

    async for _ in every(10.0):
        with move_on_after(10.0):
            await ping_all()

Cancellation: a beat can be cancelled while it waits, and the schedule survives it: the next beat is due at the same time.
The iterator is an object with `__anext__`, not an async generator, so that no cancel scope or task group around the
loop is left half-way when the loop ends early (PEP 789): `break`, `return` and errors need no `aclosing`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import final

from anyio import current_time, sleep_until
from typing_extensions import override


def every(period: float, *, immediately: bool = False) -> AsyncIterator[None]:
    """An endless iterator with one beat per period: `due = max(due + period, now)`.

    The clock starts at the first iteration. Every beat is a checkpoint, also one that is due already.

    Args:
        period: Seconds between two beats.
        immediately: Whether the first beat comes at once; otherwise it comes after a period.
    """
    return _Beats(period, immediately=immediately)


@final
class _Beats(AsyncIterator[None]):
    def __init__(self, period: float, *, immediately: bool) -> None:
        self._period = period
        self._immediately = immediately
        self._due: float | None = None

    @override
    async def __anext__(self) -> None:
        now = current_time()
        if self._due is None:
            self._due = now - self._period if self._immediately else now
        due = max(self._due + self._period, now)
        await sleep_until(due)
        # Not before the wait: a beat whose wait was cancelled is still due. One that woke a period late is not repeated.
        self._due = due if (now := current_time()) < due + self._period else now
