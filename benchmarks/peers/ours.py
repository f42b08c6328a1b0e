"""What is measured of hub: a client and a worker without HTTP, models for whole hubs, and Litestar alone on hub's server.

python -m benchmarks.peers.ours work|send --backend trio       with BENCH_AMQP and BENCH_REDIS
python -m benchmarks.peers.ours litestar --backend asyncio     on BENCH_PORT
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import ClassVar

import anyio
import msgspec
from litestar import Litestar, post
from litestar.openapi import OpenAPIConfig
from typing_extensions import override

import hub
from benchmarks.peers.driver import Call, serve as serve_driver
from benchmarks.peers.echo import AMQP, CONCURRENCY, PORT, REDIS, RUN, SLEEP, answer
from benchmarks.peers.ledger import NUMBER
from examples.model_a.v1.model_a_pb2 import ModelARequest, ModelAResponse
from examples.writer.v1.writer_pb2 import WriterRequest, WriterResponse
from hub.brokers import open_broker
from hub.concurrency.process import run_process
from hub.contract import Contract
from hub.gateway.tasks.options import SubmitOptions
from hub.gateway.tasks.service import TaskService
from hub.http.serve.listen import ListenAddress
from hub.http.serve.server import serve
from hub.model.execution.own_loop import OwnLoop
from hub.model.worker.worker import Worker
from hub.stores import open_store
from hub.types import ModelName, new_instance_id

CHUNK: int = 100
"""Bytes of a chunk of `BenchStream`."""


class BenchEcho(hub.Model[ModelARequest, ModelAResponse]):
    name: ClassVar[str] = f"BenchEcho{RUN}"
    concurrency: ClassVar[int] = CONCURRENCY

    @override
    async def process_request(self, request: ModelARequest) -> ModelAResponse:
        if SLEEP:
            await anyio.sleep(SLEEP)
        return ModelAResponse(reply=answer(request.messages))


class BenchStream(hub.Model[WriterRequest, WriterResponse]):
    """Yields `words` chunks, each with its number."""

    name: ClassVar[str] = f"BenchStream{RUN}"
    concurrency: ClassVar[int] = 250

    @override
    async def process_request(self, request: WriterRequest) -> AsyncIterator[WriterResponse]:
        due = anyio.current_time()
        for number in range(1, request.words + 1):
            yield WriterResponse(text=f"{number:0{NUMBER}d}".ljust(CHUNK, "x"))
            if request.words_per_second:
                due += 1 / request.words_per_second
                await anyio.sleep_until(due)


CONTRACT = Contract.from_descriptors(ModelARequest.DESCRIPTOR, ModelAResponse.DESCRIPTOR)


async def work() -> None:
    model = BenchEcho()
    async with (
        open_broker(AMQP) as broker,
        open_store(REDIS) as store,
        OwnLoop(model.name) as loop,
        Worker(model, contract=CONTRACT, instance=new_instance_id(), broker=broker, store=store, loop=loop),
    ):
        print("working", flush=True)
        await anyio.sleep_forever()


@asynccontextmanager
async def client() -> AsyncGenerator[Call]:
    """The gateway without HTTP."""
    model = ModelName(BenchEcho.name)
    async with open_broker(AMQP) as broker, open_store(REDIS) as store, TaskService(broker, store, timeout=60) as tasks:

        async def call(text: str, _poll: float) -> str:
            body = ModelARequest(messages=text).SerializeToString()
            task = await tasks.submit(model, CONTRACT.fingerprint, body, SubmitOptions(), waiting=True)
            record = await tasks.wait(task, 60)
            assert record.outcome is not None, record.state
            assert record.outcome.body is not None, record.outcome
            return ModelAResponse.FromString(record.outcome.body).reply

        yield call


class Request(msgspec.Struct):
    messages: str


class Response(msgspec.Struct):
    reply: str


@post("/echo", status_code=200)
async def echo(data: Request) -> Response:
    return Response(answer(data.messages))


async def litestar() -> None:
    """The limit of everything over HTTP: no queue, no store, no layers of hub."""
    app = Litestar([echo], openapi_config=OpenAPIConfig(title="echo", version="1"))
    await serve(app, ListenAddress(port=PORT))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["work", "send", "litestar"])
    parser.add_argument("--backend", choices=["asyncio", "trio"], default="asyncio")
    arguments = parser.parse_args()
    programs: dict[str, Callable[[], Awaitable[None]]] = {
        "work": work,
        "send": partial(serve_driver, client),
        "litestar": litestar,
    }
    sys.exit(run_process(programs[arguments.what], backend=arguments.backend))  # as `hub model` and `hub gateway` run


if __name__ == "__main__":
    main()
