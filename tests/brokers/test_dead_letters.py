"""Contract of the `Broker` port: dead letters."""

from __future__ import annotations

from dataclasses import replace

import anyio
import pytest
from anyio.lowlevel import checkpoint

from hub.brokers import BrokerOptions
from hub.errors import ConnectionLost, UnknownQueue, Unroutable
from hub.ports.broker import Broker, QueueDepth
from hub.types import ModelName
from tests.brokers.helpers import TIMEOUT, Adapter, bodies, bury, dead, fill, message, new_queue, receive, until_depth

pytestmark = pytest.mark.usefixtures("no_leaked_tasks")


async def look(broker: Broker, queue: ModelName, *, limit: int = 100) -> list[bytes]:
    async with broker.dead_letters(queue, limit=limit) as letters:
        return bodies(letters.deliveries)


async def test_dead_letters_are_seen_oldest_first_with_their_number(broker: Broker, queue: ModelName) -> None:
    with anyio.fail_after(TIMEOUT):
        await bury(broker, queue, b"1", b"2", b"3")
        async with broker.dead_letters(queue, limit=2) as letters:
            assert bodies(letters.deliveries) == [b"1", b"2"]
            assert letters.total == 3


async def test_a_model_without_dead_letters_shows_none(broker: Broker, queue: ModelName) -> None:
    with anyio.fail_after(TIMEOUT):
        await broker.declare(queue)
        async with broker.dead_letters(queue, limit=10) as letters:
            assert not letters.deliveries
            assert letters.total == 0
            assert await broker.publish([message(dead(queue), b"meanwhile")]) == [None]
        await until_depth(broker, dead(queue), ready=1)


async def test_a_model_without_a_dead_letter_queue_is_unknown(broker: Broker, queue: ModelName) -> None:
    with anyio.fail_after(TIMEOUT):
        with pytest.raises(UnknownQueue, match=rf"{queue}\.dead"):
            async with broker.dead_letters(queue, limit=1):
                pytest.fail("entered")
        await bury(broker, queue, b"1")
        assert await look(broker, queue) == [b"1"]


async def test_looking_thirty_times_changes_nothing(broker: Broker, queue: ModelName) -> None:
    """More often than the 20 deliveries that RabbitMQ 4 grants by default."""
    expected = [b"%d" % number for number in range(50)]
    with anyio.fail_after(TIMEOUT):
        await broker.declare(queue)
        assert await broker.publish([message(dead(queue), body) for body in expected]) == [None] * 50
        for _ in range(30):
            async with broker.dead_letters(queue, limit=40) as letters:
                assert bodies(letters.deliveries) == expected[:40]
                assert letters.total == 50
        assert await look(broker, queue) == expected


async def test_looking_at_more_and_at_fewer_loses_nothing(broker: Broker, queue: ModelName) -> None:
    expected = [b"%d" % number for number in range(20)]
    with anyio.fail_after(TIMEOUT):
        await broker.declare(queue)
        assert await broker.publish([message(dead(queue), body) for body in expected]) == [None] * 20
        for limit in (10, 3, 1, 15, 7, 2):
            assert len(await look(broker, queue, limit=limit)) == limit
        assert sorted(await look(broker, queue)) == sorted(expected)


async def test_letters_are_back_when_the_block_is_left(broker: Broker, queue: ModelName) -> None:
    with anyio.fail_after(TIMEOUT):
        await broker.declare(queue)
        assert await broker.publish([message(dead(queue), b"%d" % number) for number in range(60)]) == [None] * 60
        for _ in range(5):
            async with broker.dead_letters(queue, limit=50) as letters:
                assert len(letters.deliveries) == 50
            assert await broker.depths([dead(queue)]) == {dead(queue): QueueDepth(ready=60, consumers=0)}


async def test_only_an_acked_letter_is_gone(broker: Broker, queue: ModelName) -> None:
    with anyio.fail_after(TIMEOUT):
        await bury(broker, queue, b"1", b"2", b"3", b"4")
        async with broker.dead_letters(queue, limit=3) as letters:
            letters.consumer.ack(letters.deliveries[1:2])
        assert await look(broker, queue) == [b"1", b"3", b"4"]
        await until_depth(broker, dead(queue), ready=3)


async def test_all_of_many_acked_letters_are_gone(broker: Broker, queue: ModelName) -> None:
    with anyio.fail_after(TIMEOUT):
        await broker.declare(queue)
        assert await broker.publish([message(dead(queue), b"%d" % n) for n in range(300)]) == [None] * 300
        async with broker.dead_letters(queue, limit=200) as letters:
            assert len(letters.deliveries) == 200
            letters.consumer.ack(letters.deliveries)
        async with broker.dead_letters(queue, limit=200) as letters:
            assert bodies(letters.deliveries) == [b"%d" % n for n in range(200, 300)]
            assert letters.total == 100


async def test_two_readers_at_once_get_different_letters(broker: Broker, queue: ModelName) -> None:
    with anyio.fail_after(TIMEOUT):
        await bury(broker, queue, b"1", b"2", b"3")
        async with broker.dead_letters(queue, limit=2) as first, broker.dead_letters(queue, limit=2) as second:
            assert bodies(first.deliveries) == [b"1", b"2"]
            assert bodies(second.deliveries) == [b"3"]
            assert second.total == 1
        await until_depth(broker, dead(queue), ready=3)


async def test_an_error_in_the_block_puts_the_letters_back(broker: Broker, queue: ModelName) -> None:
    async def fail() -> None:
        async with broker.dead_letters(queue, limit=10) as letters:
            letters.consumer.ack(letters.deliveries[:1])
            raise ZeroDivisionError

    with anyio.fail_after(TIMEOUT):
        await bury(broker, queue, b"1", b"2", b"3")
        with pytest.raises(ZeroDivisionError):
            await fail()
        await until_depth(broker, dead(queue), ready=2)
        assert await look(broker, queue) == [b"2", b"3"]


async def test_an_inspection_that_is_cancelled_anywhere_loses_nothing(broker: Broker, queue: ModelName) -> None:
    async def peek() -> None:
        async with broker.dead_letters(queue, limit=10):
            await checkpoint()

    with anyio.fail_after(TIMEOUT):
        await bury(broker, queue, b"1", b"2", b"3")
        for passes in (0, 1, 2, 3, 4, 6, 9, 14, 22, 35, 60, 100, 160, 250):
            async with anyio.create_task_group() as tg:
                tg.start_soon(peek, name="hub.test looker")
                for _ in range(passes):
                    await checkpoint()
                tg.cancel_scope.cancel()
        await until_depth(broker, dead(queue), ready=3)
        assert await look(broker, queue) == [b"1", b"2", b"3"]
        assert broker.statistics().consumers == 0


async def test_a_letter_arrives_with_its_headers(broker: Broker, queue: ModelName) -> None:
    headers: dict[str, str | int] = {"hub-code": "undecodable", "hub-reason": "ü" * 4096, "hub-died-at": 2**33}
    sent = replace(message(dead(queue), b"body", message_id="m-1"), headers=headers)
    with anyio.fail_after(TIMEOUT):
        await broker.declare(queue)
        assert await broker.publish([sent]) == [None]
        async with broker.dead_letters(queue, limit=1) as letters:
            [letter] = letters.deliveries
            assert letter.message_id == "m-1"
            assert headers.items() <= letter.headers.items()


async def test_a_rejected_message_has_the_queue_and_the_reason_of_its_death(broker: Broker, queue: ModelName) -> None:
    with anyio.fail_after(TIMEOUT):
        await fill(broker, queue, b"bad")
        async with broker.consume(queue, prefetch=1) as consumer:
            consumer.reject(await receive(consumer, 1), requeue=False)
        await until_depth(broker, dead(queue), ready=1)
        async with broker.dead_letters(queue, limit=1) as letters:
            [letter] = letters.deliveries
            assert letter.headers["x-first-death-reason"] == "rejected"
            assert letter.headers["x-last-death-reason"] == "rejected"
            assert letter.headers["x-last-death-queue"] == queue


async def test_a_message_that_failed_too_often_has_that_as_its_reason(adapter: Adapter, queue: ModelName) -> None:
    with anyio.fail_after(TIMEOUT):
        async with adapter.open(BrokerOptions(delivery_limit=1)) as broker:
            await fill(broker, queue, b"poison")
            async with broker.consume(queue, prefetch=1) as consumer:
                for _ in range(2):
                    consumer.reject(await receive(consumer, 1), requeue=True)
                await until_depth(broker, dead(queue), ready=1)
            async with broker.dead_letters(queue, limit=1) as letters:
                [letter] = letters.deliveries
                assert letter.headers["x-first-death-reason"] == "delivery_limit"
                assert letter.headers["x-last-death-reason"] == "delivery_limit"


async def test_depths_count_the_dead_letters(broker: Broker, queue: ModelName) -> None:
    other, unknown, unknown_too = new_queue(), new_queue(), new_queue()
    with anyio.fail_after(TIMEOUT):
        await fill(broker, queue, b"alive")
        await bury(broker, queue, b"1", b"2")
        await bury(broker, other, b"3")
        assert await broker.depths([unknown, queue, unknown_too, other, dead(other)]) == {
            queue: QueueDepth(ready=1, consumers=0, dead=2),
            other: QueueDepth(ready=0, consumers=0, dead=1),
            dead(other): QueueDepth(ready=1, consumers=0, dead=0),
            unknown: None,
            unknown_too: None,
        }


async def test_a_letter_for_an_undeclared_model_is_unroutable(broker: Broker, queue: ModelName) -> None:
    with anyio.fail_after(TIMEOUT):
        [refusal] = await broker.publish([message(dead(queue), b"1")])
        assert isinstance(refusal, Unroutable)
        assert refusal.queue == dead(queue)


async def test_dead_letters_cannot_be_read_while_the_broker_is_out_of_reach(
    broker: Broker, adapter: Adapter, queue: ModelName
) -> None:
    with anyio.fail_after(TIMEOUT):
        await bury(broker, queue, b"1")
        async with adapter.outage(broker):
            with pytest.raises(ConnectionLost):
                async with broker.dead_letters(queue, limit=1):
                    pytest.fail("entered without a link")
        assert broker.statistics().consumers == 0


async def test_letters_whose_connection_is_lost_are_not_acked_and_the_block_raises(
    broker: Broker, adapter: Adapter, queue: ModelName
) -> None:
    async def drop() -> None:
        async with broker.dead_letters(queue, limit=10) as letters, adapter.outage(broker):
            letters.consumer.ack(letters.deliveries)

    with anyio.fail_after(TIMEOUT):
        await bury(broker, queue, b"1", b"2")
        with pytest.raises(ConnectionLost):
            await drop()
        while not broker.statistics().connected:
            await checkpoint()
        await until_depth(broker, dead(queue), ready=2)
