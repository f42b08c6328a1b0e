"""Limits of a worker."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from hub.histogram import SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """Times in seconds.

    Attributes:
        start_timeout: To try for the first connection to the broker.
        store_timeout: That a delivery or an outcome waits for a store that is out of reach.
        drain_grace: That running tasks have to finish once the worker stops.
        attempt_limit: Runs of one task that may be cut short by the end of their instance.
        run_limit: That one run may take, whatever the deadline of its task: below the time after which the broker takes a
            silent consumer for dead and delivers the task to another instance.
        result_limit: Bytes of a serialized response, or of one chunk, at most; 0: any size that the store takes.
        stream_limit: Bytes of all chunks of one run at most; 0: any number.
        buckets: Upper bounds of the buckets in which times are counted.
        debug: Store tracebacks of failed tasks.
    """

    start_timeout: float = 60.0
    store_timeout: float = 60.0
    drain_grace: float = 30.0
    attempt_limit: int = 5
    run_limit: float = inf
    result_limit: int = 0
    stream_limit: int = 0
    buckets: tuple[float, ...] = SECONDS
    debug: bool = False
