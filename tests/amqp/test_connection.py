"""The driver over a wire that tests hold in their hands."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
import pytest
from pamqp import commands

from hub.amqp import AmqpConnection, AmqpOptions, ChannelClosed, LoginRefused, Message, Route
from hub.errors import ConnectionLost
from tests.amqp.fake import ADDRESS, CLOSE, FakeBroker, Wire, marshal

pytestmark = pytest.mark.usefixtures("no_leaked_tasks")

TIMEOUT = 30.0


@asynccontextmanager
async def connected(wire: Wire) -> AsyncGenerator[AmqpConnection]:
    with anyio.fail_after(TIMEOUT):
        async with AmqpConnection(wire, ADDRESS, AmqpOptions(heartbeat=0)) as connection:
            yield connection


def message(body: bytes = b"x", key: str = "q") -> Message:
    return Message(route=Route(routing_key=key), body=body, message_id="m", timestamp=0)


async def test_leaving_says_goodbye_and_waits_for_the_answer() -> None:
    broker = FakeBroker()
    async with connected(Wire(broker)):
        pass
    assert broker.asked[-1] == "Connection.Close"


async def test_what_was_settled_is_sent_before_the_goodbye_even_when_the_block_is_cancelled() -> None:
    broker = FakeBroker(queue_length=1)
    with anyio.fail_after(TIMEOUT), anyio.CancelScope() as scope:
        async with (
            connected(Wire(broker)) as connection,
            connection.channel() as channel,
            channel.consume("q", prefetch=1) as consumer,
        ):
            consumer.ack(each.tag for each in await consumer.receive())
            scope.cancel()
    assert broker.settled == [("Basic.Ack", 1)]
    assert broker.asked[-3:] == ["Basic.Cancel", "Channel.Close", "Connection.Close"]


async def test_an_error_of_the_block_comes_out_as_it_is() -> None:
    with pytest.raises(ZeroDivisionError):
        async with connected(Wire(FakeBroker())) as connection, connection.channel():
            raise ZeroDivisionError


async def test_a_server_that_leaves_during_the_login_is_a_lost_link() -> None:
    broker = FakeBroker()
    wire = Wire(broker)

    def leave(_channel: int, _method: object) -> bytes:
        wire.end()
        return b""

    broker.answers[commands.Connection.StartOk] = leave
    with pytest.raises(ConnectionLost, match="closed the socket"):
        async with connected(wire):
            pytest.fail("there was no login")


async def test_a_refused_login_is_told_and_answered() -> None:
    refusal = commands.Connection.Close(reply_code=403, reply_text="ACCESS_REFUSED", class_id=0, method_id=0)
    broker = FakeBroker(answers={commands.Connection.StartOk: lambda _channel, _method: marshal(0, refusal)})
    with pytest.raises(LoginRefused, match="403 ACCESS_REFUSED"):
        async with connected(Wire(broker)):
            pytest.fail("there was no login")
    assert broker.asked[-1] == "Connection.CloseOk"


async def test_everybody_who_waits_hears_of_a_lost_link() -> None:
    broker = FakeBroker()
    wire = Wire(broker)
    heard: list[str] = []

    async with (
        connected(wire) as connection,
        connection.channel() as channel,
        connection.publisher() as publisher,
        channel.consume("q", prefetch=1) as consumer,
    ):
        broker.held = []

        async def declare() -> None:
            await channel.declare_queue("q")

        async def publish() -> None:
            await publisher.publish([message()])

        async def receive() -> None:
            await consumer.receive()

        async with anyio.create_task_group() as tg:
            for call in (declare, publish, receive, connection.lost, publisher.lost):

                async def wait(call: object = call) -> None:
                    assert callable(call)
                    try:
                        await call()
                    except ConnectionLost as lost:
                        heard.append(lost.reason)

                tg.start_soon(wait, name="hub.test waiter")
            await anyio.wait_all_tasks_blocked()
            wire.end()
        for call in (declare, publish, receive):
            with pytest.raises(ConnectionLost):
                await call()
        assert not connection.usable
    assert heard == ["the server closed the socket"] * 5


async def test_a_channel_that_the_server_closes_ends_alone_and_its_calls_say_why() -> None:
    broker = FakeBroker(answers={commands.Queue.Bind: lambda channel, _: marshal(channel, CLOSE)})
    async with connected(Wire(broker)) as connection, connection.channel() as other:
        async with connection.channel() as channel:
            with pytest.raises(ChannelClosed):
                await channel.bind_queue("q", "x", "k")
            with pytest.raises(ChannelClosed, match="404"):
                await channel.declare_queue("q")
        await other.declare_queue("q")
        assert connection.channels == 1


async def test_publishers_wait_while_the_broker_is_blocked_and_send_nothing() -> None:
    broker = FakeBroker()
    wire = Wire(broker)
    async with connected(wire) as connection, connection.publisher() as publisher:
        wire.say(marshal(0, commands.Connection.Blocked(reason="low on memory")))
        await anyio.wait_all_tasks_blocked()
        assert connection.blocked == "low on memory"
        async with anyio.create_task_group() as tg:
            tg.start_soon(publisher.publish, [message(b"later")], name="hub.test publish")
            await anyio.wait_all_tasks_blocked()
            assert broker.published == []
            wire.say(marshal(0, commands.Connection.Unblocked()))
        assert broker.published == [b"later"]


async def test_a_publisher_that_waits_for_a_blocked_broker_hears_of_a_lost_link() -> None:
    wire = Wire(FakeBroker())
    async with connected(wire) as connection, connection.publisher() as publisher:
        wire.say(marshal(0, commands.Connection.Blocked(reason="low on memory")))
        await anyio.wait_all_tasks_blocked()
        heard: list[ConnectionLost] = []

        async def publish() -> None:
            try:
                await publisher.publish([message()])
            except ConnectionLost as lost:
                heard.append(lost)

        async with anyio.create_task_group() as tg:
            tg.start_soon(publish, name="hub.test publish")
            await anyio.wait_all_tasks_blocked()
            wire.end()
        assert len(heard) == 1


async def test_a_batch_that_is_larger_than_the_outbox_goes_out_in_parts_and_whole() -> None:
    broker = FakeBroker()
    async with connected(Wire(broker)) as connection, connection.publisher() as publisher:
        outcomes = await publisher.publish([message(b"x" * 600_000) for _ in range(5)])
    assert list(outcomes) == [None] * 5
    assert [len(body) for body in broker.published] == [600_000] * 5


async def test_a_consumer_that_was_stopped_receives_no_more() -> None:
    broker = FakeBroker(queue_length=2)
    async with (
        connected(Wire(broker)) as connection,
        connection.channel() as channel,
        channel.consume("q", prefetch=2) as consumer,
    ):
        first, *_ = await consumer.receive()
        await consumer.stop()
        consumer.ack([first.tag])
        with anyio.move_on_after(0.01) as scope:
            await consumer.receive()
        assert scope.cancelled_caught
    assert broker.settled == [("Basic.Ack", 1)]
