"""Messages a second through the AMQP adapters: hub's driver on each backend, compared with aiormq.

    .venv/bin/python -m benchmarks.amqp amqp://guest:guest@127.0.0.1:5672/

100-byte bodies, persistent, on a durable queue, each publish confirmed. "batched" publishes 500 in one call, "4 x 125"
in four calls at once, "one by one" waits for each confirm; "consume" acks each message, with a prefetch of 500. The
best of several rounds. One machine runs the broker and the client, so only ratios mean anything.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final
from uuid import uuid4

import anyio

from hub.amqp import connect
from hub.brokers import BrokerOptions, QueueType, open_broker
from hub.ports.broker import Broker, Publication
from hub.types import ModelName, dead_letter_queue

BATCH: Final = 500
BATCHES: Final = 20
SINGLES: Final = 300
ROUNDS: Final = 3
BODY: Final = bytes(100)
CLEANING: Final = 10.0
"""Seconds for deleting the queues."""

CASES: Final[tuple[tuple[str, str, str, dict[str, object]], ...]] = (
    ("hub, asyncio", "amqp", "asyncio", {}),
    ("hub, uvloop", "amqp", "asyncio", {"use_uvloop": True}),
    ("hub, trio", "amqp", "trio", {}),
    ("aiormq, asyncio", "amqp+aiormq", "asyncio", {}),
    ("aiormq, uvloop", "amqp+aiormq", "asyncio", {"use_uvloop": True}),
)


def batch(queue: str, size: int) -> list[Publication]:
    publication = Publication(queue=queue, body=BODY, message_id="", timestamp=time.time())
    return [replace(publication, message_id=str(uuid4())) for _ in range(size)]


async def rate(work: Callable[[], Awaitable[None]], messages: int) -> float:
    started = time.perf_counter()
    await work()
    return messages / (time.perf_counter() - started)


async def measure(broker: Broker, queue: ModelName) -> list[float]:
    batches = [batch(queue, BATCH) for _ in range(BATCHES)]
    quarters = [batch(queue, BATCH // 4) for _ in range(4)]
    singles = batch(queue, SINGLES)

    async def batched() -> None:
        for each in batches:
            assert not any(await broker.publish(each))

    async def four_at_once() -> None:
        for _ in range(BATCHES):
            async with anyio.create_task_group() as tg:
                for each in quarters:
                    tg.start_soon(broker.publish, each)

    async def one_by_one() -> None:
        for each in singles:
            await broker.publish([each])

    best = [0.0] * 4
    for _ in range(ROUNDS):
        published = 2 * BATCH * BATCHES + SINGLES
        rates = [
            await rate(batched, BATCH * BATCHES),
            await rate(four_at_once, BATCH * BATCHES),
            await rate(one_by_one, SINGLES),
        ]
        async with broker.consume(queue, prefetch=BATCH) as consumer:
            received = 0
            started = time.perf_counter()
            while received < published:
                arrived = await consumer.receive()
                consumer.ack(arrived)
                received += len(arrived)
            rates.append(received / (time.perf_counter() - started))
        best = [max(pair) for pair in zip(best, rates, strict=True)]
    return best


async def run(url: str, scheme: str, queue_type: QueueType) -> list[float]:
    queue = ModelName(f"bench{uuid4().hex}")
    try:
        async with open_broker(url.replace("amqp", scheme, 1), BrokerOptions(queue_type=queue_type)) as broker:
            await broker.declare(queue)
            return await measure(broker, queue)
    finally:
        with anyio.move_on_after(CLEANING, shield=True):
            async with connect(url) as connection, connection.channel() as channel:
                await channel.delete_queue(queue)
                await channel.delete_queue(dead_letter_queue(queue))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", nargs="?", default="amqp://guest:guest@127.0.0.1:5672/")
    parser.add_argument("--queue-type", type=QueueType, default=QueueType.QUORUM)
    arguments = parser.parse_args()
    print(f"{'':18}{'batched':>10}{'4 x 125':>10}{'one by one':>12}{'consume':>10}")
    for name, scheme, backend, options in CASES:
        rates = anyio.run(run, arguments.url, scheme, arguments.queue_type, backend=backend, backend_options=options)
        print(f"{name:18}{rates[0]:10,.0f}{rates[1]:10,.0f}{rates[2]:12,.0f}{rates[3]:10,.0f}")


if __name__ == "__main__":
    main()
