"""Waiting for dead letters to be back on their queue, in virtual time."""

from __future__ import annotations

import anyio
import pytest
from trio.testing import MockClock

from hub.brokers.dead_letters import REQUEUE_POLL, collect, until_requeued


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, object]]:
    return "trio", {"clock": MockClock(autojump_threshold=0)}


class Queue:
    """Counts as many messages as the test says, one value after the other; each count takes a moment."""

    def __init__(self, *counts: int) -> None:
        self.counts = list(counts)
        self.asked = 0

    async def count(self) -> int:
        self.asked += 1
        await anyio.lowlevel.checkpoint()
        return self.counts.pop(0) if len(self.counts) > 1 else self.counts[0]


async def test_a_queue_is_counted_until_it_has_the_letters_again() -> None:
    queue = Queue(0, 1, 3)
    start = anyio.current_time()
    await until_requeued(queue.count, 3)
    assert queue.asked == 3
    assert anyio.current_time() - start == pytest.approx(2 * REQUEUE_POLL)


async def test_a_queue_is_counted_at_a_pace_and_not_in_a_busy_loop() -> None:
    queue = Queue(0)
    with anyio.move_on_after(1.0) as scope:
        await until_requeued(queue.count, 3)
    assert scope.cancelled_caught
    assert queue.asked <= 1.0 / REQUEUE_POLL + 1


async def test_letters_that_another_consumer_has_are_not_waited_for_without_end() -> None:
    arrived = [["one"], ["two"]]

    async def receive() -> list[str]:
        if not arrived:
            await anyio.sleep_forever()
        return arrived.pop(0)

    assert await collect(receive, 5) == ["one", "two"]
