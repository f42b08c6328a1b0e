"""A timeout that raises the error of the domain.

The problem: `fail_after` raises `TimeoutError`, which names neither what did not answer nor what to do about it.
Translating it with `except TimeoutError` around the block also translates every other `TimeoutError` that leaves the
block: one of an inner timeout, or of the operating system (`ETIMEDOUT` is one since Python 3.10). `timeout_as` checks
its own deadline instead.

    with timeout_as(lambda: PublishTimeout(queue), 5.0):
        await broker.publish(message)

    with connection_timeout("the result store", 2.0):
        record = await store.fetch(task_id)

Cancellation: from outside it passes through, also when the deadline has passed meanwhile. The block is cancelled at the
deadline; a block that has finished by then, or that ends with an error of its own, is left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager

from anyio import CancelScope, current_time, move_on_after

from hub.errors import ConnectionLost


@contextmanager
def timeout_as(
    error: Callable[[], Exception], seconds: float | None, *, shield: bool = False
) -> Generator[CancelScope]:
    """Cancels the block after `seconds`, and raises `error()` if that ended it. Any other error passes unchanged.

    Yields the cancel scope, whose `deadline` may be moved. A block that ends because of `scope.cancel()` raises nothing.

    Args:
        error: Makes the error; called at the deadline.
        seconds: Time for the block; `None` for as long as it takes.
        shield: Whether cancellations from outside wait for the end of the block.
    """
    with move_on_after(seconds, shield=shield) as scope:
        yield scope
    if scope.cancelled_caught and current_time() >= scope.deadline:
        raise error() from None  # the cancellation that ended the block came from this scope


def connection_timeout(server: str, seconds: float, *, shield: bool = False) -> AbstractContextManager[CancelScope]:
    """Bounds calls to a server: one that has not answered in time counts as lost.

    Args:
        server: The server, for the error.
        seconds: Time for the block.
        shield: As for `timeout_as`.

    Raises:
        ConnectionLost: The block did not end in time.
    """
    return timeout_as(lambda: ConnectionLost(server, f"no answer within {seconds:g} s"), seconds, shield=shield)
