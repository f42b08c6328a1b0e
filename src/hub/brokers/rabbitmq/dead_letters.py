"""Looking at dead letters through hub's own driver, without losing one or changing their order."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Final

from anyio import move_on_after

from hub.amqp import AmqpConnection, Channel, ChannelClosed, ChannelConsumer, Received
from hub.amqp.errors import NOT_FOUND
from hub.amqp.wait import CLOSE_GRACE
from hub.brokers.rabbitmq.consumer import AmqpConsumer
from hub.brokers.x_death import with_last_deaths
from hub.errors import ConnectionLost, UnknownQueue
from hub.ports.broker import DeadLetters
from hub.types import ModelName, dead_letter_queue

LARGEST_PREFETCH: Final = 0xFFFF

LARGEST_BODY: Final = 512 * 1024 * 1024
"""Bytes that RabbitMQ lets a message have at most, however it is set. A letter may be dead because it was too large for
its model's instances; to refuse it here as well would be the end of it."""

QUIET: Final = 5.0
"""Seconds without a letter after which no more are waited for: somebody else took those that were counted. As long as a
large letter may take on a slow link."""

RETURN: Final = 1.0
"""Seconds that a queue has to show again what was given back. It takes milliseconds, unless somebody else has it by then."""


@asynccontextmanager
async def hold(connection: AmqpConnection, queue: ModelName, *, limit: int) -> AsyncGenerator[DeadLetters]:
    """Holds dead letters of a model while the block runs; see `hub.ports.broker.Broker.dead_letters`.

    What is acked goes in one transaction, and what is not goes back with the closing of the channel; why neither can be
    done message by message is told in `docs/decisions/023-dead-letters-are-inspected-in-place.md`.

    Raises:
        UnknownQueue: There is no such queue.
        ConnectionLost: The link broke.
    """
    dead = dead_letter_queue(queue)
    async with connection.channel() as channel:
        total = await _count(channel, dead)
        wanted = min(limit, total, LARGEST_PREFETCH)
        async with channel.consume(dead, prefetch=wanted or 1) as subscription:
            letters = await _collect(subscription, wanted)
            await subscription.stop()
            consumer = AmqpConsumer(subscription)
            await channel.begin()
            try:
                yield DeadLetters(consumer, with_last_deaths(consumer.deliveries(letters)), total)
            except BaseException:
                with move_on_after(CLOSE_GRACE, shield=True), suppress(ConnectionLost):
                    await channel.commit()
                raise
            await channel.commit()
            kept = subscription.unsettled
    if kept:
        with move_on_after(RETURN):
            await _until_back(connection, dead, kept)


async def _count(channel: Channel, dead: str) -> int:
    try:
        return (await channel.look_at_queue(dead)).message_count or 0
    except ChannelClosed as closed:
        if closed.reply_code == NOT_FOUND:
            raise UnknownQueue(dead) from closed
        raise


async def _collect(subscription: ChannelConsumer, wanted: int) -> list[Received]:
    letters: list[Received] = []
    more = wanted > 0
    while more:
        count = len(letters)
        with move_on_after(QUIET):
            letters += await subscription.receive()
        more = count < len(letters) < wanted
    return letters


async def _until_back(connection: AmqpConnection, dead: str, kept: int) -> None:
    """Waits until the queue has the letters again that nobody acked, so that whoever asks next finds them."""
    async with connection.channel() as channel:
        while await _count(channel, dead) < kept:
            pass
