"""What the adapters of RabbitMQ have in common when they hold dead letters."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

from anyio import move_on_after

from hub.concurrency.periodic import every

T = TypeVar("T")

LARGEST_PREFETCH: Final = 0xFFFF
"""Unsettled messages that the protocol lets a channel have at most (`basic.qos` has 16 bits for it)."""

IDLE_TIMEOUT: Final = 5.0
"""Seconds without a letter after which no more are waited for: another consumer has those that were counted. As long as a
large letter may take on a slow connection."""

REQUEUE_TIMEOUT: Final = 1.0
"""Seconds that a queue has to count again what was given back. It takes milliseconds, unless another consumer has it by
then."""

REQUEUE_POLL: Final = 0.02
"""Seconds between two counts while letters go back."""


async def collect(receive: Callable[[], Awaitable[Sequence[T]]], wanted: int) -> list[T]:
    """Receives `wanted` messages, or fewer when none has come for `IDLE_TIMEOUT`."""
    letters: list[T] = []
    more = wanted > 0
    while more:
        count = len(letters)
        with move_on_after(IDLE_TIMEOUT):
            letters += await receive()
        more = count < len(letters) < wanted
    return letters


async def until_requeued(count: Callable[[], Awaitable[int]], kept: int) -> None:
    """Waits until a queue counts `kept` messages, so that the next reader finds them.

    The caller bounds it with `REQUEUE_TIMEOUT`.
    """
    async for _ in every(REQUEUE_POLL, immediately=True):
        if await count() >= kept:
            break
