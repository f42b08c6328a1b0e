"""A consumer on RabbitMQ, as the port wants it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import final

from typing_extensions import override

from hub.amqp import ChannelConsumer, ReceivedMessage
from hub.ports.broker import Consumer, Delivery


@final
class AmqpConsumer(Consumer):
    """Settles through one `hub.amqp.ChannelConsumer`; valid as long as that is."""

    def __init__(self, subscription: ChannelConsumer) -> None:
        self._subscription = subscription

    @property
    @override
    def unsettled(self) -> int:
        return self._subscription.unsettled

    @override
    async def receive(self) -> Sequence[Delivery]:
        return self.deliveries(await self._subscription.receive())

    def deliveries(self, messages: Iterable[ReceivedMessage]) -> Sequence[Delivery]:
        """What the subscription has received, in the words of the port."""
        return [_delivery(message) for message in messages]

    @override
    def ack(self, deliveries: Iterable[Delivery]) -> None:
        self._subscription.ack(delivery.tag for delivery in deliveries)

    @override
    def requeue(self, deliveries: Iterable[Delivery]) -> None:
        self._subscription.nack(delivery.tag for delivery in deliveries)

    @override
    def reject(self, deliveries: Iterable[Delivery], *, requeue: bool) -> None:
        self._subscription.reject((delivery.tag for delivery in deliveries), requeue=requeue)

    @override
    async def stop(self) -> None:
        await self._subscription.stop()


def _delivery(message: ReceivedMessage) -> Delivery:
    headers = message.headers
    # A quorum queue counts: RabbitMQ 4.3 and later every hand-out in the first header, earlier ones in the second.
    count = headers.get("x-acquired-count", headers.get("x-delivery-count", 0)) if headers else 0
    return Delivery(
        tag=message.tag,
        body=message.body,
        message_id=message.message_id,
        redelivered=message.redelivered,
        deliveries=count if isinstance(count, int) else 0,
        headers=headers,
    )
