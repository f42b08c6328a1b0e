"""The queues of a model as RabbitMQ knows them, for every adapter that talks AMQP.

A model's queue is reached through the default exchange, by its name. What a consumer rejects goes to the direct
exchange `hub.dead`, where the queue `<model>.dead` is bound under the model's name. What is to come later waits in a
delay queue, `<model>.delay.<seconds>`, until its time-to-live is over, and is dead-lettered into the model's queue. Only
arguments that RabbitMQ 3.10 and 4.x both accept are used.
"""

from __future__ import annotations

from math import ceil
from typing import Final

from hub.brokers.options import BrokerOptions, QueueType
from hub.errors import ConfigurationError, PublishRefused, Unroutable
from hub.types import OWN_PREFIX, delayed_queue

DEAD_LETTER_EXCHANGE: Final = f"{OWN_PREFIX}dead"

UNLIMITED: Final = 2**31 - 1
"""A delivery limit that is not reached: RabbitMQ 4 has one of 20 for quorum queues that do not set any, and each
inspection of a dead letter is a delivery. (4.x reads -1 as "none"; 3.10 has no value for that.)"""

LONGEST_DELAY: Final = 2**22
"""Seconds, 48 days: RabbitMQ counts a time-to-live in milliseconds that fit into 32 bits. More is taken as this much."""


def queue_arguments(options: BrokerOptions) -> dict[str, str | int]:
    """The `x-` arguments of a model's queue."""
    arguments: dict[str, str | int] = {
        "x-queue-type": options.queue_type.value,
        "x-dead-letter-exchange": DEAD_LETTER_EXCHANGE,
    }
    if options.queue_type is QueueType.QUORUM:  # RabbitMQ refuses the argument for a classic queue
        arguments["x-delivery-limit"] = options.delivery_limit
    if options.max_length is not None:
        arguments["x-max-length"] = options.max_length
        arguments["x-overflow"] = "reject-publish"
    return arguments


def dead_letter_arguments(options: BrokerOptions) -> dict[str, str | int]:
    """The `x-` arguments of a dead-letter queue: as durable as the model's own, without limits."""
    arguments: dict[str, str | int] = {"x-queue-type": options.queue_type.value}
    if options.queue_type is QueueType.QUORUM:
        arguments["x-delivery-limit"] = UNLIMITED
    return arguments


def delay_queue(queue: str, delay: float) -> str:
    """Where a message for `queue` waits for `delay` seconds.

    A queue checks the time-to-live of its first message only, so those with a long one must not stand before those with
    a short one: each delay queue is for delays from its number of seconds, a power of two, up to twice as many.
    """
    level = int(max(min(delay, LONGEST_DELAY), 1.0)).bit_length() - 1
    return delayed_queue(queue, 2**level)


def delay_arguments(queue: str, options: BrokerOptions) -> dict[str, str | int]:
    """The `x-` arguments of the delay queues of `queue`, all alike; why they do not expire is explained in decision 024."""
    arguments: dict[str, str | int] = {
        "x-queue-type": options.queue_type.value,
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": queue,
    }
    if options.queue_type is QueueType.QUORUM:
        arguments["x-dead-letter-strategy"] = "at-least-once"
        arguments["x-overflow"] = "reject-publish"  # without it the strategy does not hold; there is no maximum length
    return arguments


def expiration(delay: float) -> int:
    """The time-to-live, in whole milliseconds, of a message that waits for `delay` seconds: at least that."""
    return ceil(min(delay, LONGEST_DELAY) * 1000)


def arguments_mismatch(queue: str, reason: str) -> ConfigurationError:
    """The broker has the queue already, and refuses to declare it with our arguments."""
    return ConfigurationError(
        f"queue {queue!r} or its dead-letter queue exists with other arguments ({reason}): set the queue type, delivery "
        "limit and maximum length that it has, or drain the one that is named here, delete it and start again"
    )


def permission_denied(queue: str, reason: str) -> ConfigurationError:
    """The broker does not let our user declare the queue."""
    return ConfigurationError(
        f"the user of the broker URL may not declare queue {queue!r} ({reason}): give it the configure, write and read "
        "permissions for the queues of models, for *.dead, *.delay.* and hub.dead"
    )


def queue_missing(queue: str) -> Unroutable:
    """There is no queue for a message; or there is none to which a delayed one could go in the end."""
    return Unroutable(queue, "there is no such queue")


def delay_queue_refused(queue: str, reason: str) -> PublishRefused:
    """The broker refuses to declare a delay queue."""
    return PublishRefused(
        queue,
        f"its delay queue cannot be declared ({reason}): if one exists with other arguments, such as another queue type, "
        f"delete {queue}.delay.* once they are empty; else give the user of the broker URL the permissions for them",
    )
