"""Models that call models, embedded and over RabbitMQ and Redis, in the loop of the instance and in one of the model's own: for the tests of calls."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Final
from uuid import uuid4

import anyio
import pytest
from typing_extensions import override

import hub
from examples.model_a.v1.model_a_pb2 import ModelARequest, ModelAResponse
from hub.contract import Contract
from hub.model.execution.own_loop import OwnLoop
from hub.model.worker.options import WorkerOptions
from hub.model.worker.worker import Worker
from hub.ports.broker import Broker, Publication
from hub.ports.result_store import Missing, ResultStore
from hub.task import Ancestor, Failure, Outcome, Task, TaskRecord
from hub.types import InstanceId, ModelName, TaskId, TaskState, new_task_id, wall_clock
from tests.support.backends import ASYNCIO, TRIO

TIMEOUT: Final = 20.0
SOON: Final = 1.0
"""Seconds after the end of a task within which what it has called ends too."""

CONTRACT: Final = Contract.from_descriptors(ModelARequest.DESCRIPTOR, ModelAResponse.DESCRIPTOR)

Model = hub.Model[ModelARequest, ModelAResponse]
Process = Callable[[str], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class Case:
    backend: tuple[str, dict[str, object]]
    broker: str = "memory"
    store: str = "memory"
    own_loop: bool = True
    marks: tuple[pytest.MarkDecorator, ...] = ()


SERVERS = (pytest.mark.rabbitmq, pytest.mark.redis)
CASES = {
    "embedded-asyncio": Case(ASYNCIO),
    "embedded-trio": Case(TRIO),
    "shared-loop-asyncio": Case(ASYNCIO, own_loop=False),
    "shared-loop-trio": Case(TRIO, own_loop=False),
    "servers-asyncio": Case(ASYNCIO, "amqp", "redis", marks=SERVERS),
    "servers-trio": Case(TRIO, "amqp", "redis", marks=SERVERS),
    "aiormq-redispy-asyncio": Case(ASYNCIO, "amqp+aiormq", "redis+redispy", marks=SERVERS),
}


def model(name: str, process: Process, **settings: object) -> type[Model]:
    """A model that turns the text of its request into another one."""

    class Made(hub.Model[ModelARequest, ModelAResponse]):
        @override
        async def process_request(self, request: ModelARequest) -> ModelAResponse:
            return ModelAResponse(reply=await process(request.messages))

    return with_settings(Made, name, settings)


def plain_model(name: str, process: Callable[[str], str], **settings: object) -> type[Model]:
    class Made(hub.Model[ModelARequest, ModelAResponse]):
        @override
        def process_request(self, request: ModelARequest) -> ModelAResponse:
            return ModelAResponse(reply=process(request.messages))

    return with_settings(Made, name, settings)


def with_settings(made: type[Model], name: str, settings: dict[str, object]) -> type[Model]:
    made.name = f"{name}-{uuid4().hex[:8]}"
    for key, value in {"concurrency": 8, **settings}.items():
        setattr(made, key, value)
    return made


@dataclass
class System:
    """A broker, a store, and the models that run on them."""

    broker: Broker
    store: ResultStore
    own_loop: bool = False
    workers: dict[str, Worker] = field(default_factory=dict[str, Worker])

    @asynccontextmanager
    async def serving(self, *models: type[Model], drain_grace: float = 0.0) -> AsyncGenerator[None]:
        async with AsyncExitStack() as stack:
            for each in models:
                loop = await stack.enter_async_context(OwnLoop(each.name)) if self.own_loop else None
                worker = Worker(
                    each(),
                    contract=CONTRACT,
                    instance=InstanceId(f"instance of {each.name} {uuid4().hex[:4]}"),
                    broker=self.broker,
                    store=self.store,
                    options=WorkerOptions(drain_grace=drain_grace),
                    loop=loop,
                )
                self.workers[each.name] = await stack.enter_async_context(worker)
            yield

    async def send(
        self,
        to: type[Model],
        text: str = "",
        *,
        seconds: float | None = None,
        trace: str = "",
        ancestors: tuple[Ancestor, ...] = (),
    ) -> Task:
        """What a gateway does."""
        now = wall_clock()
        task = Task(
            id=new_task_id(),
            model=ModelName(to.name),
            body=ModelARequest(messages=text).SerializeToString(),
            fingerprint=CONTRACT.fingerprint,
            created_at=now,
            deadline=None if seconds is None else now + seconds,
            traceparent=trace,
            ancestors=ancestors,
        )
        await self.broker.declare(task.model)
        await self.store.create([task])
        publication = Publication(queue=task.model, body=task.encode(), message_id=task.id, timestamp=task.created_at)
        assert await self.broker.publish([publication]) == [None]
        return task

    async def record(self, task_id: TaskId) -> TaskRecord:
        found = await self.store.wait_for_change(task_id, after=0, until_terminal=True)
        assert not isinstance(found, Missing)
        return found

    async def outcome(self, task: Task) -> Outcome:
        found = (await self.record(task.id)).outcome
        assert found is not None
        return found

    async def reply(self, task: Task) -> str:
        outcome = await self.outcome(task)
        assert outcome.body is not None, outcome.failure
        return ModelAResponse.FromString(outcome.body).reply

    async def failure(self, task: Task) -> Failure:
        outcome = await self.outcome(task)
        assert outcome.failure is not None
        return outcome.failure

    async def cancel(self, task: Task) -> None:
        failure = Failure(code="cancelled", message="by its client")
        outcome = Outcome(task_id=task.id, state=TaskState.CANCELLED, failure=failure, finished_at=wall_clock())
        assert await self.store.finish([outcome]) == [True]


async def echo(text: str) -> str:
    return f"<{text}>"


async def until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(TIMEOUT):
        while not condition():
            await anyio.sleep(0.01)


def ask(text: str) -> ModelARequest:
    return ModelARequest(messages=text)
