"""Contract of the `Broker` port: a queue that is in use is deleted."""

from __future__ import annotations

from contextlib import suppress

import anyio
import pytest

from hub.errors import ConnectionLost, UnknownQueue, Unroutable
from hub.ports.broker import Broker
from hub.types import ModelName
from tests.brokers.helpers import (
    TIMEOUT,
    Adapter,
    bodies,
    bury,
    dead,
    delays,
    fill,
    message,
    new_queue,
    receive,
    until_depth,
)

pytestmark = pytest.mark.usefixtures("no_leaked_tasks")


async def test_a_consumer_whose_queue_is_deleted_fails_and_the_next_one_has_a_new_queue(
    broker: Broker, adapter: Adapter, queue: ModelName
) -> None:
    with anyio.fail_after(TIMEOUT):
        await fill(broker, queue, b"taken", b"waiting")
        async with broker.consume(queue, prefetch=1) as consumer:
            received = await receive(consumer, 1)
            await adapter.delete(broker, queue)
            with pytest.raises(ConnectionLost, match="cancelled the consumer"):
                await consumer.receive()
            consumer.ack(received)  # the subscription is gone
            consumer.reject(received, requeue=True)
        async with broker.consume(queue, prefetch=1) as consumer:
            assert await broker.publish([message(queue, b"new")]) == [None]
            [delivery] = await receive(consumer, 1)
            assert (delivery.body, delivery.redelivered) == (b"new", False)
            consumer.ack([delivery])
        await until_depth(broker, queue, ready=0)


async def test_each_consumer_of_a_deleted_queue_fails_also_when_it_waits(
    broker: Broker, adapter: Adapter, queue: ModelName
) -> None:
    learnt: list[ConnectionLost] = []

    async def wait(ready: anyio.Event) -> None:
        async with broker.consume(queue, prefetch=1) as consumer:
            ready.set()
            try:
                await consumer.receive()
            except ConnectionLost as lost:
                learnt.append(lost)

    with anyio.fail_after(TIMEOUT):
        await broker.declare(queue)  # RabbitMQ 3.10 may fail (541) when several do it in the same moment
        async with anyio.create_task_group() as tg:
            waiting = [anyio.Event() for _ in range(3)]
            for event in waiting:
                tg.start_soon(wait, event, name="hub.test receiver")
            for event in waiting:
                await event.wait()
            await adapter.delete(broker, queue)
    assert len(learnt) == 3
    assert broker.statistics().consumers == 0


async def test_the_other_consumers_go_on_when_a_queue_is_deleted(
    broker: Broker, adapter: Adapter, queue: ModelName
) -> None:
    other = new_queue()
    with anyio.fail_after(TIMEOUT):
        async with broker.consume(queue, prefetch=1), broker.consume(other, prefetch=1) as unhurt:
            await adapter.delete(broker, queue)
            assert await broker.publish([message(other, b"here")]) == [None]
            unhurt.ack(await receive(unhurt, 1))


async def test_a_message_to_a_deleted_queue_is_unroutable_until_it_is_declared_again(
    broker: Broker, adapter: Adapter, queue: ModelName
) -> None:
    batch = [message(queue, b"now"), message(queue, b"later", delay=0.1)]
    with anyio.fail_after(TIMEOUT):
        await broker.declare(queue)
        assert await broker.publish(batch) == [None, None]
        await adapter.delete(broker, queue)
        for outcome in await broker.publish(batch):
            assert isinstance(outcome, Unroutable)
            assert outcome.queue == queue
        assert await broker.depths([queue]) == {queue: None}
        await broker.declare(queue)
        assert await broker.publish(batch) == [None, None]


async def test_what_waits_for_its_time_outlives_its_queue(broker: Broker, adapter: Adapter, queue: ModelName) -> None:
    with anyio.fail_after(TIMEOUT):
        await fill(broker, queue, b"gone with it")
        assert await broker.publish([message(queue, b"delayed", delay=3)]) == [None]
        await adapter.delete(broker, queue)
        async with broker.consume(queue, prefetch=9) as consumer:
            arrived = await receive(consumer, 1)
            assert bodies(arrived) == [b"delayed"]
            consumer.ack(arrived)


async def test_a_deleted_dead_letter_queue_is_there_again_with_the_next_consumer(
    broker: Broker, adapter: Adapter, queue: ModelName
) -> None:
    with anyio.fail_after(TIMEOUT):
        await bury(broker, queue, b"gone")
        await adapter.delete(broker, dead(queue))
        with pytest.raises(UnknownQueue):
            async with broker.dead_letters(queue, limit=1):
                pytest.fail("there is nothing to look at")
        [depth] = (await broker.depths([queue])).values()
        assert depth is not None
        assert depth.dead == 0
        [refusal] = await broker.publish([message(dead(queue))])
        assert isinstance(refusal, Unroutable)
        await fill(broker, queue, b"bad")
        async with broker.consume(queue, prefetch=1) as consumer:
            consumer.reject(await receive(consumer, 1), requeue=False)
            await until_depth(broker, dead(queue), ready=1)
        async with broker.dead_letters(queue, limit=1) as letters:
            assert bodies(letters.deliveries) == [b"bad"]


async def test_a_deleted_delay_queue_is_there_again_with_the_next_delay(
    broker: Broker, adapter: Adapter, queue: ModelName
) -> None:
    with anyio.fail_after(TIMEOUT):
        await broker.declare(queue)
        assert await broker.publish([message(queue, delay=3600)]) == [None]
        for name in delays(queue):
            await adapter.delete(broker, name)
        assert await broker.publish([message(queue, b"again", delay=0.1)]) == [None]
        async with broker.consume(queue, prefetch=1) as consumer:
            consumer.ack(await receive(consumer, 1))


async def test_reading_letters_whose_queue_is_deleted_ends_without_an_error_or_in_a_lost_connection(
    broker: Broker, adapter: Adapter, queue: ModelName
) -> None:
    with anyio.fail_after(TIMEOUT):
        await bury(broker, queue, b"1")
        with suppress(ConnectionLost, UnknownQueue):
            async with broker.dead_letters(queue, limit=1) as letters:
                await adapter.delete(broker, dead(queue))
                letters.consumer.ack(letters.deliveries)
        await bury(broker, queue, b"2")
        async with broker.dead_letters(queue, limit=9) as letters:
            assert bodies(letters.deliveries) == [b"2"]
