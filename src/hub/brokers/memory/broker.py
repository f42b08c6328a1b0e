"""`memory://`: a broker inside the process, for one-process systems and for tests."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Final, Self, final

import structlog
from anyio import AsyncContextManagerMixin, current_time
from anyio.lowlevel import checkpoint
from structlog.typing import FilteringBoundLogger
from typing_extensions import override

from hub.brokers.memory.consumer import MemoryConsumer
from hub.brokers.memory.queue import MemoryQueue
from hub.brokers.options import BrokerOptions
from hub.brokers.topology import queue_missing
from hub.concurrency.notify import Notifier
from hub.errors import ConfigurationError, ConnectionLost, PublishRefused, QueueFull, UnknownQueue
from hub.ports.broker import Broker, BrokerStatistics, Consumer, DeadLetters, Publication, QueueDepth
from hub.types import ModelName, dead_letter_queue

MAX_LENGTH: Final = 100_000
"""Messages that a queue holds when the options set no limit: memory is finite."""

_log: FilteringBoundLogger = structlog.get_logger(__name__)


@final
class MemoryBroker(AsyncContextManagerMixin, Broker):
    """A broker with the semantics of RabbitMQ's quorum queues, and no server.

    Unacknowledged messages, redelivery, delivery limit, dead letters, prefetch and maximum length behave as they do on
    the real one. Everything is forgotten when the block is left.
    """

    def __init__(self, options: BrokerOptions | None = None) -> None:
        self._options = options or BrokerOptions()
        self._queues: dict[str, MemoryQueue] = {}
        self._consumers: set[MemoryConsumer] = set()
        self._holders: set[MemoryConsumer] = set()  # of dead letters
        self._deleted: dict[str, MemoryQueue] = {}
        self._publishing = 0
        self._reconnects = 0
        self._out_of_reach = False
        self._reachable = Notifier()
        self._open = False

    @override
    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        _log.info("the memory broker keeps queues in this process only; they are gone when it ends")
        self._open = True
        try:
            yield self
        finally:
            self._open = False
            self._lose_all("the broker was closed")

    @override
    async def declare(self, queue: ModelName) -> None:
        await checkpoint()
        self._reach()
        self._declare(queue)

    @override
    async def publish(self, publications: Sequence[Publication]) -> Sequence[PublishRefused | None]:
        self._publishing += len(publications)
        try:
            await self._reachable.wait_for(lambda: not self._out_of_reach)
            return [self._publish(publication) for publication in publications]
        finally:
            self._publishing -= len(publications)

    @override
    @asynccontextmanager
    async def consume(self, queue: ModelName, *, prefetch: int) -> AsyncGenerator[Consumer]:
        await self.declare(queue)
        consumer = MemoryConsumer(self._queues[queue], prefetch=prefetch)
        self._consumers.add(consumer)
        try:
            yield consumer
        finally:
            self._consumers.discard(consumer)
            consumer.close()

    @override
    @asynccontextmanager
    async def dead_letters(self, queue: ModelName, *, limit: int) -> AsyncGenerator[DeadLetters]:
        await checkpoint()
        self._reach()
        dead = self._queue(dead_letter_queue(queue))
        if dead is None:
            raise UnknownQueue(dead_letter_queue(queue))
        total = dead.ready
        consumer = MemoryConsumer(dead, prefetch=min(limit, total))
        consumer.detach()  # it has what it gets
        self._holders.add(consumer)
        try:
            deliveries = await consumer.receive() if consumer.unsettled else ()
            yield DeadLetters(consumer, deliveries, total)
            consumer.check()
        finally:
            self._holders.discard(consumer)
            consumer.close()

    @override
    async def depths(self, queues: Iterable[ModelName]) -> Mapping[ModelName, QueueDepth | None]:
        await checkpoint()
        self._reach()
        return {name: self._depth(name) for name in queues}

    @override
    def statistics(self) -> BrokerStatistics:
        return BrokerStatistics(
            connected=self._open and not self._out_of_reach,
            publishing=self._publishing,
            consumers=len(self._consumers),
            unacked=sum(consumer.unsettled for consumer in self._consumers),
            reconnects=self._reconnects,
        )

    @contextmanager
    def outage(self) -> Generator[None]:
        """A fault injector: while the block runs, the broker cannot be reached.

        On entry every consumer loses its connection. In the block `publish` waits, and every other call raises `ConnectionLost`.
        """
        self._out_of_reach = True
        self._lose_all("the broker is out of reach")
        try:
            yield
        finally:
            self._out_of_reach = False
            self._reconnects += 1
            self._reachable.notify()

    def delete(self, queue: str) -> None:
        """A fault injector: deletes a queue, or a queue of dead letters, with the messages in it.

        Its consumers lose their connections. Messages that wait for their time are in another place, and arrive if the queue is
        declared again.
        """
        deleted = self._queues.pop(queue, None)
        if deleted is None:
            return
        self._deleted[queue] = deleted
        for consumer in self._consumers | self._holders:
            if consumer.queue is deleted:
                consumer.abandon("the broker cancelled the consumer: its queue was deleted")

    def _reach(self) -> None:
        if self._out_of_reach:
            raise ConnectionLost("memory://", "the broker is out of reach")

    def _lose_all(self, reason: str) -> None:
        for consumer in self._consumers:  # first, so that nothing goes from one lost consumer to the next
            consumer.detach()
        for consumer in self._consumers | self._holders:
            consumer.lose(reason)

    def _queue(self, name: str) -> MemoryQueue | None:
        queue = self._queues.get(name)
        if queue is not None:
            queue.release(current_time())
        return queue

    def _depth(self, name: ModelName) -> QueueDepth | None:
        queue, dead = self._queue(name), self._queue(dead_letter_queue(name))
        if queue is None:
            return None
        return QueueDepth(ready=queue.ready, consumers=queue.consumers, dead=dead.ready if dead is not None else 0)

    def _declare(self, name: ModelName) -> None:
        queue, dead = self._queues.get(name), self._queues.get(dead_letter_queue(name))
        if queue is not None and queue.dead is None:
            raise ConfigurationError(f"queue {name!r} is a dead-letter queue already; give the model another name")
        if dead is not None and dead.dead is not None:
            raise ConfigurationError(
                f"queue {dead.name!r} belongs to a model, so {name!r} cannot have its dead letters"
            )
        if dead is None:
            dead = self._create(dead_letter_queue(name), MAX_LENGTH)
        if queue is None:
            queue = self._create(name, self._options.max_length or MAX_LENGTH)
        queue.dead = dead

    def _create(self, name: str, max_length: int) -> MemoryQueue:
        queue = MemoryQueue(name, max_length=max_length, delivery_limit=self._options.delivery_limit)
        deleted = self._deleted.pop(name, None)
        if deleted is not None:
            queue.take_over(deleted)
        self._queues[name] = queue
        return queue

    def _publish(self, publication: Publication) -> PublishRefused | None:
        queue = self._queue(publication.queue)
        if queue is None:
            return queue_missing(publication.queue)
        if publication.delay > 0:
            taken = queue.delay(publication, current_time() + publication.delay)
        else:
            taken = queue.publish(publication)
        return None if taken else QueueFull(publication.queue, "it is at its maximum length")
