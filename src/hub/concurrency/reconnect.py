"""Re-entering a scope whose link was lost, instead of patching it up."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from math import inf

from anyio import CancelScope, current_time, sleep

from hub.concurrency.exceptions import collapse_exception_group
from hub.concurrency.retrying import AttemptLog, ExponentialBackoff
from hub.errors import ConnectionLost, ConnectionRefused


async def run_reconnecting(
    session: Callable[[Callable[[], None]], Awaitable[None]],
    *,
    name: str,
    backoff: ExponentialBackoff | None = None,
    give_up_after: float | None = None,
    refusals_end_it: bool = True,
) -> None:
    """Runs `session` over and over until it returns by itself.

    Each run is a whole scope: it opens its link, uses it, and ends with `ConnectionLost` when the link breaks; everything
    that hung on the link is gone by then. Any other error ends the loop, and so does cancellation.

    Args:
        session: Called with a function that it calls once its link works, which resets the delays.
        name: What is linked, for the log.
        backoff: The delays between two runs.
        give_up_after: Seconds to try for the first link; an attempt that is under way then is cancelled. 0: a single
            attempt, which takes as long as it takes. Once a link has worked there is no giving up.
        refusals_end_it: Whether `ConnectionRefused` ends the loop as long as no link has worked.

    Raises:
        ConnectionRefused: The first link was refused.
        ConnectionLost: The last one, when no link ever worked within `give_up_after`.
    """
    backoff = backoff or ExponentialBackoff()
    delays = backoff.intervals()
    give_up_at = inf if give_up_after is None else current_time() + give_up_after
    attempts = AttemptLog(name)
    last: ConnectionLost | None = None

    def linked() -> None:
        nonlocal delays
        delays = backoff.intervals()
        attempts.succeeded()
        scope.deadline = inf

    while True:
        scope = CancelScope(deadline=give_up_at if give_up_after and not attempts.reached else inf)
        with scope:
            try:
                with collapse_exception_group():
                    await session(linked)
            except ConnectionLost as lost:
                last = lost
                if refusals_end_it and isinstance(lost, ConnectionRefused) and not attempts.reached:
                    raise
            else:
                return
        delay = next(delays)
        failure = last or ConnectionLost(name, f"no answer within {give_up_after:g} s")
        if not attempts.reached and current_time() + delay > give_up_at:
            raise failure
        attempts.failed(failure.reason, delay)
        await sleep(delay)
