"""Looking at dead letters through aiormq, without losing one or changing their order."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from functools import partial

from aiormq.exceptions import AMQPError, ChannelNotFoundEntity
from anyio import move_on_after

from hub.brokers.aiormq.consumer import FLUSH_TIMEOUT, AiormqConsumer
from hub.brokers.aiormq.session import AiormqSession
from hub.brokers.dead_letters import LARGEST_PREFETCH, REQUEUE_TIMEOUT, collect, until_requeued
from hub.brokers.x_death import with_last_death_headers
from hub.errors import ConnectionLost, UnknownQueue
from hub.ports.broker import DeadLetters
from hub.types import ModelName, dead_letter_queue


@asynccontextmanager
async def lease_dead_letters(session: AiormqSession, queue: ModelName, *, limit: int) -> AsyncGenerator[DeadLetters]:
    """Holds dead letters of a model while the block runs; see `hub.ports.broker.Broker.dead_letters`.

    What is acked goes in one transaction, and what is not goes back with the closing of the channel; why neither can be
    done message by message is explained in `docs/decisions/023-dead-letters-are-inspected-in-place.md`.

    Raises:
        UnknownQueue: There is no such queue.
        ConnectionLost: The connection broke.
    """
    dead = dead_letter_queue(queue)
    total = await _count(session, dead)
    wanted = min(limit, total, LARGEST_PREFETCH)
    consumer = AiormqConsumer(session)
    await consumer.subscribe(dead, prefetch=wanted or 1)
    letters = await collect(consumer.receive, wanted)
    await consumer.stop()
    await consumer.tx_select()
    try:
        yield DeadLetters(consumer, with_last_death_headers(letters), total)
    except BaseException:
        with move_on_after(FLUSH_TIMEOUT, shield=True), suppress(ConnectionLost):
            await consumer.tx_commit()
        raise
    kept = consumer.unsettled
    await consumer.tx_commit()
    if kept:
        with move_on_after(REQUEUE_TIMEOUT):
            await until_requeued(partial(_count, session, dead), kept)


async def _count(session: AiormqSession, dead: str) -> int:
    try:
        return await session.call(_inspect(session, dead), f"inspect {dead}")
    except ChannelNotFoundEntity as error:
        raise UnknownQueue(dead) from error
    except AMQPError as error:
        raise session.connection_lost(error) from error


async def _inspect(session: AiormqSession, queue: str) -> int:
    channel = await session.connection.channel(publisher_confirms=False)
    found = await channel.queue_declare(queue, passive=True)
    await channel.close()
    return found.message_count or 0
