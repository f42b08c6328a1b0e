"""The driver against a RabbitMQ that means well."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from uuid import uuid4

import anyio
import pytest
from anyio.lowlevel import checkpoint
from msgspec import structs
from pamqp import commands

from hub.amqp import (
    AmqpAddress,
    AmqpConnection,
    AmqpOptions,
    Channel,
    ChannelClosed,
    ConsumerCancelled,
    LoginRefused,
    Message,
    MessageTooLarge,
    Received,
    Route,
    connect,
)
from hub.amqp.consumer import ChannelConsumer
from hub.errors import ConnectionLost, QueueFull, Unroutable
from tests.amqp.fake import content
from tests.amqp.sweep import cancelled_after

pytestmark = pytest.mark.usefixtures("no_leaked_tasks")

TIMEOUT = 60.0


@pytest.fixture
async def connection(amqp_url: str) -> AsyncIterator[AmqpConnection]:
    async with connect(amqp_url) as opened:
        yield opened


@pytest.fixture
async def channel(connection: AmqpConnection) -> AsyncIterator[Channel]:
    async with connection.channel() as opened:
        yield opened


@pytest.fixture
async def queue(channel: Channel) -> AsyncIterator[str]:
    name = f"t{uuid4().hex}"
    await channel.declare_queue(name)
    yield name
    await channel.delete_queue(name)


def message(queue: str, body: bytes = b"", **headers: str | int) -> Message:
    return Message(route=Route(routing_key=queue), body=body, message_id=uuid4().hex, timestamp=1, headers=headers)


async def receive(consumer: ChannelConsumer, count: int) -> list[Received]:
    arrived: list[Received] = []
    while len(arrived) < count:
        arrived.extend(await consumer.receive())
    return arrived


@pytest.mark.parametrize("size", [0, 1, 131_064, 131_065, 10 * 1024 * 1024])
async def test_a_body_of_any_size_arrives_as_it_was_sent(connection: AmqpConnection, queue: str, size: int) -> None:
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    with anyio.fail_after(TIMEOUT):
        async with connection.publisher() as publisher, connection.channel() as channel:
            sent = message(queue, body, note="ü", number=2**40)
            assert list(await publisher.publish([sent])) == [None]
            async with channel.consume(queue, prefetch=1) as consumer:
                (received,) = await receive(consumer, 1)
                consumer.ack([received.tag])
    assert received.body == body
    assert received.message_id == sent.message_id
    assert {"note": "ü", "number": 2**40}.items() <= received.headers.items()
    assert not received.redelivered


async def test_a_batch_gets_an_answer_for_each_message(amqp_url: str, queue: str) -> None:
    with anyio.fail_after(TIMEOUT):
        async with connect(amqp_url, AmqpOptions(body_limit=100)) as connection, connection.publisher() as publisher:
            outcomes = await publisher.publish(
                [
                    message(queue, b"1"),
                    message(f"{queue}.missing"),
                    message(queue, b"x" * 101),
                    message(queue, b"2"),
                    message(f"{queue}.missing"),
                ]
            )
        async with connect(amqp_url) as connection, connection.channel() as channel:
            assert (await channel.inspect_queue(queue)).message_count == 2
    kinds = [type(outcome) for outcome in outcomes]
    assert kinds == [type(None), Unroutable, MessageTooLarge, type(None), Unroutable]


async def test_a_full_queue_refuses(connection: AmqpConnection, channel: Channel) -> None:
    name = f"t{uuid4().hex}"
    await channel.declare_queue(name, {"x-max-length": 2, "x-overflow": "reject-publish"})
    with anyio.fail_after(TIMEOUT):
        async with connection.publisher() as publisher:
            outcomes = [(await publisher.publish([message(name)]))[0] for _ in range(4)]
    await channel.delete_queue(name)
    assert outcomes[:2] == [None, None]
    assert isinstance(outcomes[3], QueueFull)


async def test_thousands_of_messages_from_many_publishers_at_once_are_all_there(
    connection: AmqpConnection, channel: Channel, queue: str
) -> None:
    with anyio.fail_after(TIMEOUT):
        async with connection.publisher() as publisher:

            async def publish(number: int) -> None:
                batch = [message(queue, b"%d.%d" % (number, each)) for each in range(100)]
                assert list(await publisher.publish(batch)) == [None] * 100

            async with anyio.create_task_group() as tg:
                for number in range(20):
                    tg.start_soon(publish, number, name=f"hub.test publisher {number}")
        bodies: set[bytes] = set()
        async with channel.consume(queue, prefetch=300) as consumer:
            while len(bodies) < 2000:
                arrived = await consumer.receive()
                assert len(arrived) <= 300
                bodies.update(each.body for each in arrived)
                consumer.ack(each.tag for each in arrived)
            await consumer.stop()
        assert bodies == {b"%d.%d" % (number, each) for number in range(20) for each in range(100)}
        assert (await channel.inspect_queue(queue)).message_count == 0


async def test_what_is_not_settled_comes_again(connection: AmqpConnection, queue: str) -> None:
    with anyio.fail_after(TIMEOUT):
        async with connection.publisher() as publisher:
            await publisher.publish([message(queue, b"%d" % each) for each in range(4)])
        async with connection.channel() as channel, channel.consume(queue, prefetch=4) as consumer:
            first, second, third, _ = await receive(consumer, 4)
            consumer.ack([first.tag])
            consumer.nack([second.tag])
            consumer.reject([third.tag], requeue=False)
        async with connection.channel() as channel, channel.consume(queue, prefetch=4) as consumer:
            again = await receive(consumer, 2)
            consumer.ack(each.tag for each in again)
    assert {each.body for each in again} == {b"1", b"3"}
    assert all(each.redelivered for each in again)


async def test_a_queue_that_is_deleted_under_its_consumer_ends_it(connection: AmqpConnection, channel: Channel) -> None:
    name = f"t{uuid4().hex}"
    await channel.declare_queue(name)
    with anyio.fail_after(TIMEOUT):
        async with connection.channel() as other, other.consume(name, prefetch=1) as consumer:
            await channel.delete_queue(name)
            with pytest.raises(ConsumerCancelled, match=name):
                await consumer.receive()
    assert connection.usable


async def test_a_queue_that_does_not_exist_costs_a_channel_and_not_the_connection(connection: AmqpConnection) -> None:
    with anyio.fail_after(TIMEOUT):
        async with connection.channel() as channel:
            with pytest.raises(ChannelClosed) as caught:
                await channel.inspect_queue(f"t{uuid4().hex}")
        assert caught.value.reply_code == 404
        async with connection.channel() as channel:
            await channel.call(commands.Basic.Qos(prefetch_count=1), commands.Basic.QosOk)


async def test_many_queues_are_looked_at_until_one_does_not_exist(connection: AmqpConnection, queue: str) -> None:
    with anyio.fail_after(TIMEOUT):
        async with connection.publisher() as publisher:
            await publisher.publish([message(queue)])
        async with connection.channel() as channel:
            looks = await channel.inspect_queues([queue] * 3)
            assert [look.message_count for look in looks] == [1, 1, 1]
            looks = await channel.inspect_queues([queue, queue, f"{queue}.missing", queue])
            assert [look.queue for look in looks] == [queue, queue]
            with pytest.raises(ChannelClosed):
                await channel.inspect_queues([queue])
    assert connection.usable


async def test_what_is_settled_in_a_transaction_counts_from_its_commit_on(
    connection: AmqpConnection, channel: Channel, queue: str
) -> None:
    with anyio.fail_after(TIMEOUT):
        async with connection.publisher() as publisher:
            await publisher.publish([message(queue, b"%d" % each) for each in range(4)])
        async with connection.channel() as other, other.consume(queue, prefetch=4) as consumer:
            first, second, *_ = await receive(consumer, 4)
            await other.tx_select()
            consumer.ack([first.tag])
            await other.tx_commit()
            consumer.ack([second.tag])
        while (await channel.inspect_queue(queue)).message_count != 3:
            await checkpoint()


async def test_a_message_that_expires_goes_where_its_queue_says(
    connection: AmqpConnection, channel: Channel, queue: str
) -> None:
    waiting = f"{queue}.waiting"
    await channel.declare_queue(waiting, {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": queue})
    with anyio.fail_after(TIMEOUT):
        async with connection.publisher() as publisher, channel.consume(queue, prefetch=2) as consumer:
            first = structs.replace(message(waiting, b"later"), expiration=200)
            assert list(await publisher.publish([first, message(queue, b"now")])) == [None, None]
            received = await receive(consumer, 2)
            consumer.ack(each.tag for each in received)
    assert [each.body for each in received] == [b"now", b"later"]
    await channel.delete_queue(waiting)


async def test_a_wrong_password_is_refused_with_a_type_of_its_own(amqp_url: str) -> None:
    address = AmqpAddress.parse(amqp_url)
    with anyio.fail_after(TIMEOUT), pytest.raises(LoginRefused) as caught:
        async with connect(replace(address, password="not it")):
            pytest.fail("the login was refused")
    assert caught.value.reply_code == 403
    assert "not it" not in str(caught.value)


async def test_an_unknown_virtual_host_is_refused_with_its_name(amqp_url: str) -> None:
    address = AmqpAddress.parse(amqp_url)
    with anyio.fail_after(TIMEOUT), pytest.raises(LoginRefused, match="nowhere"):
        async with connect(replace(address, vhost="nowhere")):
            pytest.fail("the login was refused")


async def test_a_port_where_nobody_listens_is_a_lost_link() -> None:
    with anyio.fail_after(TIMEOUT), pytest.raises(ConnectionLost, match=r"amqp://127\.0\.0\.1:1 lost"):
        async with connect("amqp://127.0.0.1:1"):
            pytest.fail("nobody listens there")


async def test_a_plain_server_that_is_spoken_to_in_tls_is_a_lost_link(amqp_url: str) -> None:
    address = AmqpAddress.parse(amqp_url)
    with anyio.fail_after(TIMEOUT), pytest.raises(ConnectionLost):
        async with connect(replace(address, secure=True), AmqpOptions(connect_timeout=5)):
            pytest.fail("there is no TLS")


async def test_a_foreign_message_with_every_property_arrives(connection: AmqpConnection, queue: str) -> None:
    """What other clients publish need not look like ours."""
    body, properties = (
        b"foreign",
        commands.Basic.Properties(
            content_type="text/plain",
            content_encoding="gzip",
            headers={"list": [1, "two"], "none": None},
            delivery_mode=1,
            priority=4,
            correlation_id="c",
            reply_to="r",
            expiration="60000",
            message_id="id",
            message_type="t",
            app_id="a",
        ),
    )
    with anyio.fail_after(TIMEOUT):
        async with connection.channel() as channel:
            state = channel._state
            state._output.add(foreign(state.number, queue, body, properties))
            async with channel.consume(queue, prefetch=1) as consumer:
                (received,) = await receive(consumer, 1)
                consumer.ack([received.tag])
    assert (received.body, received.message_id) == (b"foreign", "id")
    assert received.headers == {"list": [1, "two"], "none": None}


def foreign(channel: int, queue: str, body: bytes, properties: commands.Basic.Properties) -> bytes:
    return content(channel, commands.Basic.Publish(exchange="", routing_key=queue), body, properties)


async def test_cancelling_at_random_moments_leaks_neither_channels_nor_consumers(
    connection: AmqpConnection, channel: Channel, queue: str
) -> None:
    async def scenario() -> None:
        async with connection.channel() as own, own.consume(queue, prefetch=1) as consumer:
            await consumer.receive()

    with anyio.fail_after(TIMEOUT):
        for rounds in range(60):
            await cancelled_after(scenario, rounds)
        while connection.channels > 1 or (await channel.inspect_queue(queue)).consumer_count:
            await checkpoint()
    assert connection.usable


async def test_cancelling_publishes_at_random_moments_tears_nothing(
    connection: AmqpConnection, channel: Channel, queue: str
) -> None:
    with anyio.fail_after(TIMEOUT):
        async with connection.publisher() as publisher:

            async def scenario() -> None:
                while True:
                    await publisher.publish([message(queue, b"x" * 200_000)])

            for rounds in range(40):
                await cancelled_after(scenario, rounds)
            assert list(await publisher.publish([message(queue, b"last")])) == [None]
            while publisher.unconfirmed:  # those of the cancelled callers
                await checkpoint()
        published = (await channel.inspect_queue(queue)).message_count or 0
        async with channel.consume(queue, prefetch=published) as consumer:
            sizes = {len(each.body) for each in await receive(consumer, published)}
    assert sizes == {200_000, 4}
