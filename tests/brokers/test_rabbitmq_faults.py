"""The adapters that talk to RabbitMQ, when the server refuses, falls silent, dies, or is used in ways of its own."""

from __future__ import annotations

from collections.abc import Iterator

import anyio
import pytest
from anyio import to_thread
from anyio.lowlevel import checkpoint

from hub.brokers import BrokerOptions, QueueType
from hub.errors import ConfigurationError, ConnectionLost, PublishRefused
from hub.ports.broker import Broker
from hub.types import ModelName
from tests.brokers.conftest import Case
from tests.brokers.helpers import TIMEOUT, RabbitMQAdapter, bodies, bury, dead, fill, message, receive, until_depth
from tests.support.backends import ASYNCIO, TRIO
from tests.support.markers import starts
from tests.support.rabbitmq import RabbitMQ, consumer_timeout_settings, rabbitmq

pytestmark = [pytest.mark.rabbitmq, pytest.mark.usefixtures("no_leaked_tasks"), pytest.mark.timeout(300)]

LONG_TIMEOUT = 120.0
"""Seconds for a test in which a server starts."""

OPTIONS = BrokerOptions(heartbeat=1)

ADAPTERS = {"amqp-asyncio": (ASYNCIO, ""), "amqp-trio": (TRIO, ""), "aiormq-asyncio": (ASYNCIO, "+aiormq")}


@pytest.fixture(scope="module", params=[pytest.param(adapter, id=name) for name, adapter in ADAPTERS.items()])
def case(request: pytest.FixtureRequest) -> Case:
    backend, scheme = request.param
    return Case(backend, lambda inner: RabbitMQAdapter(inner.getfixturevalue("amqp_url"), scheme))


@pytest.fixture
def rabbit(adapter: object) -> RabbitMQAdapter:
    assert isinstance(adapter, RabbitMQAdapter)
    return adapter


@pytest.fixture(scope="session")
@starts("rabbitmq", "kills_servers")
def _impatient_rabbitmq() -> Iterator[RabbitMQ]:
    with rabbitmq(consumer_timeout_settings(1.0, dead_letter_retry=1.0)) as server:
        yield server


@pytest.fixture
def impatient_rabbit(rabbit: RabbitMQAdapter, _impatient_rabbitmq: RabbitMQ) -> RabbitMQAdapter:
    return rabbit.at(_impatient_rabbitmq.url)


@pytest.fixture
def private_rabbit(rabbit: RabbitMQAdapter, private_rabbitmq: RabbitMQ) -> RabbitMQAdapter:
    return rabbit.at(private_rabbitmq.url)


@pytest.mark.kills_servers
async def test_a_consumer_whose_channel_the_broker_closes_has_the_reason_and_the_next_one_works(
    impatient_rabbit: RabbitMQAdapter, queue: ModelName
) -> None:
    with anyio.fail_after(TIMEOUT):
        async with impatient_rabbit.open() as broker:
            await fill(broker, queue, b"slow")
            async with broker.consume(queue, prefetch=1) as consumer:
                received = await receive(consumer, 1)
                with pytest.raises(ConnectionLost, match=r"PRECONDITION_FAILED.*timed out"):
                    await consumer.receive()
                consumer.ack(received)  # too late: it is on the queue again
            async with broker.consume(queue, prefetch=1) as consumer:
                [again] = await receive(consumer, 1)
                assert (again.body, again.redelivered) == (b"slow", True)
                consumer.ack([again])
            await until_depth(broker, queue, ready=0)


@pytest.mark.kills_servers
async def test_an_inspection_that_takes_too_long_ends_with_a_lost_connection_and_drops_nothing(
    impatient_rabbit: RabbitMQAdapter, queue: ModelName
) -> None:
    async def dawdle(broker: Broker) -> None:
        async with broker.dead_letters(queue, limit=9) as letters:
            await until_depth(broker, dead(queue), ready=2)  # the broker has closed the channel
            letters.consumer.ack(letters.deliveries)

    with anyio.fail_after(TIMEOUT):
        async with impatient_rabbit.open() as broker:
            await bury(broker, queue, b"1", b"2")
            with pytest.raises(ConnectionLost):
                await dawdle(broker)
            await until_depth(broker, dead(queue), ready=2)
            async with broker.dead_letters(queue, limit=9) as letters:
                assert bodies(letters.deliveries) == [b"1", b"2"]


@pytest.mark.kills_servers
async def test_what_becomes_due_while_its_queue_is_full_is_tried_again(
    impatient_rabbit: RabbitMQAdapter, queue: ModelName
) -> None:
    waiting = ModelName(f"{queue}.delay.2")
    with anyio.fail_after(TIMEOUT):
        async with impatient_rabbit.open(BrokerOptions(max_length=1)) as broker:
            await broker.declare(queue)
            assert await broker.publish([message(queue, b"delayed", delay=2)]) == [None]
            while await broker.publish([message(queue, b"fill")]) == [None]:
                pass
            await until_depth(broker, waiting, ready=1)
            await until_depth(broker, waiting, ready=0)
            arrived: list[bytes] = []
            async with broker.consume(queue, prefetch=1) as consumer:
                while b"delayed" not in arrived:
                    deliveries = await consumer.receive()
                    arrived += bodies(deliveries)
                    consumer.ack(deliveries)
            assert arrived.count(b"delayed") == 1


@pytest.mark.kills_servers
async def test_what_becomes_due_while_its_queue_is_gone_is_tried_again(
    impatient_rabbit: RabbitMQAdapter, queue: ModelName
) -> None:
    waiting = ModelName(f"{queue}.delay.2")
    with anyio.fail_after(TIMEOUT):
        async with impatient_rabbit.open() as broker:
            await broker.declare(queue)
            assert await broker.publish([message(queue, b"delayed", delay=2)]) == [None]
            await impatient_rabbit.delete(broker, queue)
            await until_depth(broker, waiting, ready=1)
            await until_depth(broker, waiting, ready=0)
            async with broker.consume(queue, prefetch=9) as consumer:
                arrived = await receive(consumer, 1)
                assert bodies(arrived) == [b"delayed"]
                consumer.ack(arrived)


async def test_what_waits_for_its_time_survives_kill_9(
    private_rabbit: RabbitMQAdapter, private_rabbitmq: RabbitMQ, queue: ModelName
) -> None:
    with anyio.fail_after(LONG_TIMEOUT):
        async with private_rabbit.open() as broker:
            await broker.declare(queue)
            sent = [message(queue, b"%d" % number, delay=delay) for number, delay in enumerate((0.5, 1, 2, 4, 8))]
            assert await broker.publish(sent) == [None] * 5
            await bury(broker, queue, b"dead")
            await to_thread.run_sync(private_rabbitmq.flush)
            private_rabbitmq.kill()
            await to_thread.run_sync(private_rabbitmq.start)
            found: set[bytes] = set()
            while len(found) < 5:
                try:
                    async with broker.consume(queue, prefetch=9) as consumer:
                        while len(found) < 5:
                            deliveries = await consumer.receive()
                            found.update(bodies(deliveries))
                            consumer.ack(deliveries)
                except ConnectionLost:
                    continue
            await until_depth_again(broker, queue, ready=0)
            async with broker.dead_letters(queue, limit=9) as letters:
                assert bodies(letters.deliveries) == [b"dead"]
        assert found == {b"%d" % number for number in range(5)}


async def test_a_delayed_publish_into_a_black_hole_is_no_success_and_the_next_one_gets_through(
    rabbit: RabbitMQAdapter, queue: ModelName
) -> None:
    with anyio.fail_after(TIMEOUT):
        async with rabbit.open(OPTIONS) as broker:
            await broker.declare(queue)
            assert await broker.publish([message(queue, delay=0.1)]) == [None]
            rabbit.proxy(broker).blackhole()
            with pytest.raises(ConnectionLost):
                await broker.publish([message(queue, delay=0.1)])
            rabbit.proxy(broker).restore()
            assert await broker.publish([message(queue, delay=0.1)]) == [None]
            assert broker.statistics().publishing == 0


async def test_a_delayed_publish_can_be_cancelled_while_the_broker_is_frozen(
    private_rabbit: RabbitMQAdapter, private_rabbitmq: RabbitMQ, queue: ModelName
) -> None:
    with anyio.fail_after(LONG_TIMEOUT):
        async with private_rabbit.open(BrokerOptions(heartbeat=30)) as broker:
            await broker.declare(queue)
            assert await broker.publish([message(queue, delay=0.1)]) == [None]
            private_rabbitmq.freeze()
            with anyio.move_on_after(0.5) as scope:
                await broker.publish([message(queue, delay=0.1)])
            assert scope.cancelled_caught
            private_rabbitmq.thaw()
            assert await broker.publish([message(queue, delay=0.1)]) == [None]
            assert broker.statistics().publishing == 0


async def test_reading_letters_in_a_black_hole_ends_with_a_lost_connection(
    rabbit: RabbitMQAdapter, queue: ModelName
) -> None:
    async def look(broker: Broker) -> None:
        async with broker.dead_letters(queue, limit=9) as letters:
            assert len(letters.deliveries) == 2
            rabbit.proxy(broker).blackhole()
            letters.consumer.ack(letters.deliveries)

    with anyio.fail_after(TIMEOUT):
        async with rabbit.open(OPTIONS) as broker:
            await bury(broker, queue, b"1", b"2")
            with pytest.raises(ConnectionLost):
                await look(broker)
            rabbit.proxy(broker).restore()
            rabbit.proxy(broker).cut()
            await until_depth_again(broker, dead(queue), ready=2)


async def test_a_delay_queue_of_another_kind_is_a_refusal_that_names_the_repair(
    rabbit: RabbitMQAdapter, queue: ModelName
) -> None:
    with anyio.fail_after(TIMEOUT):
        async with rabbit.open() as broker, rabbit.open(BrokerOptions(queue_type=QueueType.CLASSIC)) as classic:
            await broker.declare(queue)
            assert await broker.publish([message(queue, delay=3600)]) == [None]
            delayed, undelayed = await classic.publish([message(queue, delay=3600), message(queue)])
            assert type(delayed) is PublishRefused
            assert f"delete {queue}.delay.*" in str(delayed)
            assert delayed.queue == queue
            assert undelayed is None
            assert await classic.publish([message(queue, delay=1)]) == [None]


async def test_a_dead_letter_queue_of_another_kind_is_an_error_that_names_the_difference(
    rabbit: RabbitMQAdapter, queue: ModelName
) -> None:
    """Such as one that an earlier version of hub has declared."""
    with anyio.fail_after(TIMEOUT):
        await rabbit.declare(dead(queue), {"x-queue-type": "quorum"})
        async with rabbit.open() as broker:
            with pytest.raises(ConfigurationError, match="x-delivery-limit"):
                await broker.declare(queue)


async def test_letters_of_any_size_are_held_whole(rabbit: RabbitMQAdapter, queue: ModelName) -> None:
    """One that was too large for its model's instances is dead because of that, and must not be rejected once more."""
    large = bytes(20 * 1024 * 1024)
    with anyio.fail_after(TIMEOUT):
        async with rabbit.open() as broker:
            await bury(broker, queue, b"small")
            await rabbit.publish(dead(queue), large)
            for _ in range(2):
                async with broker.dead_letters(queue, limit=9) as letters:
                    assert [len(body) for body in bodies(letters.deliveries)] == [5, len(large)]


async def test_letters_that_another_consumer_took_are_not_waited_for_long(
    rabbit: RabbitMQAdapter, queue: ModelName, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counting letters and taking them is not one step."""
    with anyio.fail_after(TIMEOUT):
        async with rabbit.open() as broker:
            await bury(broker, queue, b"left")
            counts_are(monkeypatch, [3, 1])
            async with broker.dead_letters(queue, limit=9) as letters:
                assert bodies(letters.deliveries) == [b"left"]
                assert letters.total == 3


async def test_an_inspection_ends_when_the_queue_counts_its_letters_again(
    rabbit: RabbitMQAdapter, queue: ModelName, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quorum queue answers the closing of a channel before its replicas agree on what was put back."""
    with anyio.fail_after(TIMEOUT):
        async with rabbit.open() as broker:
            await bury(broker, queue, b"1", b"2")
            counts = counts_are(monkeypatch, [2, 0, 1, 2])
            async with broker.dead_letters(queue, limit=9) as letters:
                assert len(letters.deliveries) == 2
            assert counts == []


def counts_are(monkeypatch: pytest.MonkeyPatch, counts: list[int]) -> list[int]:
    """Lets the queue of dead letters have these numbers of letters, whenever it is asked."""

    async def count(*_: object) -> int:
        await checkpoint()
        return counts.pop(0)

    for module in ("hub.brokers.rabbitmq.dead_letters", "hub.brokers.aiormq.dead_letters"):
        monkeypatch.setattr(f"{module}._count", count)
    monkeypatch.setattr("hub.brokers.dead_letters.IDLE_TIMEOUT", 0.2)
    return counts


async def until_depth_again(broker: Broker, queue: ModelName, *, ready: int) -> None:
    """Over reconnects."""
    while True:
        try:
            await until_depth(broker, queue, ready=ready)
        except ConnectionLost:
            continue
        return
