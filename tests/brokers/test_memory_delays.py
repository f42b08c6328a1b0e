"""Messages that wait for their time in the memory broker: in virtual time, to the second."""

from __future__ import annotations

import anyio
import pytest
from anyio import current_time
from trio.testing import MockClock

from hub.brokers.memory.broker import MemoryBroker
from hub.errors import ConnectionLost, QueueFull
from hub.ports.broker import Broker, Consumer, QueueDepth
from hub.types import ModelName
from tests.brokers.helpers import bodies, message

QUEUE = ModelName("patient")


@pytest.fixture
def anyio_backend() -> object:
    return "trio", {"clock": MockClock(autojump_threshold=0)}


async def take(consumer: Consumer, arrivals: list[tuple[float, bytes]], started: float) -> None:
    while True:
        deliveries = await consumer.receive()
        arrivals += [(current_time() - started, body) for body in bodies(deliveries)]
        consumer.ack(deliveries)


async def test_each_message_arrives_when_its_time_has_come() -> None:
    arrivals: list[tuple[float, bytes]] = []
    async with MemoryBroker() as broker, broker.consume(QUEUE, prefetch=1) as consumer:
        async with anyio.create_task_group() as tg:
            tg.start_soon(take, consumer, arrivals, current_time(), name="hub.test consumer")
            await anyio.wait_all_tasks_blocked()
            for delay in (300.0, 10.0, 0.5, 3600.0, 0.0):
                await broker.publish([message(QUEUE, b"%g" % delay, delay=delay)])
            await anyio.sleep(4000)
            tg.cancel_scope.cancel()
    assert arrivals == [(0.0, b"0"), (0.5, b"0.5"), (10.0, b"10"), (300.0, b"300"), (3600.0, b"3600")]


async def test_several_consumers_share_what_becomes_due() -> None:
    shares: list[list[tuple[float, bytes]]] = [[], []]
    async with MemoryBroker() as broker:
        async with (
            broker.consume(QUEUE, prefetch=1) as one,
            broker.consume(QUEUE, prefetch=1) as two,
            anyio.create_task_group() as tg,
        ):
            for consumer, share in zip((one, two), shares, strict=True):
                tg.start_soon(take, consumer, share, current_time(), name="hub.test consumer")
            await broker.publish([message(QUEUE, b"%d" % number, delay=5.0) for number in range(6)])
            await anyio.sleep(6)
            tg.cancel_scope.cancel()
        assert (await broker.depths([QUEUE]))[QUEUE] == QueueDepth(ready=0, consumers=0)
    assert sorted(body for share in shares for _, body in share) == [b"%d" % number for number in range(6)]
    assert all(share for share in shares)
    assert {at for share in shares for at, _ in share} == {5.0}


async def test_a_message_becomes_due_without_a_waiting_consumer() -> None:
    async with MemoryBroker() as broker:
        await broker.declare(QUEUE)
        await broker.publish([message(QUEUE, delay=5.0)])
        await anyio.sleep(4.999)
        assert (await broker.depths([QUEUE]))[QUEUE] == QueueDepth(ready=0, consumers=0)
        await anyio.sleep(0.001)
        assert (await broker.depths([QUEUE]))[QUEUE] == QueueDepth(ready=1, consumers=0)


async def test_what_is_kept_for_later_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.brokers.memory.queue.MAX_DELAYED", 2)
    async with MemoryBroker() as broker:
        await broker.declare(QUEUE)
        first, second, third = await broker.publish([message(QUEUE, delay=5.0)] * 3)
        assert (first, second) == (None, None)
        assert isinstance(third, QueueFull)
        await anyio.sleep(5)
        assert await broker.publish([message(QUEUE, delay=5.0)]) == [None]


async def test_what_waits_outlives_an_outage() -> None:
    arrivals: list[tuple[float, bytes]] = []
    async with MemoryBroker() as broker:
        started = current_time()
        await broker.declare(QUEUE)
        await broker.publish([message(QUEUE, b"late", delay=5.0)])
        with broker.outage():
            await anyio.sleep(60)
        async with broker.consume(QUEUE, prefetch=1) as consumer:
            with anyio.move_on_after(1):
                await take(consumer, arrivals, started)
    assert arrivals == [(60.0, b"late")]


async def test_an_outage_ends_a_wait_for_a_delayed_message_at_once() -> None:
    async def lose(broker: MemoryBroker) -> None:
        await anyio.sleep(1)
        with broker.outage():
            pass

    async def wait(broker: Broker) -> None:
        async with broker.consume(QUEUE, prefetch=1) as consumer:
            await broker.publish([message(QUEUE, delay=5.0)])
            with pytest.raises(ConnectionLost):
                await consumer.receive()

    async with MemoryBroker() as broker, anyio.create_task_group() as tg:
        tg.start_soon(wait, broker, name="hub.test consumer")
        started = current_time()
        await lose(broker)
    assert current_time() - started == 1.0
