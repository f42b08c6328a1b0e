"""Tasks a second, from submit to stored result, and the round trip of one at a time; over RabbitMQ and Redis.

    python -m benchmarks.tasks amqp://guest:guest@127.0.0.1:5672/ redis://127.0.0.1:6379/0 [--backend trio]

Submits through `hub.gateway.tasks.service` (the gateway without HTTP) and runs one instance in a process of its own, as the
peers in the same table do: 100-byte bodies, durable queue, persistent messages, confirms, results in Redis.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import ClassVar

import anyio
from typing_extensions import override

import hub
from examples.model_a.v1.model_a_pb2 import ModelARequest, ModelAResponse
from hub.brokers import open_broker
from hub.concurrency.process import run_process
from hub.contract import Contract
from hub.gateway.tasks.options import SubmitOptions
from hub.gateway.tasks.service import TaskService
from hub.model.execution.own_loop import OwnLoop
from hub.model.worker.worker import Worker
from hub.stores import open_store
from hub.types import ModelName, new_instance_id

CONCURRENT = 200
PAYLOAD = "x" * 100


class BenchEcho(hub.Model[ModelARequest, ModelAResponse]):
    concurrency: ClassVar[int] = CONCURRENT

    @override
    async def process_request(self, request: ModelARequest) -> ModelAResponse:
        return ModelAResponse(reply=request.messages)


async def work(broker_url: str, store_url: str, *, shares_loop: bool) -> None:
    model = BenchEcho()
    own_loop: AbstractAsyncContextManager[OwnLoop | None] = nullcontext() if shares_loop else OwnLoop(model.name)
    contract = Contract.from_descriptors(ModelARequest.DESCRIPTOR, ModelAResponse.DESCRIPTOR)
    async with (
        open_broker(broker_url) as broker,
        open_store(store_url) as store,
        own_loop as loop,
        Worker(model, contract=contract, instance=new_instance_id(), broker=broker, store=store, loop=loop),
    ):
        print("working", flush=True)
        await anyio.sleep_forever()


def cpu_seconds(pid: int) -> float:
    """CPU that a process has used so far, all threads, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def measure(broker_url: str, store_url: str, count: int, label: str, instance: int) -> None:
    contract = Contract.from_descriptors(ModelARequest.DESCRIPTOR, ModelAResponse.DESCRIPTOR)
    body = ModelARequest(messages=PAYLOAD).SerializeToString()
    async with (
        open_broker(broker_url) as broker,
        open_store(store_url) as store,
        TaskService(broker, store, timeout=60) as tasks,
    ):

        async def one() -> None:
            task = await tasks.submit(ModelName("BenchEcho"), contract.fingerprint, body, SubmitOptions(), waiting=True)
            record = await tasks.wait(task, 60)
            assert record.outcome is not None, record.state
            assert record.outcome.body is not None, record.outcome

        for _ in range(50):
            await one()

        async def client(tasks: int) -> None:
            for _ in range(tasks):
                await one()

        spent = {"client": -cpu_seconds(os.getpid()), "instance": -cpu_seconds(instance)}
        began = time.perf_counter()
        async with anyio.create_task_group() as tg:
            for _ in range(CONCURRENT):
                tg.start_soon(client, count // CONCURRENT)
        elapsed = time.perf_counter() - began
        spent["client"] += cpu_seconds(os.getpid())
        spent["instance"] += cpu_seconds(instance)

        times: list[float] = []
        for _ in range(500):
            start = time.perf_counter()
            await one()
            times.append((time.perf_counter() - start) * 1000)
        cuts = statistics.quantiles(times, n=100)
        print(
            f"{label:30s} {count / elapsed:8.0f} tasks/s with {CONCURRENT} at a time;"
            f" CPU per task: client {spent['client'] / count * 1e6:.0f} us, instance {spent['instance'] / count * 1e6:.0f} us;"
            f" one at a time p50 {cuts[49]:.2f} ms, p99 {cuts[98]:.2f} ms"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("broker")
    parser.add_argument("store")
    parser.add_argument("--backend", choices=["asyncio", "trio"], default="asyncio")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--shares-loop", action="store_true", help="run the model in the event loop of the instance")
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    options = {"use_uvloop": True} if arguments.backend == "asyncio" else {}
    if arguments.work:
        run = partial(work, arguments.broker, arguments.store, shares_loop=arguments.shares_loop)
        sys.exit(run_process(run, backend=arguments.backend))  # as `hub model` runs
    shares_loop = ["--shares-loop"] if arguments.shares_loop else []
    command = [sys.executable, "-m", "benchmarks.tasks", arguments.broker, arguments.store]
    with subprocess.Popen(
        [*command, *shares_loop, "--backend", arguments.backend, "--work"], stdout=subprocess.PIPE, text=True
    ) as worker:
        try:
            assert worker.stdout is not None
            while (line := worker.stdout.readline()).strip() != "working":
                assert line, "the worker has ended"
            label = f"hub on {arguments.backend}" + (", shared loop" if shares_loop else "")
            anyio.run(
                measure,
                arguments.broker,
                arguments.store,
                arguments.count,
                label,
                worker.pid,
                backend=arguments.backend,
                backend_options=options,
            )
        finally:
            worker.kill()


if __name__ == "__main__":
    main()
