"""The queues of a model as RabbitMQ knows them, for every adapter that talks AMQP.

A model's queue is reached through the default exchange, by its name. What a consumer rejects goes to the direct
exchange `hub.dead`, where the queue `<model>.dead` is bound under the model's name. Only arguments that RabbitMQ 3.10
and 4.x both accept are used.
"""

from __future__ import annotations

from typing import Final

from hub.brokers.options import BrokerOptions, QueueType

DEAD_LETTER_EXCHANGE: Final = "hub.dead"


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
    return {"x-queue-type": options.queue_type.value}
