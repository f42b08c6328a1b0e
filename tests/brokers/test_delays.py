"""Contract of the `Broker` port: messages that are to arrive later. These tests wait for real brokers in real time."""

from __future__ import annotations

import anyio
import pytest
from anyio import current_time
from anyio.lowlevel import checkpoint

from hub.brokers import BrokerOptions, QueueType
from hub.errors import PublishRefused, Unroutable
from hub.ports.broker import Broker
from hub.types import ModelName
from tests.brokers.helpers import TIMEOUT, Adapter, bodies, dead, fill, message, new_queue, receive, until_depth

pytestmark = pytest.mark.usefixtures("no_leaked_tasks")


async def test_a_delayed_message_arrives_once_and_not_before_its_time(broker: Broker, queue: ModelName) -> None:
    with anyio.fail_after(TIMEOUT):
        await broker.declare(queue)
        async with broker.consume(queue, prefetch=9) as consumer:
            published = current_time()
            sent = message(queue, b"\x00body\xff", message_id="m-1", delay=0.3, traceparent="00-ab-cd-01", attempt=3)
            assert await broker.publish([sent]) == [None]
            [delivery] = await receive(consumer, 1)
            assert current_time() - published >= 0.3
            assert delivery.body == b"\x00body\xff"
            assert delivery.message_id == "m-1"
            assert delivery.headers["traceparent"] == "00-ab-cd-01"
            assert delivery.headers["attempt"] == 3
            assert delivery.deliveries == 0
            consumer.ack([delivery])
        await until_depth(broker, queue, ready=0)
        await until_depth(broker, dead(queue), ready=0)


async def test_a_delayed_message_reaches_its_queue_without_a_consumer(broker: Broker, queue: ModelName) -> None:
    with anyio.fail_after(TIMEOUT):
        await broker.declare(queue)
        assert await broker.publish([message(queue, delay=0.1)]) == [None]
        await until_depth(broker, queue, ready=1)


async def test_delays_do_not_hold_up_what_has_none_or_a_much_shorter_one(broker: Broker, queue: ModelName) -> None:
    with anyio.fail_after(TIMEOUT):
        await broker.declare(queue)
        async with broker.consume(queue, prefetch=9) as consumer:
            late, soon, now = message(queue, b"late", delay=3600), message(queue, b"soon", delay=0.2), message(queue)
            assert await broker.publish([late, soon, now]) == [None] * 3
            assert bodies(await receive(consumer, 2)) == [b"", b"soon"]


async def test_the_answers_of_a_mixed_batch_stand_in_its_order(broker: Broker, queue: ModelName) -> None:
    nowhere = new_queue()
    with anyio.fail_after(TIMEOUT):
        await broker.declare(queue)
        batch = [
            message(nowhere, delay=1),
            message(queue),
            message(queue, delay=0.1),
            message(nowhere),
            message(queue, delay=0.1),
            message(nowhere, delay=5),
        ]
        outcomes = await broker.publish(batch)
        assert [type(outcome) for outcome in outcomes] == [
            Unroutable,
            type(None),
            type(None),
            Unroutable,
            type(None),
            Unroutable,
        ]
        assert {outcome.queue for outcome in outcomes if outcome is not None} == {nowhere}
        await until_depth(broker, queue, ready=3)


async def test_a_delayed_message_that_dies_has_both_deaths_in_its_headers(broker: Broker, queue: ModelName) -> None:
    with anyio.fail_after(TIMEOUT):
        await broker.declare(queue)
        assert await broker.publish([message(queue, delay=0.1)]) == [None]
        async with broker.consume(queue, prefetch=1) as consumer:
            consumer.reject(await receive(consumer, 1), requeue=False)
        await until_depth(broker, dead(queue), ready=1)
        async with broker.dead_letters(queue, limit=1) as letters:
            [letter] = letters.deliveries
            assert letter.headers["x-first-death-reason"] == "expired"
            assert letter.headers["x-first-death-queue"] == f"{queue}.delay.1"
            assert letter.headers["x-last-death-reason"] == "rejected"
            assert letter.headers["x-last-death-queue"] == queue


async def test_a_delayed_message_that_comes_when_the_queue_is_full_is_not_lost(
    adapter: Adapter, queue: ModelName
) -> None:
    with anyio.fail_after(TIMEOUT):
        async with adapter.open(BrokerOptions(max_length=1)) as broker:
            await broker.declare(queue)
            assert await broker.publish([message(queue, b"delayed", delay=0.5)]) == [None]
            while await broker.publish([message(queue, b"fill")]) == [None]:
                await checkpoint()
            async with broker.consume(queue, prefetch=1) as consumer:
                arrived: list[bytes] = []
                while b"delayed" not in arrived:
                    deliveries = await consumer.receive()
                    arrived += bodies(deliveries)
                    consumer.ack(deliveries)


async def test_a_delayed_publish_waits_for_the_next_connection(
    broker: Broker, adapter: Adapter, queue: ModelName
) -> None:
    results: list[PublishRefused | None] = []

    async def publish() -> None:
        results.extend(await broker.publish([message(queue, b"late", delay=0.1)]))

    with anyio.fail_after(TIMEOUT):
        await broker.declare(queue)
        async with anyio.create_task_group() as tg, adapter.outage(broker):
            while broker.statistics().connected:
                await checkpoint()
            tg.start_soon(publish, name="hub.test publisher")
            await anyio.wait_all_tasks_blocked()
            assert results == []
            assert broker.statistics().publishing == 1
        assert results == [None]
        await until_depth(broker, queue, ready=1)


async def test_a_delayed_publish_that_is_cancelled_anywhere_disturbs_no_other(broker: Broker, queue: ModelName) -> None:
    async def publish() -> None:
        await broker.publish([message(queue, b"cancelled", delay=3600)])

    with anyio.fail_after(TIMEOUT):
        await broker.declare(queue)
        for passes in (0, 1, 2, 3, 4, 6, 9, 14, 22, 35, 60, 100, 160, 250):
            async with anyio.create_task_group() as tg:
                tg.start_soon(publish, name="hub.test cancelled publisher")
                for _ in range(passes):
                    await checkpoint()
                tg.cancel_scope.cancel()
            assert await broker.publish([message(queue)]) == [None]
        assert broker.statistics().publishing == 0


async def test_classic_queues_delay_too(adapter: Adapter, queue: ModelName) -> None:
    with anyio.fail_after(TIMEOUT):
        async with adapter.open(BrokerOptions(queue_type=QueueType.CLASSIC)) as broker:
            await fill(broker, queue)
            assert await broker.publish([message(queue, delay=0.1)]) == [None]
            await until_depth(broker, queue, ready=1)
