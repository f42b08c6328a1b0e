"""Contract of the `Broker` port: consuming and settling."""

from __future__ import annotations

import anyio
import pytest
from anyio.lowlevel import checkpoint

from hub.brokers import BrokerOptions
from hub.ports.broker import Broker, Consumer, Delivery
from hub.types import ModelName
from tests.brokers.helpers import TIMEOUT, Adapter, bodies, dead, fill, message, receive, until_depth

pytestmark = pytest.mark.usefixtures("no_leaked_tasks")


async def test_an_acked_message_is_forgotten(broker: Broker, queue: ModelName) -> None:
    with anyio.fail_after(TIMEOUT):
        await fill(broker, queue, b"1", b"2")
        async with broker.consume(queue, prefetch=10) as consumer:
            consumer.ack(await receive(consumer, 2))
        await until_depth(broker, queue, ready=0)
        await until_depth(broker, dead(queue), ready=0)


async def test_leaving_the_block_requeues_unsettled_messages_as_redelivered(broker: Broker, queue: ModelName) -> None:
    with anyio.fail_after(TIMEOUT):
        await fill(broker, queue, b"acked", b"kept", b"kept too")
        async with broker.consume(queue, prefetch=2) as consumer:
            first, second = await receive(consumer, 2)
            assert not first.redelivered
            assert not second.redelivered
            consumer.ack([first])
        async with broker.consume(queue, prefetch=2) as consumer:
            again = await receive(consumer, 2)
            assert {delivery.body: delivery.redelivered for delivery in again} == {b"kept": True, b"kept too": True}
            consumer.ack(again)


async def test_consuming_declares_the_queue(broker: Broker, queue: ModelName) -> None:
    with anyio.fail_after(TIMEOUT):
        async with broker.consume(queue, prefetch=1) as consumer:
            assert await broker.publish([message(queue, b"here")]) == [None]
            consumer.ack(await receive(consumer, 1))


async def test_a_requeued_message_comes_again_before_the_younger_ones(broker: Broker, queue: ModelName) -> None:
    with anyio.fail_after(TIMEOUT):
        await fill(broker, queue, b"1", b"2", b"3")
        async with broker.consume(queue, prefetch=2) as consumer:
            consumer.requeue(await receive(consumer, 2))
            again = await receive(consumer, 2)
            assert bodies(again) == [b"1", b"2"]
            assert [delivery.redelivered for delivery in again] == [True, True]
            consumer.ack(again)
            [last] = await receive(consumer, 1)
            assert (last.body, last.redelivered) == (b"3", False)
            consumer.ack([last])


async def test_a_rejected_message_comes_again_when_it_is_to_be_requeued(broker: Broker, queue: ModelName) -> None:
    with anyio.fail_after(TIMEOUT):
        await fill(broker, queue, b"1")
        async with broker.consume(queue, prefetch=1) as consumer:
            consumer.reject(await receive(consumer, 1), requeue=True)
            [again] = await receive(consumer, 1)
            assert again.redelivered
            assert again.deliveries == 1
            consumer.ack([again])


async def test_a_rejected_message_goes_to_the_dead_letters_otherwise(broker: Broker, queue: ModelName) -> None:
    with anyio.fail_after(TIMEOUT):
        await fill(broker, queue, b"bad", b"good")
        async with broker.consume(queue, prefetch=1) as consumer:
            consumer.reject(await receive(consumer, 1), requeue=False)
            [good] = await receive(consumer, 1)
            assert good.body == b"good"
            consumer.ack([good])
        await until_depth(broker, dead(queue), ready=1)
        await until_depth(broker, queue, ready=0)


async def test_a_message_that_fails_too_often_goes_to_the_dead_letters(adapter: Adapter, queue: ModelName) -> None:
    with anyio.fail_after(TIMEOUT):
        async with adapter.open(BrokerOptions(delivery_limit=2)) as broker:
            await fill(broker, queue, b"poison")
            async with broker.consume(queue, prefetch=1) as consumer:
                for delivered_before in range(3):
                    [delivery] = await receive(consumer, 1)
                    assert delivery.deliveries == delivered_before
                    consumer.reject([delivery], requeue=True)
                await until_depth(broker, dead(queue), ready=1)
            await until_depth(broker, queue, ready=0)


async def test_no_more_than_the_prefetch_count_is_unsettled(broker: Broker, queue: ModelName) -> None:
    with anyio.fail_after(TIMEOUT):
        await fill(broker, queue, *(b"%d" % number for number in range(6)))
        async with broker.consume(queue, prefetch=3) as consumer:
            first = await receive(consumer, 3)
            await until_depth(broker, queue, ready=3, consumers=1)
            assert consumer.unsettled == 3
            consumer.ack(first[:1])
            fourth = await receive(consumer, 1)
            await until_depth(broker, queue, ready=2, consumers=1)
            assert consumer.unsettled == 3
            consumer.ack([*first[1:], *fourth])
            consumer.ack(await receive(consumer, 2))
            assert consumer.unsettled == 0


async def test_consumers_share_the_work(broker: Broker, queue: ModelName) -> None:
    with anyio.fail_after(TIMEOUT):
        await broker.declare(queue)
        async with (
            broker.consume(queue, prefetch=2) as one,
            broker.consume(queue, prefetch=2) as two,
            broker.consume(queue, prefetch=2) as three,
        ):
            assert await broker.publish([message(queue, b"%d" % number) for number in range(6)]) == [None] * 6
            shares = [await receive(consumer, 2) for consumer in (one, two, three)]
            assert sorted(body for share in shares for body in bodies(share)) == [b"%d" % n for n in range(6)]
            for consumer, share in zip((one, two, three), shares, strict=True):
                consumer.ack(share)


async def test_what_was_received_can_be_settled_after_stop(broker: Broker, queue: ModelName) -> None:
    with anyio.fail_after(TIMEOUT):
        await fill(broker, queue, b"1", b"2", b"3")
        async with broker.consume(queue, prefetch=1) as consumer:
            received = await receive(consumer, 1)
            await consumer.stop()
            consumer.ack(received)
            await until_depth(broker, queue, ready=2)
        await until_depth(broker, queue, ready=2)


async def test_messages_not_received_are_requeued_by_stop(broker: Broker, queue: ModelName) -> None:
    with anyio.fail_after(TIMEOUT):
        await fill(broker, queue, b"1", b"2")
        async with broker.consume(queue, prefetch=2) as stopped:
            await until_depth(broker, queue, ready=0, consumers=1)
            await stopped.stop()
            async with broker.consume(queue, prefetch=2) as other:
                again = await receive(other, 2)
                assert bodies(again) == [b"1", b"2"]
                other.ack(again)
        await until_depth(broker, queue, ready=0)


async def test_receive_returns_no_delivery_after_stop(broker: Broker, queue: ModelName) -> None:
    returned: list[Delivery] = []

    async def take(consumer: Consumer) -> None:
        returned.extend(await consumer.receive())

    with anyio.fail_after(TIMEOUT):
        await broker.declare(queue)
        async with broker.consume(queue, prefetch=2) as consumer, anyio.create_task_group() as tg:
            tg.start_soon(take, consumer, name="hub.test receiver")
            await anyio.wait_all_tasks_blocked()
            await consumer.stop()
            assert await broker.publish([message(queue, b"for others")]) == [None]
            await until_depth(broker, queue, ready=1)
            tg.cancel_scope.cancel()
    assert returned == []


async def test_settling_twice_does_nothing(broker: Broker, queue: ModelName) -> None:
    with anyio.fail_after(TIMEOUT):
        await fill(broker, queue, b"1", b"2")
        async with broker.consume(queue, prefetch=1) as consumer:
            received = await receive(consumer, 1)
            consumer.ack(received)
            consumer.ack(received)
            consumer.requeue(received)
            consumer.reject(received, requeue=False)
            [second] = await receive(consumer, 1)
            assert second.body == b"2"
            consumer.ack([second])
        await until_depth(broker, queue, ready=0)
        await until_depth(broker, dead(queue), ready=0)


async def test_a_receive_that_is_cancelled_anywhere_loses_nothing(broker: Broker, queue: ModelName) -> None:
    received: list[Delivery] = []

    async def take(consumer: Consumer) -> None:
        arrived = await consumer.receive()
        consumer.ack(arrived)
        received.extend(arrived)

    with anyio.fail_after(TIMEOUT):
        await broker.declare(queue)
        async with broker.consume(queue, prefetch=50) as consumer:
            sweep = (0, 1, 2, 3, 4, 6, 9, 14, 22, 35, 60, 100)
            for passes in sweep:
                assert await broker.publish([message(queue, b"%d" % passes)]) == [None]
                async with anyio.create_task_group() as tg:
                    tg.start_soon(take, consumer, name="hub.test receiver")
                    for _ in range(passes):
                        await checkpoint()
                    tg.cancel_scope.cancel()
            while len(received) < len(sweep):
                await take(consumer)
        assert bodies(received) == [b"%d" % passes for passes in sweep]
        await until_depth(broker, queue, ready=0)


async def test_a_consumer_that_is_cancelled_anywhere_leaves_nothing_behind(broker: Broker, queue: ModelName) -> None:
    async def consume() -> None:
        async with broker.consume(queue, prefetch=1) as consumer:
            await consumer.receive()
            await consumer.stop()

    with anyio.fail_after(TIMEOUT):
        await fill(broker, queue, b"1")
        for passes in (0, 1, 2, 3, 4, 6, 9, 14, 22, 35, 60, 100):
            async with anyio.create_task_group() as tg:
                tg.start_soon(consume, name="hub.test consumer")
                for _ in range(passes):
                    await checkpoint()
                tg.cancel_scope.cancel()
        await until_depth(broker, queue, ready=1)
        assert broker.statistics().consumers == 0
        assert broker.statistics().unacked == 0
