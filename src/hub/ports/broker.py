"""The message broker: queues of tasks, delayed messages, dead letters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol

from hub.errors import PublishRefused
from hub.types import ModelName


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """A message on its way to a queue. `message_id` and `timestamp` (Unix seconds) are for people who look at queues.

    Attributes:
        queue: A model's queue, or the queue of its dead letters (`hub.types.dead_letter_queue`).
        delay: Seconds that the broker keeps the message before it is on the queue of its model, at least; the broker may
            take up to twice as long, or two seconds. 0: no delay; more than 48 days count as that.
    """

    queue: str
    body: bytes
    message_id: str
    timestamp: float
    delay: float = 0.0
    headers: Mapping[str, str | int] = field(default_factory=dict[str, str | int])


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A message that the broker handed out and that stays unacknowledged until it is settled.

    Attributes:
        tag: Names the delivery on its consumer; means nothing anywhere else.
        redelivered: The broker has handed it out before.
        deliveries: How often the broker had handed it out before, as far as it counts that (0 if it does not).
    """

    tag: int
    body: bytes
    message_id: str
    redelivered: bool
    deliveries: int
    headers: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """The queue of a model as the broker sees it.

    Attributes:
        ready: Messages that wait for a consumer.
        consumers: Subscriptions.
        dead: Messages in its dead-letter queue.
    """

    ready: int
    consumers: int
    dead: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerStatistics:
    """What a broker adapter knows of itself.

    Attributes:
        publishing: Messages that `publish` has been given and that are not confirmed yet.
        blocked: Why the broker takes no messages at present, in its own words (a memory or disk alarm). `None`: it takes
            them, or nothing has been published since the alarm began.
        nodes: Open connections by `host:port` of the node that they are to; empty without a network.
    """

    connected: bool
    publishing: int
    consumers: int
    unacked: int
    reconnects: int
    blocked: str | None = None
    nodes: Mapping[str, int] = field(default_factory=dict[str, int])


class Consumer(Protocol):
    """One subscription to one queue, for as long as its link lives.

    The three ways to settle a delivery are buffered and return at once. Settling twice, or after the link was lost,
    does nothing: the broker has already put the message back.
    """

    @property
    def unsettled(self) -> int:
        """Messages that the broker has handed to it, received or not, and that are not settled; 0 after a lost link."""
        ...

    async def receive(self) -> Sequence[Delivery]:
        """Waits for work and returns all that has arrived, at least one delivery, never more than the prefetch count.

        Raises:
            ConnectionLost: The link broke, or the broker cancelled the consumer (its queue was deleted, its node went down).
        """
        ...

    def ack(self, deliveries: Iterable[Delivery]) -> None:
        """The messages are done with; the broker forgets them."""
        ...

    def requeue(self, deliveries: Iterable[Delivery]) -> None:
        """Hands messages back that were not started, as a drain does (`basic.nack`, not counted against them)."""
        ...

    def reject(self, deliveries: Iterable[Delivery], *, requeue: bool) -> None:
        """Gives messages up after a failure: back to the queue, or else to the dead-letter queue `<queue>.dead`."""
        ...

    async def stop(self) -> None:
        """Ends the intake: no `receive()` returns deliveries from here on; deliveries that were not received yet are requeued.

        What was received can still be settled until the block that opened the consumer is left.
        """
        ...


@dataclass(frozen=True, slots=True)
class DeadLetters:
    """Dead letters that are delivered to no other consumer for now, oldest first.

    What `consumer.ack` was given is gone for good once the block that holds the letters is left, also by an error.

    Attributes:
        total: How many there were in all.
    """

    consumer: Consumer
    deliveries: Sequence[Delivery]
    total: int


class Broker(Protocol):
    async def declare(self, queue: ModelName) -> None:
        """Creates the durable queue and its dead-letter queue `<queue>.dead`, if they do not exist.

        Raises:
            ConfigurationError: They exist with other arguments; says which.
        """
        ...

    async def publish(self, publications: Sequence[Publication]) -> Sequence[PublishRefused | None]:
        """Puts messages on queues and waits until the broker has taken responsibility for each of them.

        Returns:
            For each publication `None`, or why the broker did not take it (`Unroutable`, `QueueFull`).

        Raises:
            ConnectionLost: The fate of at least one of them is unknown. While the link is down a call waits for its return.
        """
        ...

    def consume(self, queue: ModelName, *, prefetch: int) -> AbstractAsyncContextManager[Consumer]:
        """Declares the queue and subscribes to it, with at most `prefetch` unsettled deliveries at a time.

        One call is one link: it does not reconnect. The caller supervises it (`hub.concurrency.reconnect`). Leaving the block
        puts everything unsettled back on the queue.

        Raises:
            ConnectionLost: On entry, when the broker cannot be reached.
        """
        ...

    def dead_letters(self, queue: ModelName, *, limit: int) -> AbstractAsyncContextManager[DeadLetters]:
        """Holds the oldest dead letters of a model, at most `limit` of them, while the block runs.

        Leaving the block puts back what was not acked, in its order, as often as anyone likes: nothing ages by being
        looked at. (A quorum queue puts it behind other letters that were looked at before.) Two of these at once see
        different letters.

        Raises:
            ConnectionLost: On entry, when the broker cannot be reached, or later when the link breaks.
            UnknownQueue: On entry: the model has no dead-letter queue.
        """
        ...

    async def depths(self, queues: Iterable[ModelName]) -> Mapping[ModelName, QueueDepth | None]:
        """The depth of each queue now; `None` for a queue that does not exist."""
        ...

    def statistics(self) -> BrokerStatistics: ...
