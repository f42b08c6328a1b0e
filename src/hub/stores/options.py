"""What can be set about a result store, whichever adapter talks to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from hub.histogram import SECONDS
from hub.types import WallClock, wall_clock

UNFINISHED_TTL: Final = 7 * 24 * 3600.0
"""Seconds that the record of a task which has not ended is kept after its last change, if its own TTL is not longer.

A task may wait in its queue, or run, for longer than its outcome is to be kept.
"""

TOMBSTONE_TTL: Final = 24 * 3600.0
"""Seconds that an expired record is still known as `Absent.GONE`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreOptions:
    """How a store is kept in touch with.

    Attributes:
        read_timeout: Seconds without an answer after which the server counts as lost.
        timeout: Seconds that a call waits for a lost connection to come back before it ends in `ConnectionLost`; an idle connection is
            tested as often.
        buckets: Upper bounds of the buckets in which the times of calls are counted, in seconds.
        listing: Seconds between two updates of the lists of running tasks; see `ResultStore.recent`.
        clock: Dates the records. Lifetimes are counted by the server's own clock, or by this one in memory.
    """

    read_timeout: float = 5.0
    timeout: float = 2.0
    buckets: tuple[float, ...] = SECONDS
    listing: float = 0.5
    clock: WallClock = wall_clock
