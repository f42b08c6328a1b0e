"""Re-entering a scope whose link was lost, instead of patching it up."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf
from typing import Final, final

import structlog
from anyio import CancelScope, current_time, sleep

from hub.errors import HubError, LinkLost, LinkRefused, leaves

FIRST_GAP: Final = 2.0
"""Seconds after the first log line about failed attempts before there is a second one; then twice as long each time."""

LARGEST_GAP: Final = 60.0
"""Seconds between two log lines about failed attempts at most."""

_log = structlog.get_logger("hub.supervision")


@dataclass(frozen=True, slots=True)
class Backoff:
    """Delays between tries, in seconds: doubled each time up to a cap, with jitter so that a fleet does not march in step.

    Attributes:
        first: The upper end of the first delay.
        cap: The upper end of every later one.
    """

    first: float = 0.1
    cap: float = 2.0

    def delays(self, rng: random.Random | None = None) -> Iterator[float]:
        """Endless delays, each drawn evenly between half of its upper end and its upper end."""
        draw = random.uniform if rng is None else rng.uniform  # a generator of one's own costs 10 us to seed
        upper = self.first
        while True:
            yield draw(upper / 2, upper)
            upper = min(upper * 2, self.cap)


@final
class AttemptLog:
    """Logs the failed attempts at one link with growing gaps, so that an outage of an hour is some sixty lines.

    Args:
        link: What is linked, or what is to be brought to a server.
        failing: Text of the line, for what has no link of its own; its success is not logged.
    """

    def __init__(self, link: str, *, failing: str | None = None) -> None:
        self._link = link
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
        """The next failure is news again, unless the link flaps."""
        if self._failures and self._failing is None:
            _log.info("linked again" if self._reached else "linked", link=self._link)
        self._reached = True
        self._failures = 0
        self._gap = min(self._gap, FIRST_GAP)

    def failed(self, reason: str, delay: float) -> None:
        """Counts a failure and logs it if the last line is old enough.

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
        what = "link lost, entering again" if self._reached else "not reached yet, trying again"
        what = what if self._failing is None else self._failing
        _log.warning(what, link=self._link, reason=reason, attempts=self._failures, delay=round(delay, 2))


async def keep_linked(
    session: Callable[[Callable[[], None]], Awaitable[None]],
    *,
    name: str,
    backoff: Backoff | None = None,
    give_up_after: float | None = None,
    refusals_end_it: bool = True,
) -> None:
    """Runs `session` over and over until it returns by itself.

    Each run is a whole scope: it opens its link, uses it, and ends with `LinkLost` when the link breaks; everything
    that hung on the link is gone by then. Any other error ends the loop, and so does cancellation.

    Args:
        session: Called with a function that it calls once its link works, which resets the delays.
        name: What is linked, for the log.
        backoff: The delays between two runs.
        give_up_after: Seconds to try for the first link; an attempt that is under way then is cancelled. 0: a single
            attempt, which takes as long as it takes. Once a link has worked there is no giving up.
        refusals_end_it: Whether `LinkRefused` ends the loop as long as no link has worked.

    Raises:
        LinkRefused: The first link was refused.
        LinkLost: The last one, when no link ever worked within `give_up_after`.
    """
    backoff = backoff or Backoff()
    delays = backoff.delays()
    give_up_at = inf if give_up_after is None else current_time() + give_up_after
    attempts = AttemptLog(name)
    last: LinkLost | None = None

    def linked() -> None:
        nonlocal delays
        delays = backoff.delays()
        attempts.succeeded()
        scope.deadline = inf

    while True:
        scope = CancelScope(deadline=give_up_at if give_up_after and not attempts.reached else inf)
        with scope:
            try:
                with unwrapped():
                    await session(linked)
            except LinkLost as lost:
                last = lost
                if refusals_end_it and isinstance(lost, LinkRefused) and not attempts.reached:
                    raise
            else:
                return
        delay = next(delays)
        failure = last or LinkLost(name, f"no answer within {give_up_after:g} s")
        if not attempts.reached and current_time() + delay > give_up_at:
            raise failure
        attempts.failed(failure.reason, delay)
        await sleep(delay)


@contextmanager
def unwrapped() -> Generator[None]:
    """Lets a lone error out of the exception groups that task groups put around it.

    Several errors come out as one only when all of them are the same kind of `HubError`, or lost links: a lost link
    fails everybody who used it, and that is one event; a refusal among them says why. Anything else, and a group that
    holds a cancellation, stays a group.
    """
    try:
        yield
    except BaseExceptionGroup as group:
        inner = list(leaves(group))
        first = next((leaf for leaf in inner if isinstance(leaf, LinkRefused)), inner[0])
        kind = LinkLost if isinstance(first, LinkLost) else type(first)
        alone = len(inner) == 1 and isinstance(first, Exception)
        alike = isinstance(first, HubError) and all(isinstance(leaf, kind) for leaf in inner)
        if not (alone or alike):
            raise
        context = first.__context__
        try:
            raise first
        finally:
            first.__context__ = context  # raising inside `except` would chain the error to the group that held it
            del first, inner
