"""FastStream on RabbitMQ: a request and its reply over a direct-reply queue. Replies are not stored."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from faststream import FastStream
from faststream.rabbit import Channel, QueueType, RabbitBroker, RabbitQueue

from benchmarks.peers.driver import Call, drive
from benchmarks.peers.echo import AMQP, CONCURRENCY, RUN, SLEEP, answer

queue = RabbitQueue(f"faststream{RUN}", durable=True, queue_type=QueueType.QUORUM)
broker = RabbitBroker(AMQP, default_channel=Channel(prefetch_count=CONCURRENCY), log_level=30)
app = FastStream(broker)


@broker.subscriber(queue)
async def echo(text: str) -> str:
    if SLEEP:
        await asyncio.sleep(SLEEP)
    return answer(text)


@asynccontextmanager
async def client() -> AsyncGenerator[Call]:
    sender = RabbitBroker(AMQP, log_level=30)
    async with sender:
        await sender.start()
        await sender.declare_queue(queue)  # so that a request waits for the worker

        async def call(text: str, _poll: float) -> str:
            reply = await sender.request(text, queue=queue, timeout=60, persist=True)
            return reply.body.decode()

        yield call


if __name__ == "__main__":
    drive(client)
