"""repid over AMQP 1.0. It has no results: the actor stores them in Redis, and tells the client by a channel of Redis."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import aio_pika
import uvloop
from redis.asyncio import Redis
from repid import AmqpServer, Repid, Router
from repid.connections.amqp._uamqp import _encode
from repid.connections.amqp._uamqp.amqptypes import AMQPTypes
from repid.connections.amqp._uamqp.message import Header

from benchmarks.peers.driver import Call, drive
from benchmarks.peers.echo import AMQP, CONCURRENCY, REDIS, RUN, SLEEP, answer

QUEUE = f"repid{RUN}"
CHANNEL = f"results{RUN}"
STORE = bool(os.environ.get("BENCH_STORE"))
NUMBER = 12
"""Characters of a body that tell it from all others."""

PERSISTENT = {"header": Header(durable=True)}

redis = Redis.from_url(REDIS, max_connections=2 * CONCURRENCY)


def address(channel: str, _key: str | None = None) -> str:
    """Addresses of RabbitMQ 3, whose plugin knows no `/queues/`."""
    return f"/amq/queue/{quote(channel, safe='')}"


def encode_boolean(output: bytearray, value: bool, with_constructor: bool = True, **_: Any) -> None:  # noqa: FBT001, FBT002 - as repid calls it
    """Booleans of one octet: the plugin of RabbitMQ 3 takes no others, and refuses repid's own form of them."""
    output.extend((b"\x41" if value else b"\x42") if with_constructor else (b"\x01" if value else b"\x00"))


_encode._ENCODE_MAP[AMQPTypes.boolean.value] = encode_boolean  # noqa: SLF001 - repid has no option for it

app = Repid()
app.servers.register_server(
    "rabbitmq", AmqpServer(AMQP, publish_naming_strategy=address, subscribe_naming_strategy=address), is_default=True
)
router = Router()


@router.actor(channel=QUEUE)
async def echo(text: str) -> None:
    if SLEEP:
        await asyncio.sleep(SLEEP)
    reply = answer(text)
    async with redis.pipeline(transaction=False) as pipe:
        if STORE:
            pipe.set(f"{CHANNEL}:{text[:NUMBER]}", reply, ex=3600)
        pipe.publish(CHANNEL, f"{text[:NUMBER]}{reply}")
        await pipe.execute()


async def work() -> None:
    connection = await aio_pika.connect(AMQP)  # repid leaves it to others to declare queues
    async with connection, await connection.channel() as channel:
        await channel.declare_queue(QUEUE, durable=True, arguments={"x-queue-type": "quorum"})
    app.include_router(router)
    async with app.servers.default.connection():
        print("working", flush=True)
        await app.run_worker(tasks_limit=CONCURRENCY)


@asynccontextmanager
async def client() -> AsyncGenerator[Call]:
    waiting: dict[str, asyncio.Future[str]] = {}

    async def listen() -> None:
        async for message in pubsub.listen():
            if message["type"] == "message":
                text = message["data"].decode()
                future = waiting.get(text[:NUMBER])
                if future is not None and not future.done():
                    future.set_result(text[NUMBER:])

    async with redis.pubsub() as pubsub, app.servers.default.connection():
        await pubsub.subscribe(CHANNEL)
        listener = asyncio.create_task(listen())

        async def call(text: str, _poll: float) -> str:
            future = waiting[text[:NUMBER]] = asyncio.get_running_loop().create_future()
            await app.send_message_json(
                channel=QUEUE, payload={"text": text}, headers={"topic": "echo"}, server_specific_parameters=PERSISTENT
            )
            try:
                return await asyncio.wait_for(future, 60)
            finally:
                del waiting[text[:NUMBER]]

        yield call
        listener.cancel()


if __name__ == "__main__":
    if sys.argv[1] == "work":
        uvloop.run(work())
    else:
        drive(client)
