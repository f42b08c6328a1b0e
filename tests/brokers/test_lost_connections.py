"""Contract of the `Broker` port: what happens when the link breaks."""

from __future__ import annotations

from contextlib import suppress

import anyio
import pytest

from hub.errors import ConnectionLost, PublishRefused
from hub.ports.broker import Broker
from hub.types import ModelName
from tests.brokers.helpers import TIMEOUT, Adapter, bodies, fill, message, receive, until_depth

pytestmark = pytest.mark.usefixtures("no_leaked_tasks")


async def test_a_lost_connection_is_raised_by_the_consumer(broker: Broker, adapter: Adapter, queue: ModelName) -> None:
    with anyio.fail_after(TIMEOUT):
        async with broker.consume(queue, prefetch=1) as consumer, adapter.outage(broker):
            with pytest.raises(ConnectionLost):
                await consumer.receive()


async def test_a_lost_connection_is_raised_by_a_receive_that_waits(
    broker: Broker, adapter: Adapter, queue: ModelName
) -> None:
    learnt: list[ConnectionLost] = []

    async def wait() -> None:
        async with broker.consume(queue, prefetch=1) as consumer:
            waiting.set()
            try:
                await consumer.receive()
            except ConnectionLost as lost:
                learnt.append(lost)

    waiting = anyio.Event()
    with anyio.fail_after(TIMEOUT):
        async with anyio.create_task_group() as tg:
            tg.start_soon(wait, name="hub.test receiver")
            await waiting.wait()
            await anyio.wait_all_tasks_blocked()
            async with adapter.outage(broker):
                pass
    assert len(learnt) == 1


async def test_a_lost_connection_ends_a_block_with_connection_lost_and_no_group(
    broker: Broker, adapter: Adapter, queue: ModelName
) -> None:
    async def consume() -> None:
        async with broker.consume(queue, prefetch=1) as consumer:
            async with adapter.outage(broker):
                pass
            await consumer.receive()

    with anyio.fail_after(TIMEOUT), pytest.raises(ConnectionLost):
        await consume()


async def test_unsettled_messages_are_redelivered_after_a_lost_connection(
    broker: Broker, adapter: Adapter, queue: ModelName
) -> None:
    with anyio.fail_after(TIMEOUT):
        await fill(broker, queue, b"1", b"2")
        with suppress(ConnectionLost):  # an error that no call has raised may come out as the block is left
            async with broker.consume(queue, prefetch=2) as consumer:
                received = await receive(consumer, 2)
                async with adapter.outage(broker):
                    consumer.ack(received)  # too late: the broker has put them back
                    consumer.reject(received, requeue=False)
        async with broker.consume(queue, prefetch=2) as consumer:
            again = await receive(consumer, 2)
            assert bodies(again) == [b"1", b"2"]
            assert [delivery.redelivered for delivery in again] == [True, True]
            consumer.ack(again)
        await until_depth(broker, queue, ready=0)


async def test_no_consumer_starts_while_the_broker_is_out_of_reach(
    broker: Broker, adapter: Adapter, queue: ModelName
) -> None:
    with anyio.fail_after(TIMEOUT):
        await broker.declare(queue)
        async with adapter.outage(broker):
            with pytest.raises(ConnectionLost):
                async with broker.consume(queue, prefetch=1):
                    pytest.fail("entered without a link")
        assert broker.statistics().consumers == 0


async def test_a_publish_waits_for_the_next_connection(broker: Broker, adapter: Adapter, queue: ModelName) -> None:
    results: list[PublishRefused | None] = []

    async def publish() -> None:
        results.extend(await broker.publish([message(queue, b"late")]))

    with anyio.fail_after(TIMEOUT):
        await broker.declare(queue)
        async with anyio.create_task_group() as tg, adapter.outage(broker):
            while broker.statistics().connected:
                await anyio.lowlevel.checkpoint()
            tg.start_soon(publish, name="hub.test publisher")
            await anyio.wait_all_tasks_blocked()
            assert results == []
        assert results == [None]
        while not broker.statistics().connected:
            await anyio.lowlevel.checkpoint()
        await until_depth(broker, queue, ready=1)


async def test_a_broker_counts_its_reconnects(broker: Broker, adapter: Adapter, queue: ModelName) -> None:
    with anyio.fail_after(TIMEOUT):
        await broker.declare(queue)
        assert broker.statistics().connected
        assert broker.statistics().reconnects == 0
        async with adapter.outage(broker):
            while broker.statistics().connected:
                await anyio.lowlevel.checkpoint()
        while not broker.statistics().connected:
            await anyio.lowlevel.checkpoint()
        assert broker.statistics().reconnects >= 1
