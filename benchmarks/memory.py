"""Memory of a client and of an instance over a million tasks: `make bench ARGS="memory --tasks 1000000"`.

The client is the gateway without HTTP (`hub.gateway.tasks.service`), the instance an echo of 100 bytes; both are processes of
their own, over a private RabbitMQ and Redis, with 200 tasks in flight. Their resident memory is read every `--every` tasks. A
result is kept for a second, so that Redis does not grow. The figure is the memory of the last tenth of the run over that after
the warm-up, which is the first tenth; a leak of 100 bytes a task would be 90 MB.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from statistics import mean
from typing import IO

import anyio
from anyio.to_thread import run_sync

from benchmarks.records import Curve, record
from benchmarks.start import megabytes
from benchmarks.tasks import CONCURRENT, PAYLOAD
from examples.model_a.v1.model_a_pb2 import ModelARequest, ModelAResponse
from hub.brokers import open_broker
from hub.concurrency.process import run_process
from hub.contract import Contract
from hub.gateway.tasks.options import SubmitOptions
from hub.gateway.tasks.service import TaskService
from hub.stores import open_store
from hub.types import ModelName
from tests.support.rabbitmq import rabbitmq
from tests.support.redis import redis

RESULT_TTL = 1.0
"""Seconds that a result is kept."""


async def send(broker_url: str, store_url: str) -> None:
    """Runs as many tasks as each line of standard input says, and answers with a line."""
    contract = Contract.from_descriptors(ModelARequest.DESCRIPTOR, ModelAResponse.DESCRIPTOR)
    body = ModelARequest(messages=PAYLOAD).SerializeToString()
    options = SubmitOptions(result_ttl=RESULT_TTL)
    async with (
        open_broker(broker_url) as broker,
        open_store(store_url) as store,
        TaskService(broker, store, timeout=60) as tasks,
    ):

        async def client(count: int) -> None:
            for _ in range(count):
                task = await tasks.submit(ModelName("BenchEcho"), contract.fingerprint, body, options, waiting=True)
                reply = await tasks.wait(task, 60)
                assert reply.outcome is not None, reply.state
                assert reply.outcome.body is not None, reply.outcome

        while line := await run_sync(sys.stdin.readline, abandon_on_cancel=True):
            async with anyio.create_task_group() as tg:
                for _ in range(CONCURRENT):
                    tg.start_soon(client, int(line) // CONCURRENT)
            print("done", flush=True)


def measure(broker: str, store: str, backend: str, tasks: int, every: int) -> dict[str, Curve]:
    """The memory of both processes after each `every` tasks."""
    python = [sys.executable, "-m"]
    urls = [broker, store]
    curves: dict[str, Curve] = {"gateway MB": [], "instance MB": []}
    with (
        subprocess.Popen(
            [*python, "benchmarks.tasks", *urls, "--backend", backend, "--work"], stdout=subprocess.PIPE, text=True
        ) as instance,
        subprocess.Popen(
            [*python, "benchmarks.memory", "--send", *urls, "--backends", backend],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as client,
    ):
        try:
            assert instance.stdout is not None
            assert client.stdin is not None
            assert client.stdout is not None
            until(instance.stdout, "working\n")
            for done in range(every, tasks + 1, every):
                client.stdin.write(f"{every}\n")
                client.stdin.flush()
                until(client.stdout, "done\n")
                for name, process in (("gateway MB", client), ("instance MB", instance)):
                    curves[name].append((done, megabytes(process.pid)))
                print(json.dumps({name: curve[-1] for name, curve in curves.items()}), flush=True)
        finally:
            instance.kill()
            client.kill()
    return curves


def until(output: IO[str], expected: str) -> None:
    """Reads lines of a process, whose log is among them, until one is as expected."""
    while (line := output.readline()) != expected:
        if not line:
            raise SystemExit(f"the process that was to say {expected.strip()!r} has ended")


def growth(curve: Curve) -> float:
    """The memory of the last tenth over that at the end of the first tenth."""
    tenth = max(1, len(curve) // 10)
    return mean(y for _, y in curve[-tenth:]) / curve[tenth - 1][1]


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks memory", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", type=int, default=1_000_000)
    parser.add_argument("--every", type=int, default=50_000)
    parser.add_argument("--backends", nargs="+", choices=("asyncio", "trio"), default=("asyncio", "trio"))
    parser.add_argument("--send", nargs=2, metavar="URL", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.send:
        sys.exit(run_process(lambda: send(*arguments.send), backend=arguments.backends[0]))  # as `hub gateway` runs
    for backend in arguments.backends:
        with rabbitmq() as broker, redis() as store:
            curves = measure(broker.url, store.url, backend, arguments.tasks, arguments.every)
        grown = {name: growth(curve) for name, curve in curves.items()}
        record("memory", {"growth_x": max(grown.values()), "tasks": arguments.tasks}, backend=backend, curves=curves)
        print(f"{backend}, {arguments.tasks:,} tasks: {', '.join(f'{name} {x:.3f}x' for name, x in grown.items())}")


if __name__ == "__main__":
    main()
