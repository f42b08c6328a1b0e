"""The AMQP broker against a RabbitMQ that is killed, frozen and starved, and behind a network that breaks."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit
from uuid import uuid4

import anyio
import pytest
from anyio import to_thread
from anyio.lowlevel import checkpoint

from hub.amqp import AmqpOptions, connect
from hub.brokers import BrokerOptions, QueueType
from hub.brokers.rabbitmq.broker import AmqpBroker
from hub.errors import ConfigurationError, ConnectionLost
from hub.ports.broker import Publication, QueueDepth
from hub.testing.proxy import FaultProxy
from hub.types import ModelName
from tests.support.rabbitmq import RabbitMQ

pytestmark = [pytest.mark.usefixtures("no_leaked_tasks"), pytest.mark.timeout(300)]

TIMEOUT = 120.0
OPTIONS = BrokerOptions(heartbeat=1)


def new_queue() -> ModelName:
    return ModelName(f"t{uuid4().hex}")


def publication(queue: str, number: int = 0) -> Publication:
    return Publication(queue=queue, body=b"%d" % number, message_id=f"m{number}", timestamp=1.0)


@asynccontextmanager
async def proxied(url: str) -> AsyncGenerator[tuple[FaultProxy, str]]:
    """A proxy in front of the server at `url`, and the URL that leads through it."""
    port = urlsplit(url).port
    assert port is not None
    async with FaultProxy("127.0.0.1", port) as proxy:
        yield proxy, url.replace(f":{port}", f":{proxy.port}")


async def until_connected(broker: AmqpBroker, *, connected: bool = True) -> None:
    while broker.statistics().connected is not connected:
        await anyio.sleep(0.01)  # noqa: ASYNC110 - statistics announce nothing


async def until_ready(broker: AmqpBroker, queue: ModelName, ready: int) -> None:
    """A quorum queue counts a little behind what it has confirmed."""
    while (await broker.depths([queue]))[queue] != QueueDepth(ready=ready, consumers=0):
        await checkpoint()


async def kill(server: RabbitMQ) -> None:
    """kill -9, once the node has written down which queues it has."""
    await to_thread.run_sync(server.flush)
    server.kill()


async def test_a_confirmed_message_survives_kill_9_and_publishing_goes_on_by_itself(
    private_rabbitmq: RabbitMQ,
) -> None:
    queue = new_queue()
    confirmed: set[bytes] = set()
    lost = 0
    with anyio.fail_after(TIMEOUT):
        async with AmqpBroker(private_rabbitmq.url, OPTIONS) as broker:
            await broker.declare(queue)
            restarted = anyio.Event()

            async def publish() -> None:
                nonlocal lost
                number = 0
                after_restart = 0
                while after_restart < 5:
                    number += 1
                    batch = [publication(queue, number * 100 + each) for each in range(20)]
                    try:
                        outcomes = await broker.publish(batch)
                    except ConnectionLost:
                        lost += 1
                        continue
                    assert list(outcomes) == [None] * 20
                    confirmed.update(each.body for each in batch)
                    after_restart += restarted.is_set()

            async with anyio.create_task_group() as tg:
                tg.start_soon(publish, name="hub.test publish")
                while len(confirmed) < 200:
                    await checkpoint()
                async with broker.consume(new_queue(), prefetch=1) as consumer:
                    await kill(private_rabbitmq)
                    with anyio.fail_after(5), pytest.raises(ConnectionLost):
                        await consumer.receive()
                await to_thread.run_sync(private_rabbitmq.start)
                restarted.set()
            assert broker.statistics().reconnects >= 1
            found: set[bytes] = set()
            async with broker.consume(queue, prefetch=500) as consumer:
                while not confirmed <= found:
                    arrived = await consumer.receive()
                    found.update(delivery.body for delivery in arrived)
                    consumer.ack(arrived)


async def test_a_publish_that_begins_while_the_broker_is_away_waits_for_it(amqp_url: str) -> None:
    queue = new_queue()
    with anyio.fail_after(TIMEOUT):
        async with proxied(amqp_url) as (proxy, url), AmqpBroker(url, OPTIONS) as broker:
            await broker.declare(queue)
            proxy.refuse()
            proxy.cut()
            await until_connected(broker, connected=False)
            async with anyio.create_task_group() as tg:
                tg.start_soon(broker.publish, [publication(queue)], name="hub.test publish")
                with anyio.move_on_after(0.3):
                    await broker.publish([publication(queue)])
                    pytest.fail("there was no broker")
                assert broker.statistics().publishing == 1
                with pytest.raises(ConnectionLost):
                    await broker.depths([queue])
                proxy.accept()
            await until_connected(broker)
            await until_ready(broker, queue, 1)


async def test_a_frozen_broker_is_detected_by_its_missing_heartbeats_and_used_again_afterwards(
    private_rabbitmq: RabbitMQ,
) -> None:
    queue = new_queue()
    with anyio.fail_after(TIMEOUT):
        async with AmqpBroker(private_rabbitmq.url, OPTIONS) as broker:
            await broker.declare(queue)
            async with broker.consume(queue, prefetch=1) as consumer:
                private_rabbitmq.freeze()
                with anyio.fail_after(10):
                    with pytest.raises(ConnectionLost, match="nothing received"):
                        await consumer.receive()
                    await until_connected(broker, connected=False)
            private_rabbitmq.thaw()
            assert list(await broker.publish([publication(queue)])) == [None]
            await until_connected(broker)
            async with broker.consume(queue, prefetch=1) as consumer:
                consumer.ack(await consumer.receive())


async def test_a_black_hole_fails_a_publish_in_flight_and_the_next_one_gets_through(amqp_url: str) -> None:
    queue = new_queue()
    with anyio.fail_after(TIMEOUT):
        async with proxied(amqp_url) as (proxy, url), AmqpBroker(url, OPTIONS) as broker:
            await broker.declare(queue)
            await broker.publish([publication(queue)])
            proxy.blackhole()
            with anyio.fail_after(10), pytest.raises(ConnectionLost, match="nothing received"):
                await broker.publish([publication(queue)])
            proxy.restore()
            assert list(await broker.publish([publication(queue)])) == [None]


async def test_a_black_hole_before_the_login_ends_in_a_timeout(amqp_url: str) -> None:
    with anyio.fail_after(TIMEOUT):
        async with proxied(amqp_url) as (proxy, url):
            proxy.blackhole()
            with anyio.fail_after(5), pytest.raises(ConnectionLost, match="no login"):
                async with connect(url, AmqpOptions(connect_timeout=0.3)):
                    pytest.fail("there was no server to log in to")


async def test_a_writer_that_is_stopped_by_a_black_hole_delays_no_other_task(amqp_url: str) -> None:
    """The socket's buffers fill up, so that not even a goodbye can be written."""
    queue = new_queue()
    large = Publication(queue=queue, body=b"x" * 4_000_000, message_id="large", timestamp=1.0)
    with anyio.fail_after(TIMEOUT):
        async with proxied(amqp_url) as (proxy, url), AmqpBroker(url, OPTIONS) as broker:
            await broker.declare(queue)
            await broker.publish([publication(queue)])
            proxy.blackhole()
            with anyio.fail_after(15), pytest.raises(ConnectionLost):
                await broker.publish([large] * 5)
            proxy.restore()
            proxy.cut()
            assert list(await broker.publish([publication(queue)])) == [None]


async def test_a_reset_fails_all_calls_and_all_sessions_reconnect(amqp_url: str) -> None:
    queue = new_queue()
    heard: list[ConnectionLost] = []
    with anyio.fail_after(TIMEOUT):
        async with proxied(amqp_url) as (proxy, url), AmqpBroker(url) as broker:
            await broker.declare(queue)
            await broker.publish([publication(queue, 1)])
            for _ in range(3):
                async with broker.consume(queue, prefetch=1) as consumer:
                    (delivery,) = await consumer.receive()
                    proxy.cut()
                    try:
                        await consumer.receive()
                    except ConnectionLost as lost:
                        heard.append(lost)
                    consumer.ack([delivery])  # too late: it has gone back
                    consumer.reject([delivery], requeue=False)
                await until_connected(broker)
            async with broker.consume(queue, prefetch=1) as consumer:
                (delivery,) = await consumer.receive()
                assert delivery.redelivered
                assert delivery.deliveries >= 3
                consumer.ack([delivery])
            assert broker.statistics().reconnects >= 3
    assert len(heard) == 3


async def test_publishers_wait_out_a_memory_alarm_while_questions_are_answered(private_rabbitmq: RabbitMQ) -> None:
    queue = new_queue()
    with anyio.fail_after(TIMEOUT):
        async with AmqpBroker(private_rabbitmq.url, OPTIONS) as broker:
            await broker.declare(queue)
            await broker.publish([publication(queue)])
            await to_thread.run_sync(private_rabbitmq.ctl, "set_vm_memory_high_watermark", "0.00001")
            try:
                with anyio.move_on_after(2) as scope:
                    while True:
                        await broker.publish([publication(queue)])
                assert scope.cancelled_caught
                assert (await broker.depths([queue]))[queue] is not None
                async with broker.consume(queue, prefetch=1) as consumer:
                    consumer.ack(await consumer.receive())
                assert broker.statistics().connected, "heartbeats go on during an alarm"
            finally:
                with anyio.CancelScope(shield=True):
                    await to_thread.run_sync(private_rabbitmq.ctl, "set_vm_memory_high_watermark", "0.4")
            assert list(await broker.publish([publication(queue)])) == [None]


async def test_a_queue_of_another_kind_is_an_error_that_names_the_difference(amqp_url: str) -> None:
    queue = new_queue()
    with anyio.fail_after(TIMEOUT):
        async with AmqpBroker(amqp_url) as broker:
            await broker.declare(queue)
        async with AmqpBroker(amqp_url, BrokerOptions(delivery_limit=7)) as broker:
            with pytest.raises(ConfigurationError, match="x-delivery-limit"):
                await broker.declare(queue)
            with pytest.raises(ConfigurationError, match="x-delivery-limit"):
                async with broker.consume(queue, prefetch=1):
                    pytest.fail("the queue is another one")
        async with AmqpBroker(amqp_url, BrokerOptions(queue_type=QueueType.CLASSIC)) as broker:
            with pytest.raises(ConfigurationError, match="x-queue-type"):
                await broker.declare(queue)
            assert broker.statistics().connected


async def test_a_broker_with_a_bad_certificate_setting_is_refused_on_entry() -> None:
    with pytest.raises(ConfigurationError, match="certificates"):
        async with AmqpBroker("amqps://127.0.0.1?cacertfile=/no/such/file"):
            pytest.fail("the file does not exist")


async def test_a_broker_that_cannot_be_reached_is_entered_and_left_all_the_same() -> None:
    with anyio.fail_after(10):
        async with AmqpBroker("amqp://127.0.0.1:1") as broker:
            with pytest.raises(ConnectionLost, match=r"127\.0\.0\.1:1"):
                await broker.depths([new_queue()])
            with pytest.raises(ConnectionLost, match=r"127\.0\.0\.1:1"):
                async with broker.consume(new_queue(), prefetch=1):
                    pytest.fail("no server listens there")
            assert not broker.statistics().connected
