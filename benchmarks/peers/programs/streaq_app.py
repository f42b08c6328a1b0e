"""streaQ on Redis, on either backend."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
from streaq import Worker

from benchmarks.peers.driver import Call, drive
from benchmarks.peers.echo import CONCURRENCY, REDIS, RUN, SLEEP, answer

BACKEND = sys.argv[1] if __name__ == "__main__" else os.environ["BENCH_BACKEND"]

OPTIONS = {"use_uvloop": True} if BACKEND == "asyncio" else {}

worker = Worker(
    redis_url=REDIS,
    redis_kwargs={"max_connections": 2048},  # each result that is waited for needs one
    concurrency=CONCURRENCY,
    queue_name=f"streaq{RUN}",
    anyio_backend=BACKEND,
    anyio_kwargs=OPTIONS,
)


@worker.task(name="echo")
async def echo(text: str) -> str:
    if SLEEP:
        await anyio.sleep(SLEEP)
    return answer(text)


@asynccontextmanager
async def client() -> AsyncGenerator[Call]:
    async with worker:

        async def call(text: str, _poll: float) -> str:
            task = await echo.enqueue(text)
            return (await task.result(timeout=60)).result

        yield call


if __name__ == "__main__":
    drive(client, BACKEND)
