"""Looking at dead letters through aiormq, without losing one or changing their order."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Final

from aiormq.exceptions import AMQPError, ChannelNotFoundEntity
from anyio import move_on_after

from hub.brokers.aiormq.consumer import FLUSH_GRACE, AiormqConsumer
from hub.brokers.aiormq.session import AiormqSession
from hub.brokers.x_death import with_last_deaths
from hub.errors import ConnectionLost, UnknownQueue
from hub.ports.broker import DeadLetters, Delivery
from hub.types import ModelName, dead_letter_queue

LARGEST_PREFETCH: Final = 0xFFFF

QUIET: Final = 5.0
"""Seconds without a letter after which no more are waited for: somebody else took those that were counted. As long as a
large letter may take on a slow link."""

RETURN: Final = 1.0
"""Seconds that a queue has to show again what was given back. It takes milliseconds, unless somebody else has it by then."""


@asynccontextmanager
async def hold(session: AiormqSession, queue: ModelName, *, limit: int) -> AsyncGenerator[DeadLetters]:
    """Holds dead letters of a model while the block runs; see `hub.ports.broker.Broker.dead_letters`.

    What is acked goes in one transaction, and what is not goes back with the closing of the channel; why neither can be
    done message by message is told in `docs/decisions/023-dead-letters-are-inspected-in-place.md`.

    Raises:
        UnknownQueue: There is no such queue.
        ConnectionLost: The link broke.
    """
    dead = dead_letter_queue(queue)
    total = await _count(session, dead)
    wanted = min(limit, total, LARGEST_PREFETCH)
    consumer = AiormqConsumer(session)
    await consumer.subscribe(dead, prefetch=wanted or 1)
    letters = await _collect(consumer, wanted)
    await consumer.stop()
    await consumer.begin()
    try:
        yield DeadLetters(consumer, with_last_deaths(letters), total)
    except BaseException:
        with move_on_after(FLUSH_GRACE, shield=True), suppress(ConnectionLost):
            await consumer.commit()
        raise
    kept = consumer.unsettled
    await consumer.commit()
    if kept:
        with move_on_after(RETURN):
            while await _count(session, dead) < kept:  # whoever asks next is to find them
                pass


async def _collect(consumer: AiormqConsumer, wanted: int) -> list[Delivery]:
    letters: list[Delivery] = []
    more = wanted > 0
    while more:
        count = len(letters)
        with move_on_after(QUIET):
            letters += await consumer.receive()
        more = count < len(letters) < wanted
    return letters


async def _count(session: AiormqSession, dead: str) -> int:
    try:
        return await session.call(_look(session, dead), f"look at {dead}")
    except ChannelNotFoundEntity as error:
        raise UnknownQueue(dead) from error
    except AMQPError as error:
        raise session.connection_lost(error) from error


async def _look(session: AiormqSession, queue: str) -> int:
    channel = await session.connection.channel(publisher_confirms=False)
    found = await channel.queue_declare(queue, passive=True)
    await channel.close()
    return found.message_count or 0
