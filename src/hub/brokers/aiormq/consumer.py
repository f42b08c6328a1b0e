"""A consumer on RabbitMQ through aiormq."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import Any, Final, TypeAlias, final

from aiormq.abc import AbstractChannel, DeliveredMessage
from aiormq.exceptions import AMQPError
from anyio.lowlevel import checkpoint
from pamqp.commands import Basic
from typing_extensions import override

from hub.brokers.aiormq.session import AiormqSession
from hub.concurrency.notify import Notifier
from hub.errors import ConnectionLost
from hub.ports.broker import Consumer, Delivery

FLUSH_TIMEOUT: Final = 2.0
"""Seconds that settlements have to be written when a consumer's block is left."""

_Settlement: TypeAlias = Callable[[AbstractChannel, int], Awaitable[None]]


@final
class AiormqConsumer(Consumer):
    """One subscription on a channel of its own.

    aiormq hands messages to a callback and awaits the writing of each ack; here the first fill an inbox, and the second
    gather in a buffer that one task empties.
    """

    def __init__(self, session: AiormqSession) -> None:
        self._session = session
        self._channel: AbstractChannel | None = None
        self._tag = ""
        self._unsettled: set[int] = set()
        self._inbox: list[Delivery] = []
        self._settlements: list[tuple[_Settlement, int]] = []
        self._writing: asyncio.Task[None] | None = None
        self._lost: str | None = None
        self._stopped = False
        self._changed = Notifier()

    @property
    @override
    def unsettled(self) -> int:
        return len(self._unsettled)

    async def subscribe(self, queue: str, *, prefetch: int) -> None:
        """Starts the subscription.

        Raises:
            ConnectionLost: The connection broke.
        """
        self._session.on_lost(self._lose)
        try:
            await self._session.call(self._subscribe(queue, prefetch), f"consume {queue}")
        except AMQPError as error:
            raise self._session.connection_lost(error) from error

    @override
    async def receive(self) -> Sequence[Delivery]:
        await checkpoint()
        while not self._inbox:
            if self._lost is not None:
                raise ConnectionLost(self._session.server, self._lost)
            await self._changed.wait()
        arrived, self._inbox = self._inbox, []
        return arrived

    @override
    def ack(self, deliveries: Iterable[Delivery]) -> None:
        self._settle(deliveries, lambda channel, tag: channel.basic_ack(tag, wait=False))

    @override
    def requeue(self, deliveries: Iterable[Delivery]) -> None:
        self._settle(deliveries, lambda channel, tag: channel.basic_nack(tag, requeue=True, wait=False))

    @override
    def reject(self, deliveries: Iterable[Delivery], *, requeue: bool) -> None:
        self._settle(deliveries, lambda channel, tag: channel.basic_reject(tag, requeue=requeue, wait=False))

    @override
    async def stop(self) -> None:
        if self._channel is None or self._stopped or self._lost is not None:
            await checkpoint()
            return
        self._stopped = True
        unread, self._inbox = self._inbox, []
        try:
            await self._session.call(_cancel(self._channel, self._tag), f"cancel {self._tag}")
        except AMQPError as error:
            raise self._session.connection_lost(error) from error
        finally:
            self.requeue(unread)

    async def flushed(self) -> None:
        """Waits until what was settled is written, or the connection is lost."""
        while self._writing is not None and self._lost is None:
            await asyncio.wait({self._writing})

    async def tx_select(self) -> None:
        """What is settled from here on gathers at the broker until `commit`.

        Raises:
            ConnectionLost: The connection broke.
        """
        await self._call(_begin)

    async def tx_commit(self) -> None:
        """Carries out what was settled since `begin`, in one step, and closes the channel: the rest goes back.

        Raises:
            ConnectionLost: The connection broke; whether it was carried out is unknown.
        """
        await self.flushed()
        await self._call(_commit)

    async def _call(self, step: Callable[[AbstractChannel], Coroutine[Any, Any, None]]) -> None:
        if self._lost is not None or self._channel is None:
            raise ConnectionLost(self._session.server, self._lost or "there is no subscription")
        try:
            await self._session.call(step(self._channel), f"{self._tag} transaction")
        except AMQPError as error:
            raise self._session.connection_lost(error) from error

    async def _subscribe(self, queue: str, prefetch: int) -> None:
        channel = await self._session.connection.channel(publisher_confirms=False)
        self._channel = channel
        channel.on_consumer_cancel_callbacks.add(self._cancelled)
        closing: asyncio.Future[Any] = channel.closing  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]  # bare
        closing.add_done_callback(self._channel_closed)
        await channel.basic_qos(prefetch_count=prefetch)
        confirmed = await channel.basic_consume(queue, self._arrive)
        self._tag = confirmed.consumer_tag or ""

    async def _arrive(self, message: DeliveredMessage) -> None:
        if not isinstance(message.delivery, Basic.Deliver) or message.delivery.delivery_tag is None:
            return
        delivery = _delivery(message, message.delivery.delivery_tag, redelivered=bool(message.delivery.redelivered))
        self._unsettled.add(delivery.tag)
        if self._stopped:
            self.requeue([delivery])
        else:
            self._inbox.append(delivery)
            self._changed.notify()

    def _settle(self, deliveries: Iterable[Delivery], settlement: _Settlement) -> None:
        tags = [delivery.tag for delivery in deliveries if delivery.tag in self._unsettled]
        self._unsettled.difference_update(tags)
        self._settlements += [(settlement, tag) for tag in tags]
        if self._settlements and self._writing is None:
            self._writing = self._session.start(self._write(), f"settle {self._tag}")

    async def _write(self) -> None:
        try:
            while self._settlements and self._channel is not None:
                settlements, self._settlements = self._settlements, []
                for settle, tag in settlements:
                    await settle(self._channel, tag)
        except (AMQPError, RuntimeError, OSError) as error:
            self._lose(str(error) or type(error).__name__)
        finally:
            self._writing = None

    def _cancelled(self, _: Basic.Cancel) -> None:
        self._lose("the broker cancelled the consumer: its queue was deleted, or its node went down")

    def _channel_closed(self, closing: asyncio.Future[Any]) -> None:
        error = None if closing.cancelled() else closing.exception()
        self._lose(f"the channel was closed: {error}")

    def _lose(self, reason: str) -> None:
        self._lost = self._lost or reason
        self._unsettled.clear()  # the broker has put them back
        self._settlements.clear()
        self._inbox.clear()
        self._changed.notify()


async def _begin(channel: AbstractChannel) -> None:
    await channel.tx_select()


async def _commit(channel: AbstractChannel) -> None:
    await channel.tx_commit()
    await channel.close()


async def _cancel(channel: AbstractChannel, tag: str) -> None:
    await channel.basic_cancel(tag)


def _delivery(message: DeliveredMessage, tag: int, *, redelivered: bool) -> Delivery:
    headers = dict(message.header.properties.headers or {})
    # A quorum queue counts: RabbitMQ 4.3 and later every hand-out in the first header, earlier ones in the second.
    count = headers.get("x-acquired-count", headers.get("x-delivery-count", 0))
    return Delivery(
        tag=tag,
        body=message.body,
        message_id=message.header.properties.message_id or "",
        redelivered=redelivered,
        deliveries=count if isinstance(count, int) else 0,
        headers=headers,
    )
