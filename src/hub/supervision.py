"""Re-entering a scope whose link was lost, instead of patching it up."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import structlog
from anyio import current_time, sleep

from hub.errors import HubError, LinkLost, leaves

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
        draw = (rng or random.Random()).uniform  # noqa: S311 - spreads load, guards nothing
        upper = self.first
        while True:
            yield draw(upper / 2, upper)
            upper = min(upper * 2, self.cap)


async def keep_linked(
    session: Callable[[Callable[[], None]], Awaitable[None]],
    *,
    name: str,
    backoff: Backoff | None = None,
    give_up_after: float | None = None,
) -> None:
    """Runs `session` over and over until it returns by itself.

    Each run is a whole scope: it opens its link, uses it, and ends with `LinkLost` when the link breaks; everything
    that hung on the link is gone by then. Any other error ends the loop, and so does cancellation.

    Args:
        session: Called with a function that it calls once its link works, which resets the delays.
        name: What is linked, for the log.
        backoff: The delays between two runs.
        give_up_after: Seconds to try for the first link. Once a link has worked there is no giving up.

    Raises:
        LinkLost: The last one, when no link ever worked within `give_up_after`.
    """
    backoff = backoff or Backoff()
    delays = backoff.delays()
    started = current_time()
    linked_once = False

    def linked() -> None:
        nonlocal delays, linked_once
        delays = backoff.delays()
        linked_once = True

    while True:
        try:
            with unwrapped():
                await session(linked)
        except LinkLost as lost:
            delay = next(delays)
            waited = current_time() - started
            if not linked_once and give_up_after is not None and waited + delay > give_up_after:
                raise
            _log.warning("link lost, entering again", link=name, reason=lost.reason, delay=round(delay, 2))
        else:
            return
        await sleep(delay)


@contextmanager
def unwrapped() -> Generator[None]:
    """Lets a lone error out of the exception groups that task groups put around it.

    Several errors come out as one only when all of them are the same kind of `HubError`: a lost link fails everybody
    who used it, and that is one event. Anything else, and a group that holds a cancellation, stays a group.
    """
    try:
        yield
    except BaseExceptionGroup as group:
        inner = list(leaves(group))
        first = inner[0]
        alone = len(inner) == 1 and isinstance(first, Exception)
        alike = isinstance(first, HubError) and all(type(leaf) is type(first) for leaf in inner)
        if not (alone or alike):
            raise
        context = first.__context__
        try:
            raise first
        finally:
            first.__context__ = context  # raising inside `except` would chain the error to the group that held it
            del first, inner
