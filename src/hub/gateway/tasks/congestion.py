"""Whether the gateway keeps up: how many submits and look-ups are under way, and refusing more above a bound."""

from __future__ import annotations

from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import dataclass
from math import inf
from types import TracebackType
from typing import Final, final

import structlog
from anyio import current_time
from typing_extensions import override

FLOOR: Final = 100
"""Requests under way that are never too many, at whatever rate they end: some groups of `hub.concurrency.batching` at once."""

BURST: Final = 1_000
"""Requests by which a burst may exceed the limit: more than clients on one machine send at once."""

WINDOW: Final = 1.0
"""Seconds over which the rate is measured at which requests end."""

QUIET: Final = 60.0
"""Seconds between two log lines about refusals at least."""

request_mark: ContextVar[object] = ContextVar("hub_gateway_request", default=None)
"""The mark of the request that is handled, until its step begins."""

_log = structlog.get_logger("hub.gateway")


@dataclass(frozen=True, slots=True, kw_only=True)
class CongestionStatistics:
    """`under_way` submits and look-ups are not done yet, the oldest for `oldest` seconds; `refused` requests so far.

    More than `limit` under way are too many, if it lasts; infinite without a limit.
    """

    under_way: int
    oldest: float
    limit: float
    refused: int


@final
class Congestion:
    """Knows the submits that are not accepted yet and the look-ups of tasks that are not answered yet.

    By Little's law their number, divided by the rate at which they end, is the time that each takes. So the number has a
    limit: the measured rate times `busy_after`, at least `FLOOR`. At the limit a request is let in when another one ends,
    so that the gateway is never idle, and what it has let in takes about `busy_after`.

    A burst may exceed the limit by `BURST` requests, once: again when the gateway has had nothing under way, and been
    below its limit, for `busy_after`.

    Waiting for an outcome does not count, neither does waiting for the body of a client, nor do the lines of a batch,
    which has a limit of its own.

    Args:
        busy_after: Seconds that a request may be under way on average; 0: any time.
    """

    def __init__(self, busy_after: float = 0.0) -> None:
        self._busy_after = busy_after
        self._began: dict[object, float] = {}
        self._ended = 0
        self._measured_at = -inf
        self._rate = 0.0
        self._credit = BURST
        self._full_at = -inf
        self._refused = 0
        self._logged_at = -inf

    @property
    def busy_after(self) -> float:
        return self._busy_after

    def statistics(self) -> CongestionStatistics:
        now = current_time()
        return CongestionStatistics(
            under_way=len(self._began),
            oldest=max((now - began for began in self._began.values()), default=0.0),
            limit=self._limit(now) if self._busy_after else inf,
            refused=self._refused,
        )

    def enter(self) -> object:
        """Counts a request as under way until `end` or `leave` are called with what this returns."""
        mark = object()
        self._began[mark] = current_time()
        return mark

    def leave(self, mark: object) -> None:
        """Counts a request no longer. One that failed is none of those whose rate is measured: it may end sooner than they do."""
        self._began.pop(mark, None)

    def end(self, mark: object) -> None:
        """Counts a request no longer since it has ended. Does nothing if it counts no longer."""
        if self._began.pop(mark, None) is not None:
            self._ended += 1

    def step(self) -> AbstractContextManager[None]:
        """Counts as under way what is done in the block, and the request that it is done for only that long."""
        return _Step(self)

    def refuses(self) -> bool:
        """Whether a request that arrives now must not be taken. Counts it if so."""
        if not self._busy_after:
            return False
        now, under_way = current_time(), len(self._began)
        if under_way < self._limit(now):
            if not under_way and now - self._full_at > self._busy_after:
                self._credit = BURST
            return False
        self._full_at = now
        if self._credit:
            self._credit -= 1
            return False
        self._refused += 1
        if now - self._logged_at > QUIET:
            self._logged_at = now
            _log.warning(
                "more requests than the gateway can take: further ones get 503 until it has caught up",
                under_way=len(self._began),
                per_second=round(self._rate),
                setting="busy_after",
            )
        return True

    def _limit(self, now: float) -> float:
        if (seconds := now - self._measured_at) >= WINDOW:
            self._rate = self._ended / seconds
            self._ended = 0
            self._measured_at = now
        return max(FLOOR, self._rate * self._busy_after)


@final
class _Step(AbstractContextManager[None]):
    """The block of `Congestion.step`; a class, since a generator costs twice as much, and this is done for each request."""

    __slots__ = ("_congestion", "_mark")

    def __init__(self, congestion: Congestion) -> None:
        self._congestion = congestion
        self._mark: object = None

    @override
    def __enter__(self) -> None:
        self._congestion.leave(request_mark.get())
        self._mark = self._congestion.enter()

    @override
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self._congestion.end(self._mark)
        else:
            self._congestion.leave(self._mark)
