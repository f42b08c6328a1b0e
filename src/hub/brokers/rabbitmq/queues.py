"""Declaring a model's queues and looking at them, through hub's own driver."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Final

from pamqp.commands import Queue

from hub.amqp import AmqpConnection, ChannelClosed
from hub.amqp.errors import ACCESS_REFUSED, NOT_FOUND, PRECONDITION_FAILED
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

AT_ONCE: Final = 200
"""Queues that are looked at in one round trip: writing so many questions takes 2 ms, in which nothing else runs."""


async def declare(connection: AmqpConnection, queue: ModelName, options: BrokerOptions) -> None:
    """Creates the queue of a model and that of its dead letters.

    Raises:
        ConfigurationError: They exist with other arguments, or the user may not declare them.
        ConnectionLost: The connection broke.
    """
    dead = dead_letter_queue(queue)
    try:
        async with connection.channel() as channel:  # a refusal closes it
            await channel.declare_exchange(DEAD_LETTER_EXCHANGE)
            await channel.declare_queue(dead, dead_letter_arguments(options))
            await channel.bind_queue(dead, DEAD_LETTER_EXCHANGE, queue)
            await channel.declare_queue(queue, queue_arguments(options))
    except ChannelClosed as closed:
        if closed.reply_code == PRECONDITION_FAILED:
            raise arguments_mismatch(queue, closed.reply_text) from closed
        if closed.reply_code == ACCESS_REFUSED:
            raise permission_denied(queue, closed.reply_text) from closed
        raise


async def declare_delays(connection: AmqpConnection, delays: Delays, options: BrokerOptions) -> Refusals:
    """Creates delay queues, unless they exist.

    Raises:
        ConnectionLost: The connection broke.
    """
    refusals: dict[str, PublishRefused] = {}
    for queue, names in delays.items():
        try:
            async with connection.channel() as channel:
                await channel.inspect_queue(queue)
                for name in names:
                    await channel.declare_queue(name, delay_arguments(queue, options))
        except ChannelClosed as closed:
            if closed.reply_code == NOT_FOUND:
                refusals[queue] = queue_missing(queue)
            elif closed.reply_code in (PRECONDITION_FAILED, ACCESS_REFUSED):
                refusals[queue] = delay_queue_refused(queue, closed.reply_text)
            else:
                raise
    return refusals


async def depths(connection: AmqpConnection, queues: Iterable[ModelName]) -> Mapping[ModelName, QueueDepth | None]:
    """How many messages wait in queues and their dead-letter queues.

    Asks for `AT_ONCE` in one round trip, and in three more for each queue that does not exist: that costs a channel.

    Raises:
        ConnectionLost: The connection broke.
    """
    names = list(queues)
    found: dict[str, Queue.DeclareOk] = {}
    waiting = deque(name for queue in names for name in (queue, dead_letter_queue(queue)))
    while waiting:
        async with connection.channel() as channel:
            exist = True
            while waiting and exist:
                asked = [*islice(waiting, AT_ONCE)]
                inspected = await channel.inspect_queues(asked)
                exist = len(inspected) == len(asked)
                for reply in inspected:
                    found[waiting.popleft()] = reply
        if waiting:
            missing = waiting.popleft()
            if waiting and waiting[0] == dead_letter_queue(missing):  # without its model's queue it is not needed
                waiting.popleft()
    return {queue: _depth(found.get(queue), found.get(dead_letter_queue(queue))) for queue in names}


def _depth(reply: Queue.DeclareOk | None, dead: Queue.DeclareOk | None) -> QueueDepth | None:
    if reply is None:
        return None
    return QueueDepth(
        ready=reply.message_count or 0,
        consumers=reply.consumer_count or 0,
        dead=(dead.message_count or 0) if dead is not None else 0,
    )
