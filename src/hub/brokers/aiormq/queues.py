"""Declaring and inspecting a model's queues, through aiormq."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from aiormq.abc import AbstractChannel
from aiormq.exceptions import AMQPError, ChannelAccessRefused, ChannelNotFoundEntity, ChannelPreconditionFailed
from pamqp.commands import Queue

from hub.brokers.aiormq.session import AiormqSession
from hub.brokers.delays import Delays, Refusals
from hub.brokers.options import BrokerOptions
from hub.brokers.topology import (
    DEAD_LETTER_EXCHANGE,
    arguments_mismatch,
    dead_letter_arguments,
    delay_arguments,
    delay_queue_refused,
    permission_denied,
    queue_arguments,
    queue_missing,
)
from hub.errors import PublishRefused
from hub.ports.broker import QueueDepth
from hub.types import ModelName, dead_letter_queue


async def declare(session: AiormqSession, queue: ModelName, options: BrokerOptions) -> None:
    """Creates the queue of a model and that of its dead letters.

    Raises:
        ConfigurationError: They exist with other arguments, or the user may not declare them.
        ConnectionLost: The connection broke.
    """
    try:
        await session.call(_declare(session, queue, options), f"declare {queue}")
    except ChannelPreconditionFailed as error:
        raise arguments_mismatch(queue, str(error)) from error
    except ChannelAccessRefused as error:
        raise permission_denied(queue, str(error)) from error
    except AMQPError as error:
        raise session.connection_lost(error) from error


async def declare_delays(session: AiormqSession, delays: Delays, options: BrokerOptions) -> Refusals:
    """Creates delay queues, unless they exist.

    Raises:
        ConnectionLost: The connection broke.
    """
    refusals: dict[str, PublishRefused] = {}
    for queue, names in delays.items():
        try:
            await session.call(_declare_delays(session, queue, names, options), f"declare delays of {queue}")
        except ChannelNotFoundEntity:
            refusals[queue] = queue_missing(queue)
        except (ChannelPreconditionFailed, ChannelAccessRefused) as error:
            refusals[queue] = delay_queue_refused(queue, str(error))
        except AMQPError as error:
            raise session.connection_lost(error) from error
    return refusals


async def depths(session: AiormqSession, queues: Iterable[ModelName]) -> Mapping[ModelName, QueueDepth | None]:
    """How many messages wait in queues and their dead-letter queues; one question after the other.

    Raises:
        ConnectionLost: The connection broke.
    """
    try:
        return await session.call(_depths(session, list(queues)), "depths")
    except AMQPError as error:
        raise session.connection_lost(error) from error


async def _declare(session: AiormqSession, queue: str, options: BrokerOptions) -> None:
    channel = await session.connection.channel(publisher_confirms=False)  # a refusal closes it
    dead = dead_letter_queue(queue)
    await channel.exchange_declare(DEAD_LETTER_EXCHANGE, exchange_type="direct", durable=True)
    await channel.queue_declare(dead, durable=True, arguments={**dead_letter_arguments(options)})
    await channel.queue_bind(dead, DEAD_LETTER_EXCHANGE, queue)
    await channel.queue_declare(queue, durable=True, arguments={**queue_arguments(options)})
    await channel.close()


async def _declare_delays(session: AiormqSession, queue: str, names: Iterable[str], options: BrokerOptions) -> None:
    channel = await session.connection.channel(publisher_confirms=False)
    await channel.queue_declare(queue, passive=True)
    for name in names:
        await channel.queue_declare(name, durable=True, arguments={**delay_arguments(queue, options)})
    await channel.close()


async def _depths(session: AiormqSession, queues: list[ModelName]) -> dict[ModelName, QueueDepth | None]:
    depths: dict[ModelName, QueueDepth | None] = {}
    channel: AbstractChannel | None = None
    for queue in queues:
        channel, found = await _inspect(session, channel, queue)
        if found is None:
            depths[queue] = None
            continue
        channel, dead = await _inspect(session, channel, dead_letter_queue(queue))
        depths[queue] = QueueDepth(
            ready=found.message_count or 0,
            consumers=found.consumer_count or 0,
            dead=(dead.message_count or 0) if dead is not None else 0,
        )
    if channel is not None:
        await channel.close()
    return depths


async def _inspect(
    session: AiormqSession, channel: AbstractChannel | None, queue: str
) -> tuple[AbstractChannel | None, Queue.DeclareOk | None]:
    """Inspects a queue, on a new channel if there is none; returns the channel, unless the server has closed it."""
    if channel is None:
        channel = await session.connection.channel(publisher_confirms=False)
    try:
        return channel, await channel.queue_declare(queue, passive=True)
    except ChannelNotFoundEntity:
        return None, None
