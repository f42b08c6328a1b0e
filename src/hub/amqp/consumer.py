"""Receiving messages from one queue."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import copy
from typing import final

from anyio import sleep_forever
from anyio.lowlevel import checkpoint

from hub.amqp.message import Received
from hub.amqp.protocol.channel import ChannelState
from hub.amqp.protocol.subscription import Subscription
from hub.amqp.wait import wait_reply
from hub.concurrency.notify import Notifier


@final
class ChannelConsumer:
    """One subscription; made by `Channel.consume`. One task at a time may `receive`.

    Settling is buffered and returns at once. It does nothing for what is settled already, and nothing once the connection
    is lost: the broker has put everything back by then.
    """

    def __init__(self, channel: ChannelState, subscription: Subscription) -> None:
        self._channel = channel
        self._subscription = subscription
        self._changed = Notifier()
        subscription.on_change = self._changed.notify

    @property
    def unsettled(self) -> int:
        """Messages that were delivered and not settled, received or not."""
        return self._subscription.unsettled

    @property
    def oversize(self) -> int:
        """Messages that were over the body limit, and went to the dead-letter queue unread."""
        return self._subscription.oversize

    async def receive(self) -> Sequence[Received]:
        """Waits for messages and returns all that have arrived; never more than the prefetch count.

        After `stop` it waits until it is cancelled.

        Raises:
            ConnectionLost: The connection broke. What had arrived and was not received yet is on its queue again.
            ConsumerCancelled: The broker ended the subscription.
        """
        subscription = self._subscription
        await checkpoint()
        while not subscription.arrived:
            if subscription.ended is not None:
                raise copy(subscription.ended)  # a traceback belongs to one raise
            if not subscription.active:
                await sleep_forever()
            await self._changed.wait()
        return subscription.take()

    def ack(self, tags: Iterable[int]) -> None:
        """The messages are done with."""
        self._channel.ack(self._subscription, tags)

    def nack(self, tags: Iterable[int]) -> None:
        """The messages go back to the queue, unused (`basic.nack`)."""
        self._channel.nack(self._subscription, tags)

    def reject(self, tags: Iterable[int], *, requeue: bool) -> None:
        """The messages go back to the queue after a failure, or to the dead-letter exchange (`basic.reject`)."""
        self._channel.reject(self._subscription, tags, requeue=requeue)

    async def stop(self) -> None:
        """Ends the subscription. What was not received yet goes back to the queue; the rest can still be settled.

        On cancellation the subscription has ended all the same; only the broker's confirmation is not waited for.
        """
        reply = self._channel.unsubscribe(self._subscription)
        if reply is None:
            await checkpoint()
        else:
            await wait_reply(reply)
