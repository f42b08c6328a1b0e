"""Picks the broker adapter that a URL names."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from hub.amqp.nodes import node_urls
from hub.brokers.options import BrokerOptions
from hub.ports.broker import Broker
from hub.urls import BROKER_SCHEMES, split_url


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
    # A process needs one adapter; the libraries of the others are not imported.
    match split_url(node_urls(url)[0], BROKER_SCHEMES).scheme:
        case "memory":
            from hub.brokers.memory.broker import MemoryBroker  # noqa: PLC0415

            return MemoryBroker(options)
        case "amqp" | "amqps":
            from hub.brokers.rabbitmq.broker import AmqpBroker  # noqa: PLC0415

            return AmqpBroker(url, options)
        case _:
            from hub.brokers.aiormq.broker import AiormqBroker  # noqa: PLC0415

            return AiormqBroker(url, options)


def check_broker_url(url: str) -> None:
    """Reads an AMQP URL without connecting.

    Raises:
        ConfigurationError: It makes no sense.
    """
    from hub.amqp.address import AmqpAddress  # noqa: PLC0415

    for node in node_urls(url):
        parts = split_url(node, BROKER_SCHEMES)
        if parts.scheme.endswith("+aiormq"):  # its query is aiormq's own
            parts = parts._replace(scheme=parts.scheme.removesuffix("+aiormq"), query="")
        AmqpAddress.parse(parts.geturl())
