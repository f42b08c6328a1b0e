"""Looking at dead letters through hub's own driver, without losing one or changing their order."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Final

from anyio import move_on_after

from hub.amqp import AmqpConnection, Channel, ChannelClosed
from hub.amqp.errors import NOT_FOUND
from hub.amqp.wait import CLOSE_TIMEOUT
from hub.brokers.dead_letters import LARGEST_PREFETCH, REQUEUE_TIMEOUT, collect, until_requeued
from hub.brokers.rabbitmq.consumer import AmqpConsumer
from hub.brokers.x_death import with_last_death_headers
from hub.errors import ConnectionLost, UnknownQueue
from hub.ports.broker import DeadLetters
from hub.types import ModelName, dead_letter_queue

LARGEST_BODY: Final = 512 * 1024 * 1024
"""Bytes that RabbitMQ lets a message have at most, however it is set. A letter may be dead because it was too large for
its model's instances; to refuse it here as well would be the end of it."""


@asynccontextmanager
async def lease_dead_letters(
    connection: AmqpConnection, queue: ModelName, *, limit: int
) -> AsyncGenerator[DeadLetters]:
    """Holds dead letters of a model while the block runs; see `hub.ports.broker.Broker.dead_letters`.

    What is acked goes in one transaction, and what is not goes back with the closing of the channel; why neither can be
    done message by message is explained in `docs/decisions/023-dead-letters-are-inspected-in-place.md`.

    Raises:
        UnknownQueue: There is no such queue.
        ConnectionLost: The connection broke.
    """
    dead = dead_letter_queue(queue)
    async with connection.channel() as channel:
        total = await _count(channel, dead)
        wanted = min(limit, total, LARGEST_PREFETCH)
        async with channel.consume(dead, prefetch=wanted or 1) as subscription:
            letters = await collect(subscription.receive, wanted)
            await subscription.stop()
            consumer = AmqpConsumer(subscription)
            await channel.tx_select()
            try:
                yield DeadLetters(consumer, with_last_death_headers(consumer.deliveries(letters)), total)
            except BaseException:
                with move_on_after(CLOSE_TIMEOUT, shield=True), suppress(ConnectionLost):
                    await channel.tx_commit()
                raise
            await channel.tx_commit()
            kept = subscription.unsettled
    if kept:
        with move_on_after(REQUEUE_TIMEOUT):
            async with connection.channel() as channel:
                await until_requeued(partial(_count, channel, dead), kept)


async def _count(channel: Channel, dead: str) -> int:
    try:
        return (await channel.inspect_queue(dead)).message_count or 0
    except ChannelClosed as closed:
        if closed.reply_code == NOT_FOUND:
            raise UnknownQueue(dead) from closed
        raise
