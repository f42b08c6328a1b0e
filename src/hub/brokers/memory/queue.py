"""One queue of the memory broker: plain bookkeeping, no awaiting."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from heapq import heappop, heappush
from math import inf
from typing import Final, Protocol, final

from hub.brokers.topology import delay_queue
from hub.brokers.x_death import death_headers
from hub.ports.broker import Publication

MAX_DELAYED: Final = 100_000
"""Messages that a queue keeps for later: memory is finite."""


@final
@dataclass(slots=True, eq=False)
class QueuedMessage:
    """A message while a queue is responsible for it.

    Attributes:
        position: Its place in the queue, which it keeps when it is handed back.
        deliveries: How often it was handed out.
        failures: How many of those counted against it.
    """

    publication: Publication
    position: int
    deliveries: int = 0
    failures: int = 0


class QueueConsumer(Protocol):
    """What a queue needs of a consumer."""

    @property
    def has_room(self) -> bool:
        """Whether it holds fewer unsettled deliveries than it may."""
        ...

    def put(self, message: QueuedMessage) -> None: ...

    def due_changed(self) -> None:
        """A message is due earlier than the last `MemoryQueue.next_due`: a consumer that waits has to wait for less."""
        ...


@final
class MemoryQueue:
    """Messages in order, and the consumers that share them: those with room are served in turn.

    Args:
        name: The queue's name.
        max_length: Messages that may wait.
        delivery_limit: Failures that a message survives; one more and it is dead.
        dead: Where dead messages go. A queue without one *is* a dead-letter queue: nothing dies there, and when it is
            full it forgets its oldest message, because no publisher is left to refuse it to.
    """

    def __init__(self, name: str, *, max_length: int, delivery_limit: int, dead: MemoryQueue | None = None) -> None:
        self.name = name
        self.dead = dead
        self._max_length = max_length
        self._delivery_limit = delivery_limit
        self._fresh: deque[QueuedMessage] = deque()
        self._returned: list[tuple[int, QueuedMessage]] = []  # a heap; all of it is older than anything in _fresh
        self._consumers: deque[QueueConsumer] = deque()  # the next one to serve stands first
        self._published = 0
        self._delayed: list[tuple[float, int, Publication]] = []  # a heap, soonest first
        self._delays = 0

    @property
    def ready(self) -> int:
        return len(self._returned) + len(self._fresh)

    @property
    def next_due(self) -> float:
        """When `release` has something to do next; infinity if nothing is delayed."""
        return self._delayed[0][0] if self._delayed else inf

    @property
    def consumers(self) -> int:
        return len(self._consumers)

    def publish(self, publication: Publication) -> bool:
        """Takes a message and returns true, unless the queue is full."""
        if self.ready >= self._max_length:
            if self.dead is not None:
                return False
            self._pop()
        self._append(publication)
        self.dispatch()
        return True

    def delay(self, publication: Publication, due: float) -> bool:
        """Keeps a message until `release` is called at `due` or later; returns whether there was room."""
        if len(self._delayed) >= MAX_DELAYED:
            return False
        sooner = due < self.next_due
        self._delays += 1
        heappush(self._delayed, (due, self._delays, publication))
        if sooner:
            for consumer in self._consumers:
                consumer.due_changed()
        return True

    def take_over(self, deleted: MemoryQueue) -> None:
        """Takes over what a deleted queue of the same name has kept for later."""
        self._delayed, deleted._delayed = deleted._delayed, []
        self._delays = deleted._delays

    def release(self, now: float) -> None:
        """Moves what is due into the queue, however full that is: no publisher is left to refuse it to."""
        if self.next_due > now:
            return
        while self.next_due <= now:
            publication = heappop(self._delayed)[2]
            delay = delay_queue(self.name, publication.delay)
            self._append(replace(publication, headers=death_headers(publication.headers, delay, "expired")))
        self.dispatch()

    def attach(self, consumer: QueueConsumer) -> None:
        self._consumers.append(consumer)
        self.dispatch()

    def detach(self, consumer: QueueConsumer) -> None:
        if consumer in self._consumers:
            self._consumers.remove(consumer)

    def put_back(self, messages: Iterable[QueuedMessage], *, failed: bool) -> None:
        """Puts messages back to where they were, or kills those that have `failed` too often."""
        for message in messages:
            message.failures += failed
            if self.dead is not None and message.failures > self._delivery_limit:
                self.dead_letter(message, "delivery_limit")
            else:
                heappush(self._returned, (message.position, message))
        self.dispatch()

    def dead_letter(self, message: QueuedMessage, reason: str) -> None:
        """Moves a message to the dead-letter queue, with headers named as RabbitMQ names them."""
        if self.dead is None:
            return
        headers = death_headers(message.publication.headers, self.name, reason)
        self.dead.publish(replace(message.publication, queue=self.dead.name, headers=headers))

    def dispatch(self) -> None:
        """Hands out what can be handed out; to be called when a consumer may have got room."""
        without_room = 0
        while self.ready and without_room < len(self._consumers):
            consumer = self._consumers[0]
            self._consumers.rotate(-1)
            if consumer.has_room:
                without_room = 0
                message = self._pop()
                message.deliveries += 1
                consumer.put(message)
            else:
                without_room += 1

    def _append(self, publication: Publication) -> None:
        self._published += 1
        self._fresh.append(QueuedMessage(publication, position=self._published))

    def _pop(self) -> QueuedMessage:
        return heappop(self._returned)[1] if self._returned else self._fresh.popleft()
