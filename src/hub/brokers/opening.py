"""Picks the broker adapter that a URL names."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from hub.brokers.options import BrokerOptions
from hub.errors import ConfigurationError
from hub.ports import Broker


def open_broker(url: str, options: BrokerOptions | None = None) -> AbstractAsyncContextManager[Broker]:
    """The broker at `url`, used inside `async with`.

    Args:
        url: `memory://` (this process only, forgotten at exit), `amqp://` or `amqps://` (RabbitMQ, both backends), or
            `amqp+aiormq://` or `amqps+aiormq://` (RabbitMQ through aiormq, asyncio only). Nodes of a cluster stand in
            one URL with commas in between: `amqp://user:password@a:5672,b:5672,c/vhost`.
        options: How queues are declared; the defaults are those of `BrokerOptions`.

    Raises:
        ConfigurationError: No adapter has this scheme, or (on entry) the adapter cannot run on this backend.
    """
    options = options or BrokerOptions()
    scheme, separator, _ = url.partition("://")
    # A process needs one adapter; the libraries of the others are not imported.
    match scheme:
        case "memory":
            from hub.brokers.memory import MemoryBroker  # noqa: PLC0415

            return MemoryBroker(options)
        case "amqp" | "amqps":
            from hub.brokers.amqp import AmqpBroker  # noqa: PLC0415

            return AmqpBroker(url, options)
        case "amqp+aiormq" | "amqps+aiormq":
            from hub.brokers.aiormq import AiormqBroker  # noqa: PLC0415

            return AiormqBroker(url, options)
        case _:
            raise ConfigurationError(
                f"{scheme if separator else 'what has no scheme'!r} is no broker: use memory://, amqp://, amqps://, amqp+aiormq:// or amqps+aiormq://"
            )
