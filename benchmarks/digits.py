"""Pictures a second that the example Digits reads for 64 callers: in batches, against one by one; over RabbitMQ and Redis.

    python -m benchmarks.digits amqp://guest:guest@127.0.0.1:5672/ redis://127.0.0.1:6379/0 [--backend trio]

Both have the same classifier and the same hub around it; `OneByOne` calls it from `process_request`. The instance is a
process of its own; the callers use `hub.gateway.tasks.service`, which is the gateway without HTTP. The last figures are
those of the classifier alone, which bound the ratio.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from functools import partial

import anyio
from typing_extensions import override

import hub
from benchmarks.records import record
from examples.digits import Digits
from examples.digits.pictures import split
from examples.digits.v1.digits_pb2 import DigitsRequest, DigitsResponse
from hub.brokers import open_broker
from hub.contract import Contract
from hub.gateway.tasks.options import SubmitOptions
from hub.gateway.tasks.service import TaskService
from hub.model.execution.lifespan import lifespan
from hub.model.worker.worker import Worker
from hub.stores import open_store
from hub.types import ModelName, new_instance_id

CALLERS = 64


class OneByOne(hub.Model[DigitsRequest, DigitsResponse]):
    """Digits without batches."""

    concurrency = 2

    def __init__(self) -> None:
        self._digits = Digits()

    @override
    def setup(self) -> None:
        self._digits.setup()

    @override
    def process_request(self, request: DigitsRequest) -> DigitsResponse:
        [response] = self._digits.process_batch([request])
        if isinstance(response, Exception):
            raise response
        return response


MODELS: dict[str, type[Digits | OneByOne]] = {"Digits": Digits, "OneByOne": OneByOne}
CONTRACT = Contract.from_descriptors(DigitsRequest.DESCRIPTOR, DigitsResponse.DESCRIPTOR)


async def work(broker_url: str, store_url: str, model: Digits | OneByOne) -> None:
    async with (
        open_broker(broker_url) as broker,
        open_store(store_url) as store,
        lifespan(model),
        Worker(model, contract=CONTRACT, instance=new_instance_id(), broker=broker, store=store) as worker,
    ):
        print("working", flush=True)
        await anyio.to_thread.run_sync(sys.stdin.readline)
        batches = worker.statistics().batches
        if batches is not None:
            print(f"{batches.size.sum / sum(batches.size.counts):.1f}", flush=True)


async def measure(broker_url: str, store_url: str, model: str, seconds: float) -> float:
    """Pictures a second."""
    bodies = [DigitsRequest(pixels=pixels.tolist()).SerializeToString() for pixels in split()[1].pixels[:CALLERS]]
    done = 0
    async with (
        open_broker(broker_url) as broker,
        open_store(store_url) as store,
        TaskService(broker, store, timeout=60) as tasks,
    ):

        async def call(body: bytes) -> None:
            task = await tasks.submit(ModelName(model), CONTRACT.fingerprint, body, SubmitOptions(), waiting=True)
            record = await tasks.wait(task, 60)
            assert record.outcome is not None, record.state
            assert record.outcome.body is not None, record.outcome

        async def caller(body: bytes) -> None:
            nonlocal done
            while time.perf_counter() < end:
                await call(body)
                done += 1

        await call(bodies[0])
        began = time.perf_counter()
        end = began + seconds
        async with anyio.create_task_group() as tg:
            for body in bodies:
                tg.start_soon(caller, body)
        return done / (time.perf_counter() - began)


def alone(size: int) -> float:
    """Milliseconds of one call of the classifier."""
    model = Digits()
    model.setup()
    requests = [DigitsRequest(pixels=pixels.tolist()) for pixels in split()[1].pixels[:size]]
    times: list[float] = []
    for _ in range(50):
        began = time.perf_counter()
        model.process_batch(requests)
        times.append((time.perf_counter() - began) * 1000)
    return sorted(times)[len(times) // 2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("broker")
    parser.add_argument("store")
    parser.add_argument("--backend", choices=["asyncio", "trio"], default="asyncio")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--work", choices=MODELS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    options = {"use_uvloop": True} if arguments.backend == "asyncio" else {}
    run = partial(anyio.run, backend=arguments.backend, backend_options=options)
    if arguments.work:
        run(work, arguments.broker, arguments.store, MODELS[arguments.work]())
        return
    rates: dict[str, float] = {}
    for name in MODELS:
        command = [sys.executable, "-m", "benchmarks.digits", arguments.broker, arguments.store, "--work", name]
        with subprocess.Popen(
            [*command, "--backend", arguments.backend], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as worker:
            try:
                assert worker.stdout is not None
                while (line := worker.stdout.readline()).strip() != "working":
                    assert line, "the worker has ended"
                rates[name] = run(measure, arguments.broker, arguments.store, name, arguments.seconds)
                size, _ = worker.communicate("stop\n")
            finally:
                worker.kill()
        note = f", on average {size.strip()} in a batch" if size.strip() else ""
        print(
            f"{name:9} on {arguments.backend:8} {rates[name]:8.0f} pictures/s for {CALLERS} callers{note}", flush=True
        )
    ratio = rates["Digits"] / rates["OneByOne"]
    print(f"in batches against one by one: {ratio:.1f} times the rate (goal 5)")
    record("digits", {"batched_x": ratio}, backend=arguments.backend)
    print(f"the classifier alone: {alone(1):.2f} ms for a picture, {alone(CALLERS):.2f} ms for {CALLERS}")


if __name__ == "__main__":
    main()
