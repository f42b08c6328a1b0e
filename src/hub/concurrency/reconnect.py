"""Reconnecting by entering a scope again, instead of mending what hangs on a connection.

The problem: a broken connection takes channels, subscriptions, declared queues and the tasks that use them with it. Code
that repairs each of them in place has a state for every combination of what is up and what is not. Here a connection is a
scope: a function that opens it, uses it, and ends with `ConnectionLost` when it breaks; by then everything that was opened
inside is gone. `run_reconnecting` calls it again.

    async def session(connected: Callable[[], None]) -> None:
        async with open_connection(url) as connection, connection.consume(queue) as consumer:
            connected()  # it works: the next failure is a new one, and its first pause is short
            async for delivery in consumer:
                await handle(delivery)

    await run_reconnecting(session, name="broker", retry_for=30)

Cancellation: it ends the session like any other scope, and the pause between two sessions; nothing is retried after it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from math import inf

from anyio import CancelScope, current_time

from hub.concurrency.exceptions import collapse_exception_group
from hub.concurrency.retrying import DEFAULT_BACKOFF, AttemptLog, ExponentialBackoff, retrying
from hub.concurrency.timeouts import timeout_as
from hub.errors import ConnectionLost, ConnectionRefused


async def run_reconnecting(
    session: Callable[[Callable[[], None]], Awaitable[None]],
    *,
    name: str,
    backoff: ExponentialBackoff = DEFAULT_BACKOFF,
    retry_for: float | None = None,
    retry_refusals: bool = False,
    once: bool = False,
) -> None:
    """Runs `session` again after each `ConnectionLost`, until it returns. Any other error is raised.

    An exception group of lost connections counts as one; see `collapse_exception_group`.

    Args:
        session: Called with a function that it calls once its connection works.
        name: What is connected to, for the log.
        backoff: The pauses between two sessions.
        retry_for: Seconds to try for the first connection; an attempt that is under way then is cancelled. 0: a single
            attempt, which may take any time. `None`: without a limit, as after the first connection.
        retry_refusals: Whether `ConnectionRefused` is retried also before the first connection.
        once: Whether a connection that was lost after it had worked is raised instead of retried.

    Raises:
        ConnectionRefused: The first connection was refused.
        ConnectionLost: The last one, when none worked within `retry_for`; or see `once`.
    """
    until = inf if retry_for is None else current_time() + retry_for
    log = AttemptLog(name)
    last: ConnectionLost | None = None

    def is_retried(error: Exception) -> bool:
        nonlocal last
        if not isinstance(error, ConnectionLost):
            return False
        last = error
        return not once if log.reached else retry_refusals or not isinstance(error, ConnectionRefused)

    def no_answer() -> ConnectionLost:
        return last or ConnectionLost(name, f"no answer within {retry_for:g} s")

    attempts = retrying(on=is_retried, backoff=backoff, until=until, on_retry=log.on_retry)

    def connected(scope: CancelScope) -> None:
        scope.deadline = attempts.until = inf
        attempts.reset()
        log.succeeded()

    async for attempt in attempts:
        seconds = until - current_time() if retry_for and not log.reached else None
        with attempt, timeout_as(no_answer, seconds) as scope, collapse_exception_group():
            await session(partial(connected, scope))
