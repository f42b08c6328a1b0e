"""What the HTTP servers of a process and the layers in front of their routes have refused, for the metrics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(slots=True)
class ServerLoad:
    """Counts of all servers of a process.

    Attributes:
        open: Connections that are open now.
        refused: Connections that were answered 503 at once, since there was no room.
        evicted: Idle connections that were closed to make room.
        paused: Times that accepting stopped for a moment, since the system had no descriptors left.
        timeouts: Requests that were given up since they arrived too slowly.
        malformed: Requests that were refused as no proper HTTP.
        cross_site: Requests of pages of other origins that were refused (403).
        unknown_host: Requests for other hosts that were refused (421).
    """

    open: int = 0
    refused: int = 0
    evicted: int = 0
    paused: int = 0
    timeouts: int = 0
    malformed: int = 0
    cross_site: int = 0
    unknown_host: int = 0


LOAD: Final = ServerLoad()
"""What has happened so far in this process."""
