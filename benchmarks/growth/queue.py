"""The cost of a task while others are queued: tasks are submitted as fast as an instance finishes them, ten at a time.

So the number of queued tasks stays what it was while the CPU of the four processes is measured. Ten run at once at each
level, because batches, which make a task cheaper, must not grow with the queue.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import IO, ClassVar, Final

import anyio
from redis import Redis as RedisClient
from typing_extensions import override

import hub
from benchmarks.growth.part import Found
from benchmarks.memory import until
from benchmarks.peers.processes import cpu_seconds
from benchmarks.tasks import PAYLOAD
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
from tests.support.rabbitmq import RabbitMQ, rabbitmq
from tests.support.redis import Redis, redis

GROUP: Final = 10
"""Tasks that run, and are submitted, at once."""

FILL: Final = 300
"""Tasks that are submitted at once while the queue is filled."""

WARM_UP: Final = 1_000
FINISHED: Final = 20_000
"""Finished tasks whose bytes in Redis are counted."""

NAME: Final = "GrowthEcho"
_CONTRACT: Final = Contract.from_descriptors(ModelARequest.DESCRIPTOR, ModelAResponse.DESCRIPTOR)
_BODY: Final = ModelARequest(messages=PAYLOAD).SerializeToString()


class GrowthEcho(hub.Model[ModelARequest, ModelAResponse]):
    """Prints a line for each ten tasks."""

    name: ClassVar[str] = NAME
    concurrency: ClassVar[int] = GROUP
    _runs = 0

    @override
    async def process_request(self, request: ModelARequest) -> ModelAResponse:
        self._runs += 1
        if self._runs % GROUP == 0:
            print("ran", flush=True)
        return ModelAResponse(reply=request.messages)


def add_roles(parser: argparse.ArgumentParser) -> None:
    """Arguments of the processes that `measure` starts."""
    parser.add_argument("--role", choices=("work", "send"), help=argparse.SUPPRESS)
    parser.add_argument("--urls", nargs=2, help=argparse.SUPPRESS)


def play(arguments: argparse.Namespace) -> int:
    """Runs one of these processes, as `hub model` and `hub gateway` run."""
    role = {"work": _work, "send": _send}[arguments.role]
    return run_process(partial(role, *arguments.urls), backend=arguments.backends[0])


async def _work(broker_url: str, store_url: str) -> None:
    model = GrowthEcho()
    async with (
        open_broker(broker_url) as broker,
        open_store(store_url) as store,
        OwnLoop(model.name) as loop,
        Worker(model, contract=_CONTRACT, instance=new_instance_id(), broker=broker, store=store, loop=loop),
    ):
        await anyio.sleep_forever()


async def _send(broker_url: str, store_url: str) -> None:
    """Submits as many tasks as a line of standard input says, as many at once as it says; answers with a line."""
    async with (
        open_broker(broker_url) as broker,
        open_store(store_url) as store,
        TaskService(broker, store, timeout=60) as tasks,
    ):
        await broker.declare(ModelName(NAME))

        async def client(count: int) -> None:
            for _ in range(count):
                await tasks.submit(ModelName(NAME), _CONTRACT.fingerprint, _BODY, SubmitOptions())

        while line := await anyio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True):
            count, at_once = map(int, line.split())
            async with anyio.create_task_group() as tg:
                for number in range(at_once):
                    tg.start_soon(client, len(range(number, count, at_once)))
            print("sent", flush=True)


def measure(backend: str, arguments: argparse.Namespace) -> Found:
    found = Found()
    with rabbitmq() as broker, redis() as store, _process("send", backend, broker, store) as client:
        _submit(client, WARM_UP, GROUP)
        for level in arguments.queued:
            _empty(broker, store)
            _level(found, level, tasks=arguments.tasks, backend=backend, broker=broker, store=store, client=client)
        _empty(broker, store)
        found.figures["finished_bytes"] = _finished_bytes(backend, broker, store, client)
        print(f"  Redis per finished task: {found.figures['finished_bytes']:,.0f} bytes", flush=True)
    return found


def _level(
    found: Found, level: int, *, tasks: int, backend: str, broker: RabbitMQ, store: Redis, client: subprocess.Popen[str]
) -> None:
    empty = _used(store)
    _submit(client, level + GROUP, min(level, FILL))
    if level >= 1000:
        found.add("redis bytes", level, (_used(store) - empty) / level)
    pids = {"broker": broker._server.pid, "store": store._server.pid, "client": client.pid}  # noqa: SLF001 - for their CPU
    with _process("work", backend, broker, store) as instance:
        pids["instance"] = instance.pid
        _exchange(instance, client, WARM_UP // GROUP)
        before = {role: cpu_seconds(pid) for role, pid in pids.items()}
        _exchange(instance, client, tasks // GROUP)
        spent = {role: (cpu_seconds(pid) - before[role]) / tasks * 1e6 for role, pid in pids.items()}
        instance.kill()
    for role, used in spent.items():
        found.add(f"{role} us", level, used)
    found.add("task us", level, sum(spent.values()))


def _exchange(instance: subprocess.Popen[str], client: subprocess.Popen[str], groups: int) -> None:
    """Submits ten tasks for each ten that ran."""
    for _ in range(groups):
        until(_pipe(instance.stdout), "ran\n")
        _submit(client, GROUP, GROUP)


def _submit(client: subprocess.Popen[str], count: int, at_once: int) -> None:
    commands, replies = _pipe(client.stdin), _pipe(client.stdout)
    commands.write(f"{count} {at_once}\n")
    commands.flush()
    until(replies, "sent\n")


def _finished_bytes(backend: str, broker: RabbitMQ, store: Redis, client: subprocess.Popen[str]) -> float:
    empty = _used(store)
    _submit(client, FINISHED, FILL)
    with _process("work", backend, broker, store) as instance:
        for _ in range(FINISHED // GROUP):
            until(_pipe(instance.stdout), "ran\n")
        with RedisClient.from_url(store.url) as redis_client:
            finished = -1
            while finished != (finished := int(redis_client.info("commandstats")["cmdstat_evalsha"]["calls"])):
                _sleep()
        instance.kill()
    return (_used(store) - empty) / FINISHED


def _sleep() -> None:
    anyio.run(anyio.sleep, 1.0)


def _used(store: Redis) -> int:
    with RedisClient.from_url(store.url) as client:
        return int(client.info("memory")["used_memory"])


def _empty(broker: RabbitMQ, store: Redis) -> None:
    broker.ctl("purge_queue", NAME)
    with RedisClient.from_url(store.url) as client:
        client.flushall()


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe


@contextmanager
def _process(role: str, backend: str, broker: RabbitMQ, store: Redis) -> Iterator[subprocess.Popen[str]]:
    """In a session of its own, whose CPU is measured."""
    command = [sys.executable, "-m", "benchmarks.growth", "--role", role, "--backends", backend]
    with subprocess.Popen(
        [*command, "--urls", broker.url, store.url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()
