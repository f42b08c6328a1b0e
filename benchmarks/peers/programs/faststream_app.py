"""FastStream on RabbitMQ: a request and its reply over a direct-reply queue. Replies are not stored."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import cycle

from faststream import FastStream
from faststream.rabbit import Channel, QueueType, RabbitBroker, RabbitQueue

from benchmarks.peers.driver import Call, drive
from benchmarks.peers.echo import AMQP, CONCURRENCY, RUN, SLEEP, answer

queue = RabbitQueue(f"faststream{RUN}", durable=True, queue_type=QueueType.QUORUM)
broker = RabbitBroker(AMQP, logger=None)
app = FastStream(broker)

SENDERS = 100 if SLEEP else 16


@broker.subscriber(queue, channel=Channel(prefetch_count=CONCURRENCY))
async def echo(text: str) -> str:
    if SLEEP:
        await asyncio.sleep(SLEEP)
    return answer(text)


@asynccontextmanager
async def client() -> AsyncGenerator[Call]:
    """A broker has one request in flight at a time, so there are several."""
    async with AsyncExitStack() as stack:
        senders = [await stack.enter_async_context(RabbitBroker(AMQP, logger=None)) for _ in range(SENDERS)]
        for sender in senders:
            await sender.start()
        await senders[0].declare_queue(queue)  # so that a request waits for the worker
        next_sender = cycle(senders)

        async def call(text: str, _poll: float) -> str:
            reply = await next(next_sender).request(text, queue=queue, timeout=60, persist=True)
            return reply.body.decode()

        yield call


if __name__ == "__main__":
    drive(client)
