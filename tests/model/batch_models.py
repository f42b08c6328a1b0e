"""Models with `process_batch`, and what tests of them share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from threading import Event
from typing import Any, ClassVar, Final

import anyio
from typing_extensions import override

import hub
from examples.model_a.v1.model_a_pb2 import ModelARequest, ModelAResponse
from hub.ports.result_store import ResultStore
from hub.task import Failure, Outcome, Task
from hub.types import TaskState
from tests.model.fakes import ended

SIZE: Final = 64

Batch = Sequence[ModelARequest]
Behaviour = Callable[[Batch], Awaitable[Any]]


class Batched(hub.Model[ModelARequest, ModelAResponse]):
    """Answers with what `behaviour` makes of a batch, by default the text of each request; notes what it has got."""

    name: ClassVar[str] = "Echo"
    max_batch_size: ClassVar[int] = SIZE
    max_batch_wait: ClassVar[float] = 60.0  # a batch starts because it is full, unless a test says otherwise
    shares_loop: ClassVar[bool] = True  # its behaviour waits for events of the test

    def __init__(self, behaviour: Behaviour | None = None) -> None:
        self.behaviour = behaviour
        self.batches: list[list[str]] = []
        self.cancelled = 0

    @override
    async def process_batch(self, requests: Batch) -> Sequence[ModelAResponse | Exception]:
        self.batches.append([request.messages for request in requests])
        try:
            results = replies(requests) if self.behaviour is None else await self.behaviour(requests)
        except anyio.get_cancelled_exc_class():
            self.cancelled += 1
            raise
        return results


class InThread(hub.Model[ModelARequest, ModelAResponse]):
    """Computes in a thread until `release` is set."""

    name: ClassVar[str] = "Echo"
    max_batch_size: ClassVar[int] = 2
    max_batch_wait: ClassVar[float] = 60.0

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.release = Event()

    @override
    def process_batch(self, requests: Batch) -> list[ModelAResponse]:
        self.batches.append([request.messages for request in requests])
        self.release.wait(20.0)
        return replies(requests)


class Small(Batched):
    name = "Echo"
    max_batch_size = 2


class InOwnLoop(Batched):
    name = "Echo"
    shares_loop = False


def replies(requests: Batch) -> list[ModelAResponse]:
    return [ModelAResponse(reply=request.messages) for request in requests]


async def failure_of(store: ResultStore, each: Task) -> Failure:
    outcome = (await ended(store, each)).outcome
    assert outcome is not None
    assert outcome.failure is not None
    return outcome.failure


async def cancel(store: ResultStore, *tasks: Task) -> None:
    """What a gateway does when a client cancels them."""
    failure = Failure(code="cancelled", message="a client cancelled it")
    await store.finish(
        [Outcome(task_id=each.id, state=TaskState.CANCELLED, failure=failure, finished_at=1.0) for each in tasks]
    )
