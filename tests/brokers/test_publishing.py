"""Contract of the `Broker` port: declaring, publishing, depths."""

from __future__ import annotations

import anyio
import pytest
from anyio.lowlevel import checkpoint

from hub.brokers import BrokerOptions
from hub.errors import PublishRefused, QueueFull, Unroutable
from hub.ports.broker import Broker, QueueDepth
from hub.types import ModelName
from tests.brokers.helpers import TIMEOUT, Adapter, bodies, dead, fill, message, new_queue, receive, until_depth

pytestmark = pytest.mark.usefixtures("no_leaked_tasks")


async def test_a_published_message_arrives_as_it_was_sent(broker: Broker, queue: ModelName) -> None:
    with anyio.fail_after(TIMEOUT):
        await broker.declare(queue)
        sent = message(queue, b"\x00body\xff", message_id="m-1", traceparent="00-ab-cd-01", attempt=3)
        assert await broker.publish([sent]) == [None]
        async with broker.consume(queue, prefetch=1) as consumer:
            [delivery] = await receive(consumer, 1)
            assert delivery.body == b"\x00body\xff"
            assert delivery.message_id == "m-1"
            assert delivery.headers["traceparent"] == "00-ab-cd-01"
            assert delivery.headers["attempt"] == 3
            assert not delivery.redelivered
            assert delivery.deliveries == 0
            consumer.ack([delivery])


async def test_bodies_of_no_bytes_and_of_many_arrive_whole(broker: Broker, queue: ModelName) -> None:
    large = bytes(range(256)) * 4096
    with anyio.fail_after(TIMEOUT):
        await fill(broker, queue, b"", large)
        async with broker.consume(queue, prefetch=2) as consumer:
            deliveries = await receive(consumer, 2)
            assert bodies(deliveries) == [b"", large]
            consumer.ack(deliveries)


async def test_messages_published_together_keep_their_order(broker: Broker, queue: ModelName) -> None:
    expected = [b"%d" % number for number in range(300)]
    with anyio.fail_after(TIMEOUT):
        await broker.declare(queue)
        assert await broker.publish([message(queue, body) for body in expected]) == [None] * 300
        async with broker.consume(queue, prefetch=300) as consumer:
            deliveries = await receive(consumer, 300)
            assert bodies(deliveries) == expected
            consumer.ack(deliveries)


async def test_publishing_nothing_is_nothing(broker: Broker) -> None:
    with anyio.fail_after(TIMEOUT):
        assert not await broker.publish([])


async def test_a_message_to_no_queue_is_unroutable_and_the_others_are_taken(broker: Broker, queue: ModelName) -> None:
    with anyio.fail_after(TIMEOUT):
        await broker.declare(queue)
        nowhere = new_queue()
        first, second, third = await broker.publish([message(queue), message(nowhere), message(queue)])
        assert first is None
        assert third is None
        assert isinstance(second, Unroutable)
        assert second.queue == nowhere
        await until_depth(broker, queue, ready=2)


async def test_a_full_queue_refuses_until_there_is_room(adapter: Adapter, queue: ModelName) -> None:
    with anyio.fail_after(TIMEOUT):
        async with adapter.open(BrokerOptions(max_length=3)) as broker:
            await broker.declare(queue)
            taken = 0
            refusal: PublishRefused | None = None
            while refusal is None:  # a broker may take a few more than its limit before it says no
                [refusal] = await broker.publish([message(queue, b"%d" % taken)])
                taken += refusal is None
                assert taken < 20
            assert taken >= 3
            assert isinstance(refusal, QueueFull)
            assert refusal.queue == queue
            async with broker.consume(queue, prefetch=50) as consumer:
                consumer.ack(await receive(consumer, taken))
                while await broker.publish([message(queue, b"after")]) != [None]:
                    await checkpoint()
                [delivery] = await receive(consumer, 1)
                assert delivery.body == b"after"
                consumer.ack([delivery])


async def test_many_publishers_at_once_lose_and_double_nothing(broker: Broker, queue: ModelName) -> None:
    async def publish(publisher: int) -> None:
        for number in range(10):
            batch = [message(queue, b"%d-%d-%d" % (publisher, number, part)) for part in range(3)]
            assert await broker.publish(batch) == [None] * 3

    expected = {b"%d-%d-%d" % (p, n, part) for p in range(20) for n in range(10) for part in range(3)}
    with anyio.fail_after(TIMEOUT):
        await broker.declare(queue)
        async with anyio.create_task_group() as tg:
            for publisher in range(20):
                tg.start_soon(publish, publisher, name=f"hub.test publisher {publisher}")
        async with broker.consume(queue, prefetch=600) as consumer:
            deliveries = await receive(consumer, 600)
            assert set(bodies(deliveries)) == expected
            consumer.ack(deliveries)


async def test_declaring_again_changes_nothing(broker: Broker, queue: ModelName) -> None:
    with anyio.fail_after(TIMEOUT):
        await fill(broker, queue, b"kept")
        await broker.declare(queue)
        await until_depth(broker, queue, ready=1)


async def test_depths_have_the_waiting_messages_and_the_consumers(broker: Broker, queue: ModelName) -> None:
    unknown = new_queue()
    with anyio.fail_after(TIMEOUT):
        await fill(broker, queue, b"1", b"2", b"3")
        depths = await broker.depths([queue, unknown, dead(queue)])
        assert depths == {
            queue: QueueDepth(ready=3, consumers=0),
            unknown: None,
            dead(queue): QueueDepth(ready=0, consumers=0),
        }
        async with broker.consume(queue, prefetch=2) as consumer:
            await receive(consumer, 2)
            await until_depth(broker, queue, ready=1, consumers=1)
        await until_depth(broker, queue, ready=3)


async def test_a_publish_that_is_cancelled_anywhere_disturbs_no_other(broker: Broker, queue: ModelName) -> None:
    async def publish(body: bytes) -> None:
        await broker.publish([message(queue, body)])

    with anyio.fail_after(TIMEOUT):
        await broker.declare(queue)
        for passes in (0, 1, 2, 3, 4, 6, 9, 14, 22, 35, 60, 100):
            async with anyio.create_task_group() as tg:
                tg.start_soon(publish, b"cancelled", name="hub.test cancelled publisher")
                for _ in range(passes):
                    await checkpoint()
                tg.cancel_scope.cancel()
            [unroutable, taken] = await broker.publish([message(new_queue()), message(queue, b"kept %d" % passes)])
            assert isinstance(unroutable, Unroutable)
            assert taken is None
        assert broker.statistics().publishing == 0
