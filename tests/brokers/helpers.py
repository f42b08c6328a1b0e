"""The adapters that the contract suite of the `Broker` port runs against, and helpers of its tests."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from typing import Protocol
from urllib.parse import urlsplit
from uuid import uuid4

import anyio
from anyio.from_thread import start_blocking_portal
from anyio.lowlevel import checkpoint
from typing_extensions import override

from hub.amqp import AmqpAddress, AmqpOptions, Message, Route, connect
from hub.brokers import BrokerOptions, open_broker
from hub.brokers.memory.broker import MemoryBroker
from hub.cli.reload.remote import BROKER, remote_broker
from hub.ports.broker import Broker, BrokerStatistics, Consumer, Delivery, Publication
from hub.testing.proxy import FaultProxy
from hub.types import ModelName
from tests.cli.remote import calls_to

TIMEOUT = 30.0
"""Seconds that any one wait of the suite may take; a real broker on a busy machine is slow at times."""


_made: list[ModelName] = []


class Adapter(Protocol):
    """One adapter under test, with the means to break its connection."""

    def open(self, options: BrokerOptions | None = None) -> AbstractAsyncContextManager[Broker]: ...

    def outage(self, broker: Broker) -> AbstractAsyncContextManager[None]:
        """While the block runs, the server cannot be reached, and the connection is broken."""
        ...

    async def delete(self, broker: Broker, queue: str) -> None:
        """Deletes a queue."""
        ...

    def clear(self) -> None:
        """Deletes the queues that a test has made."""
        ...


class MemoryAdapter(Adapter):
    @override
    def open(self, options: BrokerOptions | None = None) -> AbstractAsyncContextManager[Broker]:
        return MemoryBroker(options)

    @override
    @asynccontextmanager
    async def outage(self, broker: Broker) -> AsyncGenerator[None]:
        assert isinstance(broker, MemoryBroker)
        with broker.outage():
            yield

    @override
    async def delete(self, broker: Broker, queue: str) -> None:
        assert isinstance(broker, MemoryBroker)
        await checkpoint()
        broker.delete(queue)

    @override
    def clear(self) -> None:
        _made.clear()


class RemoteAdapter(MemoryAdapter):
    """A broker in memory, called over a socket as by the models of `hub up --reload`."""

    def __init__(self) -> None:
        self._opened: dict[int, MemoryBroker] = {}

    @override
    @asynccontextmanager
    async def open(self, options: BrokerOptions | None = None) -> AsyncGenerator[Broker]:
        async with MemoryBroker(options) as opened, calls_to(**{BROKER: opened}) as calls:
            broker = remote_broker(calls)
            self._opened[id(broker)] = opened
            own = broker.statistics

            def statistics() -> BrokerStatistics:
                """Its own consumers; the rest is known in the process that has the broker."""
                return replace(opened.statistics(), consumers=own().consumers, unacked=own().unacked)

            vars(broker).update(statistics=statistics, dead_letters=opened.dead_letters)  # models read no dead letters
            yield broker

    @override
    @asynccontextmanager
    async def outage(self, broker: Broker) -> AsyncGenerator[None]:
        async with super().outage(self._opened[id(broker)]):
            yield

    @override
    async def delete(self, broker: Broker, queue: str) -> None:
        await super().delete(self._opened[id(broker)], queue)


class RabbitMQAdapter(Adapter):
    """A RabbitMQ behind a proxy, and one of the adapters that talk to it. Breaks its connections, not the server.

    Args:
        url: Of the server, `amqp://`.
        adapter: The part of the scheme after `amqp`: `+aiormq`, or nothing.
    """

    def __init__(self, url: str, adapter: str = "") -> None:
        self._parts = urlsplit(url)
        self._adapter = adapter
        self._proxies: dict[int, FaultProxy] = {}

    @override
    @asynccontextmanager
    async def open(self, options: BrokerOptions | None = None) -> AsyncGenerator[Broker]:
        async with FaultProxy(self._parts.hostname or "127.0.0.1", self._parts.port or 5672) as proxy:
            netloc = f"{self._parts.username}:{self._parts.password}@127.0.0.1:{proxy.port}"
            url = self._parts._replace(scheme=f"amqp{self._adapter}", netloc=netloc).geturl()
            async with open_broker(url, options) as broker:
                self._proxies[id(broker)] = proxy
                yield broker

    @override
    @asynccontextmanager
    async def outage(self, broker: Broker) -> AsyncGenerator[None]:
        proxy = self.proxy(broker)
        proxy.refuse()
        proxy.cut()
        try:
            yield
        finally:
            proxy.accept()

    def at(self, url: str) -> RabbitMQAdapter:
        """The same adapter at another server."""
        return RabbitMQAdapter(url, self._adapter)

    async def declare(self, queue: str, arguments: Mapping[str, str | int]) -> None:
        """Declares a queue of another kind than hub's."""
        async with connect(self._parts.geturl()) as connection, connection.channel() as channel:
            await channel.declare_queue(queue, arguments)

    async def publish(self, queue: str, body: bytes) -> None:
        """Publishes a message of any size."""
        publication = Message(route=Route(routing_key=queue), body=body, message_id="", timestamp=0)
        async with connect(self._parts.geturl(), AmqpOptions(body_limit=2**40)) as connection:
            async with connection.publisher() as publisher:
                assert list(await publisher.publish([publication])) == [None]

    def proxy(self, broker: Broker) -> FaultProxy:
        """What stands between a broker that was opened here and the server."""
        return self._proxies[id(broker)]

    @override
    async def delete(self, broker: Broker, queue: str) -> None:
        await _delete(self._parts.geturl(), [queue])

    @override
    def clear(self) -> None:
        """In an event loop of its own, so that it serves tests on either backend."""
        queues = [name for queue in _made for name in (queue, dead(queue), *delays(queue))]
        _made.clear()
        with start_blocking_portal() as portal:
            portal.call(_delete, self._parts.geturl(), queues)


def new_queue() -> ModelName:
    """A queue name that no other test uses, so that servers can be shared."""
    queue = ModelName(f"t{uuid4().hex}")
    _made.append(queue)
    return queue


async def _delete(url: str, queues: Sequence[str]) -> None:
    with anyio.fail_after(TIMEOUT):
        async with connect(AmqpAddress.parse(url), AmqpOptions()) as connection, connection.channel() as channel:
            for queue in queues:
                await channel.delete_queue(queue)


def message(
    queue: str, body: bytes = b"", *, message_id: str = "", delay: float = 0.0, **headers: str | int
) -> Publication:
    return Publication(
        queue=queue, body=body, message_id=message_id, timestamp=1_700_000_000.0, delay=delay, headers=headers
    )


async def fill(broker: Broker, queue: ModelName, *bodies: bytes) -> None:
    """Declares the queue and puts messages on it, in order."""
    await broker.declare(queue)
    for body in bodies:  # one after the other: only a confirmed message is surely before the next one
        assert await broker.publish([message(queue, body)]) == [None]


async def receive(consumer: Consumer, count: int) -> Sequence[Delivery]:
    """Exactly `count` deliveries; fails when more arrive with them."""
    arrived: list[Delivery] = []
    while len(arrived) < count:
        arrived.extend(await consumer.receive())
    assert len(arrived) == count
    return arrived


def bodies(deliveries: Sequence[Delivery]) -> list[bytes]:
    return [delivery.body for delivery in deliveries]


async def until_depth(broker: Broker, queue: ModelName, *, ready: int, consumers: int = 0) -> None:
    """Waits for the broker to have carried out what was sent to it; the caller bounds the wait."""
    depth = None
    while depth is None or (depth.ready, depth.consumers) != (ready, consumers):
        depth = (await broker.depths([queue]))[queue]
        await checkpoint()


def dead(queue: ModelName) -> ModelName:
    return ModelName(f"{queue}.dead")


def delays(queue: ModelName) -> list[str]:
    return [f"{queue}.delay.{2**power}" for power in range(6)]


async def bury(broker: Broker, queue: ModelName, *bodies: bytes) -> None:
    """Puts messages on the dead-letter queue, in order, the way instances do."""
    await broker.declare(queue)
    for body in bodies:
        assert await broker.publish([message(dead(queue), body)]) == [None]
