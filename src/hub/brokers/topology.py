"""The queues of a model as RabbitMQ knows them, for every adapter that talks AMQP.

A model's queue is reached through the default exchange, by its name. What a consumer rejects goes to the direct
exchange `hub.dead`, where the queue `<model>.dead` is bound under the model's name. Only arguments that RabbitMQ 3.10
and 4.x both accept are used.
"""

from __future__ import annotations

from typing import Final

from hub.brokers.options import BrokerOptions, QueueType
from hub.errors import ConfigurationError

DEAD_LETTER_EXCHANGE: Final = "hub.dead"

NEVER: Final = 2**31 - 1
"""A delivery limit that nobody reaches: RabbitMQ 4 has one of 20 for quorum queues that do not set any, and each look at
a dead letter is a delivery. (4.x reads -1 as "none"; 3.10 has no word for that.)"""


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
        arguments["x-delivery-limit"] = NEVER
    return arguments


def unlike(queue: str, reason: str) -> ConfigurationError:
    """The broker has the queue already, and refuses to declare it with our arguments."""
    return ConfigurationError(
        f"queue {queue!r} or its dead-letter queue exists with other arguments ({reason}): set the queue type, delivery "
        "limit and maximum length that it has, or drain it, delete it and start again"
    )


def forbidden(queue: str, reason: str) -> ConfigurationError:
    """The broker does not let our user declare the queue."""
    return ConfigurationError(
        f"the user of the broker URL may not declare queue {queue!r} ({reason}): give it the configure, write and read "
        "permissions for the queues of models, for *.dead and for hub.dead"
    )
