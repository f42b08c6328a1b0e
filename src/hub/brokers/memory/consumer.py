"""A consumer of the memory broker."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import final

from anyio import current_time, move_on_at
from anyio.lowlevel import checkpoint
from typing_extensions import override

from hub.brokers.memory.queue import MemoryQueue, QueueConsumer, QueuedMessage
from hub.concurrency.notify import Notifier
from hub.errors import ConnectionLost
from hub.ports.broker import Consumer, Delivery


@final
class MemoryConsumer(Consumer, QueueConsumer):
    """One subscription to one `MemoryQueue`; attached to it from the start.

    `stop`, `lose` and `close` may come in any order and more than once. `receive` waits for ever after `stop`.
    """

    def __init__(self, queue: MemoryQueue, *, prefetch: int) -> None:
        self._queue = queue
        self._prefetch = prefetch
        self._unsettled: dict[int, QueuedMessage] = {}
        self._inbox: list[Delivery] = []  # handed out by the queue, not received yet; its messages are unsettled too
        self._next_tag = 1
        self._lost: str | None = None
        self._changed = Notifier()
        queue.attach(self)

    @property
    def queue(self) -> MemoryQueue:
        return self._queue

    @property
    @override
    def unsettled(self) -> int:
        return len(self._unsettled)

    @property
    @override
    def has_room(self) -> bool:
        return len(self._unsettled) < self._prefetch

    def check(self) -> None:
        """Raises `ConnectionLost` if the connection is lost."""
        if self._lost is not None:
            raise ConnectionLost("memory://", self._lost)

    @override
    def put(self, message: QueuedMessage) -> None:
        tag = self._next_tag
        self._next_tag += 1
        self._unsettled[tag] = message
        self._inbox.append(
            Delivery(
                tag=tag,
                body=message.publication.body,
                message_id=message.publication.message_id,
                redelivered=message.deliveries > 1,
                deliveries=message.deliveries - 1,
                headers=message.publication.headers,
            )
        )
        self._changed.notify()

    @override
    def due_changed(self) -> None:
        self._changed.notify()

    @override
    async def receive(self) -> Sequence[Delivery]:
        await checkpoint()
        while not self._inbox:
            self.check()
            with move_on_at(self._queue.next_due):
                await self._changed.wait()
            self._queue.release(current_time())
        arrived, self._inbox = self._inbox, []
        return arrived

    @override
    def ack(self, deliveries: Iterable[Delivery]) -> None:
        self._settle(deliveries)
        self._queue.dispatch()

    @override
    def requeue(self, deliveries: Iterable[Delivery]) -> None:
        self._queue.put_back(self._settle(deliveries), failed=False)

    @override
    def reject(self, deliveries: Iterable[Delivery], *, requeue: bool) -> None:
        messages = self._settle(deliveries)
        if requeue:
            self._queue.put_back(messages, failed=True)
            return
        for message in messages:
            self._queue.dead_letter(message, "rejected")
        self._queue.dispatch()

    @override
    async def stop(self) -> None:
        await checkpoint()
        self._stop()

    def detach(self) -> None:
        """The queue hands out nothing more to this consumer."""
        self._queue.detach(self)

    def lose(self, reason: str) -> None:
        """Breaks the connection: everything unsettled goes back, and `receive` raises `ConnectionLost`."""
        self._lost = self._lost or reason
        self.close()
        self._changed.notify()

    def abandon(self, reason: str) -> None:
        """Breaks the connection because the queue is gone, with everything unsettled."""
        self._lost = self._lost or reason
        self._unsettled.clear()
        self._inbox.clear()
        self.detach()
        self._changed.notify()

    def close(self) -> None:
        """Puts everything unsettled back on the queue; what had been received counts as a failure of its message."""
        self._stop()
        messages = list(self._unsettled.values())
        self._unsettled.clear()
        self._queue.put_back(messages, failed=True)

    def _stop(self) -> None:
        self.detach()
        unread, self._inbox = self._inbox, []
        self._queue.put_back(self._settle(unread), failed=False)

    def _settle(self, deliveries: Iterable[Delivery]) -> list[QueuedMessage]:
        """Removes from `_unsettled` what is still there, so that settling twice does nothing."""
        return [message for delivery in deliveries if (message := self._unsettled.pop(delivery.tag, None)) is not None]
