"""Trying again after an error that passes: with growing pauses, until a deadline.

The problem: the loop `while True: try ... except ConnectionLost: await sleep(next(delays))` is short, and easy to get
wrong in each of its copies: delays that are never reset, a deadline that is checked before the sleep but not with it, an
`except` that catches more than it should, a `return` whose value is lost. `retrying` has the shape of stamina's
`retry_context`:

    async for attempt in retrying(on=ConnectionLost, until=current_time() + 30):
        with attempt:
            await store.finish(outcomes)

The loop ends after the first attempt whose block ends without an error. An error that is worth another attempt is
swallowed by the block, and the loop sleeps before the next one; the last error, and any other, leaves the block as it is.
A function with a result is shorter: `start = await retrying(on=ConnectionLost).call(ask)`.

Work that repeats for ever has a loop around it; each success begins with a fresh backoff:

    while True:
        await changed.wait_for(lambda: pending)
        async for attempt in retrying(on=ConnectionLost, on_retry=attempts.on_retry):
            with attempt:
                await write(pending)

A session that works for hours and then fails calls `attempt.reset()` once it works: the pauses begin anew.

Cancellation: it is never retried; it ends the loop, during an attempt and during a pause. A deadline (`until`) does not cut
an attempt short: bound each one inside the block (`with attempt, connection_timeout(...)`). An exception group is not
opened: put `collapse_exception_group()` between the block and a task group.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from math import inf
from types import TracebackType
from typing import Final, TypeAlias, TypeVar, final

import structlog
from anyio import current_time, sleep
from typing_extensions import override

from hub.errors import ConnectionLost

T = TypeVar("T")

FIRST_GAP: Final = 2.0
"""Seconds after the first log line about failed attempts before there is a second one; then twice as long each time."""

LARGEST_GAP: Final = 60.0
"""Seconds between two log lines about failed attempts at most."""

_log = structlog.get_logger("hub.retrying")


@dataclass(frozen=True, slots=True)
class ExponentialBackoff:
    """Pauses between attempts, in seconds: doubled each time up to a maximum.

    They have jitter, so that the processes of a fleet do not try at the same moments.

    Attributes:
        initial: The upper end of the first pause.
        maximum: The upper end of every later one.
    """

    initial: float = 0.1
    maximum: float = 2.0

    def intervals(self, rng: random.Random | None = None) -> Iterator[float]:
        """Endless pauses, each drawn evenly between half of its upper end and its upper end."""
        draw = random.uniform if rng is None else rng.uniform  # a generator of its own would take 10 us to seed
        upper = self.initial
        while True:
            yield draw(upper / 2, upper)
            upper = min(upper * 2, self.maximum)


Retried: TypeAlias = type[Exception] | tuple[type[Exception], ...] | Callable[[Exception], bool]
"""Errors that are worth another attempt: a class, several, or a function that decides."""

DEFAULT_BACKOFF: Final = ExponentialBackoff()


def retrying(
    *,
    on: Retried,
    backoff: ExponentialBackoff = DEFAULT_BACKOFF,
    until: float = inf,
    on_retry: Callable[[Exception, float], None] | None = None,
    sleep: Callable[[float], Awaitable[object]] = sleep,
    rng: random.Random | None = None,
) -> Retrying:
    """Attempts for an `async for`, each of which is a context manager; see the text of this module.

    Args:
        on: The errors to retry.
        backoff: The pauses between attempts.
        until: Time of the event loop's clock. An error is raised if the pause after it would end later; `-inf` makes it a
            single attempt.
        on_retry: Called with an error that is retried and the seconds until the next attempt, for a line in the log.
        sleep: What to do for the time of a pause, if it may end early.
        rng: Where the jitter comes from.
    """
    return Retrying(on, backoff=backoff, until=until, on_retry=on_retry, sleep=sleep, rng=rng)


@final
class Retrying(AsyncIterator["Attempt"]):
    """What `retrying` returns: an iterator over attempts. Iterate over it once, from one task.

    Attributes:
        until: The deadline, which may be moved.
    """

    def __init__(
        self,
        on: Retried,
        *,
        backoff: ExponentialBackoff,
        until: float,
        on_retry: Callable[[Exception, float], None] | None,
        sleep: Callable[[float], Awaitable[object]],
        rng: random.Random | None,
    ) -> None:
        self._on = on
        self._backoff = backoff
        self.until = until
        self._on_retry = on_retry
        self._sleep = sleep
        self._rng = rng
        self._delays = self._fresh_delays()
        self._number = 0
        self._delay: float | None = 0.0
        """Seconds until the next attempt; `None` if there is none, which every attempt begins with."""

    @override
    async def __anext__(self) -> Attempt:
        if self._delay is None:
            raise StopAsyncIteration
        if self._number:
            await self._sleep(self._delay)
        self._delay = None
        self._number += 1
        return Attempt(self, self._number)

    async def call(self, function: Callable[[], Awaitable[T]]) -> T:
        """Calls `function` until it returns, and returns what it returned.

        Raises:
            Exception: What its last attempt raised.
        """
        async for attempt in self:
            with attempt:
                return await function()
        raise AssertionError  # pragma: no cover - the last attempt returns or raises

    def reset(self) -> None:
        """The next pause is as short as the first one."""
        self._delays = self._fresh_delays()

    def retries(self, error: Exception) -> bool:
        """Whether another attempt follows this error; used by `Attempt`."""
        if not _is_retried(error, self._on):
            return False
        delay = next(self._delays)
        if current_time() + delay > self.until:
            return False
        self._delay = delay
        if self._on_retry is not None:
            self._on_retry(error, delay)
        return True

    def _fresh_delays(self) -> Iterator[float]:
        return self._backoff.intervals(self._rng)


@final
class Attempt(AbstractContextManager["Attempt", bool]):
    """One attempt; its block swallows an error that another attempt follows.

    Attributes:
        number: Counting from 1.
    """

    def __init__(self, attempts: Retrying, number: int) -> None:
        self.number = number
        self._attempts = attempts

    def reset(self) -> None:
        """Call it once the attempt works: if it fails later, the pause is as short as the first one."""
        self._attempts.reset()

    @override
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        return isinstance(error, Exception) and self._attempts.retries(error)


def _is_retried(error: Exception, on: Retried) -> bool:
    if isinstance(on, type):
        return isinstance(error, on)
    return on(error) if callable(on) else isinstance(error, on)


@final
class AttemptLog:
    """Logs failed attempts with growing gaps between the lines, so that an outage of an hour is some sixty lines.

    Args:
        target: What is connected to, or what is to be written to a server.
        failing: Text of the line, for what has no connection of its own; its success is not logged.
    """

    def __init__(self, target: str, *, failing: str | None = None) -> None:
        self._target = target
        self._failing = failing
        self._reached = False
        self._gap = 0.0
        self._logged_at = -inf
        self._failures = 0

    @property
    def reached(self) -> bool:
        """Whether an attempt has ever succeeded."""
        return self._reached

    def succeeded(self) -> None:
        """The next failure is logged at once, unless failures and successes alternate quickly."""
        if self._failures and self._failing is None:
            _log.info("connected again" if self._reached else "connected", target=self._target)
        self._reached = True
        self._failures = 0
        self._gap = min(self._gap, FIRST_GAP)

    def on_retry(self, error: Exception, delay: float) -> None:
        """Counts a failure as `failed` does; for `retrying(on_retry=...)`."""
        self.failed(error.reason if isinstance(error, ConnectionLost) else str(error) or "no answer in time", delay)

    def failed(self, reason: str, delay: float) -> None:
        """Counts a failure, and logs it if the last line is old enough.

        Args:
            reason: Why it failed.
            delay: Seconds until the next attempt.
        """
        self._failures += 1
        now = current_time()
        if now - self._logged_at < self._gap:
            return
        self._logged_at = now
        self._gap = min(2 * self._gap, LARGEST_GAP) or FIRST_GAP
        event = "connection lost, trying again" if self._reached else "not connected yet, trying again"
        event = event if self._failing is None else self._failing
        _log.warning(event, target=self._target, reason=reason, attempts=self._failures, delay=round(delay, 2))
