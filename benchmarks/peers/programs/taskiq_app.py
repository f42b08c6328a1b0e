"""taskiq with taskiq-aio-pika and taskiq-redis: a quorum queue, JSON messages, results in Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from taskiq_aio_pika import AioPikaBroker, Exchange, Queue, QueueType
from taskiq_redis import RedisAsyncResultBackend

from benchmarks.peers.driver import Call, drive
from benchmarks.peers.echo import AMQP, CONCURRENCY, REDIS, RUN, SLEEP, answer

broker = AioPikaBroker(
    AMQP,
    qos=CONCURRENCY,
    exchange=Exchange(name=f"taskiq{RUN}"),
    task_queues=[Queue(name=f"taskiq{RUN}", type=QueueType.QUORUM)],
).with_result_backend(RedisAsyncResultBackend(REDIS, result_ex_time=3600))


@broker.task(task_name="echo")
async def echo(text: str) -> str:
    if SLEEP:
        await asyncio.sleep(SLEEP)
    return answer(text)


@asynccontextmanager
async def client() -> AsyncGenerator[Call]:
    await broker.startup()

    async def call(text: str, poll: float) -> str:
        task = await echo.kiq(text)
        result = await task.wait_result(check_interval=poll, timeout=60)
        return result.return_value

    try:
        yield call
    finally:
        await broker.shutdown()


if __name__ == "__main__":
    drive(client)
