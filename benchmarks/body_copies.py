"""Memory of a gateway while big bodies pass through it, in copies of the body, and what it keeps afterwards.

    python -m benchmarks.body_copies amqp://guest:guest@127.0.0.1:5672/ redis://127.0.0.1:6379/0 [--backend trio]

The gateway and an instance that answers with the text of the request run in processes of their own, over RabbitMQ and
Redis. Copies are the peak of the gateway's resident memory (`VmHWM`), less what it had before, divided by the size of all
bodies that are under way. Linux only.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import ClassVar, Final

import anyio
from typing_extensions import override

import hub
from benchmarks.bodies import connected, exchange
from examples.model_a.v1.model_a_pb2 import ModelARequest, ModelAResponse
from hub.brokers import open_broker
from hub.concurrency.process import run_process
from hub.contract import Contract
from hub.gateway.memory import return_large_blocks
from hub.model.execution.own_loop import OwnLoop
from hub.model.worker.worker import Worker
from hub.stores import open_store
from hub.types import ModelName, new_instance_id
from tests.gateway.fixtures import open_gateway
from tests.gateway.wire import serving

GOAL: Final = 4
SIZE: Final = 10_000_000
CALLS: Final = 6


class BigEcho(hub.Model[ModelARequest, ModelAResponse]):
    name: ClassVar[str] = "BigEcho"
    concurrency: ClassVar[int] = 4

    @override
    async def process_request(self, request: ModelARequest) -> ModelAResponse:
        return ModelAResponse(reply=request.messages)


CONTRACT: Final = Contract.from_descriptors(ModelARequest.DESCRIPTOR, ModelAResponse.DESCRIPTOR)


async def serve(broker_url: str, store_url: str) -> None:
    return_large_blocks()  # as `hub gateway` does
    async with (
        open_broker(broker_url) as broker,
        open_store(store_url) as store,
        open_gateway(broker=broker, store=store, call_wait=60, publish_timeout=15, body_limit=2**24) as gateway,
    ):
        await gateway.model(ModelName(BigEcho.name), CONTRACT)
        async with serving(gateway) as url:
            print(url, flush=True)
            await anyio.sleep_forever()


async def work(broker_url: str, store_url: str) -> None:
    model = BigEcho()
    async with (
        open_broker(broker_url) as broker,
        open_store(store_url) as store,
        OwnLoop(model.name) as loop,
        Worker(model, contract=CONTRACT, instance=new_instance_id(), broker=broker, store=store, loop=loop),
    ):
        print("working", flush=True)
        await anyio.sleep_forever()


def memory(pid: int, name: str) -> int:
    """Bytes of `VmRSS` or `VmHWM` of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def begin_peak(pid: int) -> None:
    """Sets `VmHWM` to what the process has now."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


async def call(url: str, body: bytes, times: int) -> None:
    head = b"POST /v1/models/BigEcho HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    stream, replies = await connected(url)
    async with stream:
        for _ in range(times):
            status = await exchange(stream, replies, head % len(body) + body)
            assert status == 200, status


async def measure(url: str, pid: int) -> None:
    body = json.dumps({"messages": "abcd " * (SIZE // 5)}).encode()
    await call(url, json.dumps({"messages": "x" * 1_000_000}).encode(), 5)  # starts the threads for big bodies
    before = memory(pid, "VmRSS")
    for at_once in (1, 2):
        begin_peak(pid)
        async with anyio.create_task_group() as tg:
            for _ in range(at_once):
                tg.start_soon(call, url, body, CALLS)
        peak = memory(pid, "VmHWM") - before
        await anyio.sleep(1)
        kept = memory(pid, "VmRSS") - before
        print(
            f"  {at_once} at a time: {peak / 1e6:5.0f} MB at the peak, {peak / SIZE / at_once:4.1f} copies of each"
            f" (goal {GOAL}); {kept / 1e6:4.0f} MB kept",
            flush=True,
        )


@contextmanager
def started(*arguments: str, ready: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Another process of this program, and the line of its output that begins with `ready`."""
    command = [sys.executable, "-m", "benchmarks.body_copies", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            while not (line := process.stdout.readline()).startswith(ready):
                assert line, "the process has ended"
            yield process, line.strip()
        finally:
            process.kill()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("broker")
    parser.add_argument("store")
    parser.add_argument("--backend", choices=["asyncio", "trio"], default="asyncio")
    parser.add_argument("--role", choices=["serve", "work"], help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.role is not None:
        run = partial({"serve": serve, "work": work}[given.role], given.broker, given.store)
        sys.exit(run_process(run, backend=given.backend))
    arguments = (given.broker, given.store, "--backend", given.backend, "--role")
    with ExitStack() as stack:
        gateway, url = stack.enter_context(started(*arguments, "serve", ready="http://"))
        stack.enter_context(started(*arguments, "work", ready="working"))
        print(f"hub on {given.backend}, calls with bodies of {SIZE / 1e6:g} MB")
        anyio.run(measure, url, gateway.pid)


if __name__ == "__main__":
    main()
