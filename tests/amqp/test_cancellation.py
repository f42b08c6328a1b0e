"""A caller may go away at any checkpoint: nothing leaks, and whoever comes next gets its own answers."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
import pytest
from pamqp import commands

from hub.amqp import AmqpConnection, AmqpOptions, Channel, Message, Publisher, Route
from tests.amqp.fake import ADDRESS, FakeBroker, Wire
from tests.amqp.sweep import cancelled_after, sweep

pytestmark = pytest.mark.usefixtures("no_leaked_tasks")

TIMEOUT = 60.0
ENOUGH = 2
"""Checkpoints that every one of these scenarios has at the very least; a sweep over fewer has seen nothing."""


@asynccontextmanager
async def connected(broker: FakeBroker) -> AsyncGenerator[AmqpConnection]:
    with anyio.fail_after(TIMEOUT):
        async with AmqpConnection(Wire(broker), ADDRESS, AmqpOptions(heartbeat=0)) as connection:
            yield connection


def messages(count: int, *, size: int = 10) -> list[Message]:
    route = Route(routing_key="q")
    return [Message(route=route, body=b"x" * size, message_id=f"m{each}", timestamp=0) for each in range(count)]


async def idle(connection: AmqpConnection, broker: FakeBroker, *, channels: int = 0) -> None:
    """Everything has been answered and closed, on both sides, and the connection works."""
    await anyio.wait_all_tasks_blocked()
    assert connection.usable
    assert connection.channels == len(broker.channels) == channels
    assert broker.consumers == set()
    assert broker.unacked == set()
    assert broker.violations == []
    async with connection.channel() as channel:
        assert (await channel.inspect_queue("q")).message_count == 7


async def test_opening_a_channel_may_be_cancelled_anywhere() -> None:
    broker = FakeBroker()
    async with connected(broker) as connection:

        async def scenario() -> None:
            async with connection.channel():
                pass

        assert await sweep(scenario, lambda: idle(connection, broker)) > ENOUGH


async def test_opening_a_publisher_may_be_cancelled_anywhere() -> None:
    broker = FakeBroker()
    async with connected(broker) as connection:

        async def scenario() -> None:
            async with connection.publisher():
                pass

        assert await sweep(scenario, lambda: idle(connection, broker)) > ENOUGH


async def test_a_declaration_may_be_cancelled_anywhere_and_the_next_one_gets_its_own_answer() -> None:
    broker = FakeBroker()
    async with connected(broker) as connection, connection.channel() as channel:
        number = 0

        async def scenario() -> None:
            await channel.inspect_queue("cancelled")

        async def invariant() -> None:
            nonlocal number
            number += 1
            declared = await channel.call(commands.Queue.Declare(queue=f"n{number}"), commands.Queue.DeclareOk)
            assert declared.queue == f"n{number}"
            await idle(connection, broker, channels=1)

        assert await sweep(scenario, invariant) > ENOUGH


async def test_publishing_may_be_cancelled_anywhere_and_no_message_is_torn() -> None:
    broker = FakeBroker()
    async with connected(broker) as connection, connection.publisher() as publisher:

        async def scenario() -> None:
            assert list(await publisher.publish(messages(3, size=300_000))) == [None] * 3

        async def invariant() -> None:
            assert list(await publisher.publish(messages(2, size=5))) == [None] * 2
            assert broker.published[-2:] == [b"x" * 5] * 2
            assert set(map(len, broker.published)) <= {5, 300_000}
            assert publisher.unconfirmed == 0
            await idle(connection, broker, channels=1)

        assert await sweep(scenario, invariant) > ENOUGH


async def test_publishing_more_than_the_outbox_holds_may_be_cancelled_anywhere() -> None:
    broker = FakeBroker()
    async with connected(broker) as connection, connection.publisher() as publisher:

        async def scenario() -> None:
            await publisher.publish(messages(5, size=1_000_000))

        async def invariant() -> None:
            assert list(await publisher.publish(messages(1))) == [None]
            assert publisher.unconfirmed == 0
            broker.published.clear()
            await idle(connection, broker, channels=1)

        assert await sweep(scenario, invariant) > ENOUGH


async def test_consuming_may_be_cancelled_anywhere_and_no_message_stays_out() -> None:
    broker = FakeBroker(queue_length=3)
    async with connected(broker) as connection:

        async def scenario() -> None:
            async with connection.channel() as channel, channel.consume("q", prefetch=3) as consumer:
                received = await consumer.receive()
                consumer.ack(message.tag for message in received)

        assert await sweep(scenario, lambda: idle(connection, broker)) > ENOUGH


async def test_consuming_on_a_channel_that_stays_may_be_cancelled_anywhere() -> None:
    broker = FakeBroker(queue_length=3)
    async with connected(broker) as connection, connection.channel() as channel:

        async def scenario() -> None:
            async with channel.consume("q", prefetch=3) as consumer:
                consumer.reject([message.tag for message in await consumer.receive()], requeue=True)

        assert await sweep(scenario, lambda: idle(connection, broker, channels=1)) > ENOUGH


async def test_stopping_may_be_cancelled_anywhere_and_the_intake_has_ended_all_the_same() -> None:
    broker = FakeBroker(queue_length=3)
    async with connected(broker) as connection:
        for rounds in range(8):
            async with connection.channel() as channel, channel.consume("q", prefetch=3) as consumer:
                await cancelled_after(consumer.stop, rounds)
                if rounds == 0:
                    continue  # the scenario did not begin
                await anyio.wait_all_tasks_blocked()
                assert broker.consumers == set()
                assert broker.unacked == set()


async def test_connecting_may_be_cancelled_anywhere() -> None:
    wires: list[Wire] = []

    async def scenario() -> None:
        wires.append(Wire(FakeBroker()))
        async with AmqpConnection(wires[-1], ADDRESS, AmqpOptions(heartbeat=0)):
            pass

    async def invariant() -> None:
        await anyio.wait_all_tasks_blocked()
        assert [task.name for task in anyio.get_running_tasks() if (task.name or "").startswith("hub.amqp")] == []

    with anyio.fail_after(TIMEOUT):
        assert await sweep(scenario, invariant) > ENOUGH


@pytest.mark.parametrize("rounds", range(1, 12))
async def test_an_answer_that_comes_after_the_caller_has_gone_is_undone(rounds: int) -> None:
    """The broker is slow: it answers only when the caller has been cancelled."""
    broker = FakeBroker(queue_length=2)
    wire = Wire(broker)
    with anyio.fail_after(TIMEOUT):
        async with (
            AmqpConnection(wire, ADDRESS, AmqpOptions(heartbeat=0)) as connection,
            connection.channel() as channel,
            connection.publisher() as publisher,
        ):
            broker.held = []

            async def consume() -> None:
                async with channel.consume("q", prefetch=2):
                    pass

            async def open_channel() -> None:
                async with connection.channel():
                    pass

            async def publish() -> None:
                await publisher.publish(messages(2))

            for scenario in (consume, open_channel, publish):
                assert not await cancelled_after(scenario, rounds)
            wire.say(broker.release())
            await idle(connection, broker, channels=2)
            assert publisher.unconfirmed == 0


async def test_a_cancelled_caller_leaves_the_others_alone() -> None:
    broker = FakeBroker()
    async with connected(broker) as connection, connection.publisher() as publisher, connection.channel() as channel:
        for rounds in range(12):
            counts = await run_beside(publisher, channel, rounds)
            assert counts == [3, 7]


async def run_beside(publisher: Publisher, channel: Channel, rounds: int) -> list[int]:
    counts: list[int] = []

    async def publish() -> None:
        counts.append(len(await publisher.publish(messages(3))))

    async def look() -> None:
        counts.append((await channel.inspect_queue("q")).message_count or 0)

    async def cancelled() -> None:
        await publisher.publish(messages(20))
        await channel.inspect_queue("gone")

    async with anyio.create_task_group() as tg:
        tg.start_soon(publish, name="hub.test publish")
        tg.start_soon(look, name="hub.test look")
        await cancelled_after(cancelled, rounds)
    return sorted(counts)
