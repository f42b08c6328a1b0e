"""A batch of 64 tasks over RabbitMQ and Redis: one is cancelled, one expires, one fails, and 61 do not notice."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import anyio
import pytest
from anyio.to_thread import run_sync

from examples.model_a.v1.model_a_pb2 import ModelARequest, ModelAResponse
from hub.brokers import open_broker
from hub.gateway.tasks.options import SubmitOptions
from hub.gateway.tasks.service import TaskService
from hub.model.execution.own_loop import OwnLoop
from hub.model.worker.worker import Worker
from hub.ports.broker import Broker
from hub.ports.result_store import ResultStore
from hub.stores import open_store
from hub.task import TaskRecord
from hub.types import ModelName, TaskState, new_instance_id
from tests.model.batch_models import SIZE, Batch, Batched, replies
from tests.model.fakes import CONTRACT
from tests.support.rabbitmq import delete_queues

TIMEOUT = 60.0
DEADLINE = 3.0
"""Seconds; enough to submit a task and to start its batch on a busy machine."""

pytestmark = pytest.mark.usefixtures("no_leaked_tasks")


@dataclass(frozen=True, slots=True)
class Case:
    backend: tuple[str, dict[str, object]]
    broker: str
    store: str


CASES = {
    "amqp-redis-asyncio": Case(("asyncio", {"debug": True}), "amqp", "redis"),
    "amqp-redis-trio": Case(("trio", {}), "amqp", "redis"),
    "aiormq-redispy-asyncio": Case(("asyncio", {"debug": True}), "amqp+aiormq", "redis+redispy"),
}


@pytest.fixture(scope="module", params=[pytest.param(case, id=name) for name, case in CASES.items()])
def case(request: pytest.FixtureRequest) -> Case:
    param = request.param
    assert isinstance(param, Case)
    return param


@pytest.fixture(scope="module")
def anyio_backend(case: Case) -> object:
    return case.backend


@dataclass(frozen=True, slots=True)
class System:
    name: ModelName
    broker: Broker
    store: ResultStore
    tasks: TaskService

    async def submit(self, text: str, seconds: float | None = None) -> str:
        body = ModelARequest(messages=text).SerializeToString()
        options = SubmitOptions(timeout=seconds)
        return (await self.tasks.submit(self.name, CONTRACT.fingerprint, body, options, waiting=True)).id

    async def ended(self, task_id: str) -> TaskRecord:
        record = await self.tasks.get(task_id)
        while not record.state.terminal:
            record = await self.tasks.wait(record, TIMEOUT)
        return record

    def worker(self, model: Batched, loop: OwnLoop) -> Worker:
        return Worker(
            model, contract=CONTRACT, instance=new_instance_id(), broker=self.broker, store=self.store, loop=loop
        )


@pytest.fixture
async def system(case: Case, amqp_url: str, redis_url: str) -> AsyncIterator[System]:
    name = ModelName(f"Batched{uuid4().hex[:12]}")
    async with (
        open_broker(amqp_url.replace("amqp", case.broker, 1)) as broker,
        open_store(redis_url.replace("redis", case.store, 1)) as store,
        TaskService(broker, store, timeout=TIMEOUT) as tasks,
    ):
        await broker.declare(name)
        yield System(name, broker, store, tasks)
    await run_sync(delete_queues, amqp_url, name)


def model_of(system: System, release: anyio.Event) -> Batched:
    async def answer(requests: Batch) -> Any:
        while not release.is_set():  # an event of another event loop
            await anyio.sleep(0.01)
        return [
            ValueError("told to fail") if request.messages == "fail" else reply
            for request, reply in zip(requests, replies(requests), strict=True)
        ]

    model: type[Batched] = type("Named", (Batched,), {"name": system.name})
    return model(answer)


async def test_tasks_that_leave_or_fail_change_nothing_for_the_others(system: System) -> None:
    release = anyio.Event()
    model = model_of(system, release)
    submitted: dict[str, str] = {}

    async def submit(text: str, seconds: float | None = None) -> None:
        submitted[text] = await system.submit(text, seconds)

    with anyio.fail_after(TIMEOUT):
        async with OwnLoop(system.name) as loop, system.worker(model, loop) as worker:
            async with anyio.create_task_group() as tg:
                for number in range(SIZE - 3):
                    tg.start_soon(submit, f"{number}")
                tg.start_soon(submit, "fail")
                tg.start_soon(submit, "cancel")
                tg.start_soon(submit, "expire", DEADLINE)
            while not model.batches:
                await anyio.sleep(0.01)
            assert (await system.tasks.cancel(submitted["cancel"])).state is TaskState.CANCELLED
            assert (await system.ended(submitted["expire"])).state is TaskState.EXPIRED
            while worker.statistics().stopped < 1:
                await anyio.sleep(0.01)
            release.set()
            records = {text: await system.ended(task_id) for text, task_id in submitted.items()}
            while worker.statistics().unacked:
                await anyio.sleep(0.01)
    assert [len(batch) for batch in model.batches] == [SIZE]
    assert model.cancelled == 0
    failed = records.pop("fail").outcome
    assert failed is not None
    assert failed.failure is not None
    assert failed.failure.message == "told to fail"
    assert (records.pop("cancel").state, records.pop("expire").state) == (TaskState.CANCELLED, TaskState.EXPIRED)
    assert len(records) == SIZE - 3
    for text, record in records.items():
        assert (record.state, record.attempt) == (TaskState.SUCCEEDED, 1)
        assert record.outcome is not None
        assert record.outcome.body is not None
        assert ModelAResponse.FromString(record.outcome.body).reply == text


async def test_a_drain_ends_the_wait_for_a_full_batch(system: System) -> None:
    release = anyio.Event()
    release.set()
    model = model_of(system, release)
    with anyio.fail_after(TIMEOUT):
        submitted = [await system.submit(f"{number}") for number in range(3)]
        async with OwnLoop(system.name) as loop, system.worker(model, loop) as worker:
            while (batches := worker.statistics().batches) is None or batches.waiting < len(submitted):
                await anyio.sleep(0.01)
        records = [await system.ended(task_id) for task_id in submitted]
    assert [(record.state, record.attempt) for record in records] == [(TaskState.SUCCEEDED, 1)] * 3
    assert [len(batch) for batch in model.batches] == [3]
