"""A plain `process_request` cannot be interrupted: its task ends all the same, and its place stays taken until it returns."""

from __future__ import annotations

import threading

import anyio
import pytest
from typing_extensions import override

import hub
from examples.model_a.v1.model_a_pb2 import ModelARequest, ModelAResponse
from hub.task import Failure, Outcome, Task
from hub.types import TaskState
from tests.model.fakes import (
    TIMEOUT,
    BreakableStore,
    Echo,
    WatchedBroker,
    ended,
    reply_of,
    submit,
    task,
    until,
    worker,
)

pytestmark = pytest.mark.usefixtures("no_leaked_tasks")


class Plain(Echo):
    """Works until it is told to return, or sees that it is not needed if it `looks`."""

    name = "Echo"
    concurrency = 1
    looks = False

    def __init__(self) -> None:
        super().__init__()
        self.release = threading.Event()
        self.began: list[str] = []
        self.gave_up = threading.Event()

    @override
    def process_request(self, request: ModelARequest) -> ModelAResponse:  # type: ignore[override]
        self.began.append(request.messages)
        while not self.release.wait(0.01):
            if self.looks and hub.current_task().cancelled:
                self.gave_up.set()
                break
        return ModelAResponse(reply=request.messages)


async def cancel(store: BreakableStore, one: Task) -> None:
    failure = Failure(code="cancelled", message="a client cancelled it")
    await store.finish([Outcome(task_id=one.id, state=TaskState.CANCELLED, failure=failure, finished_at=1.0)])


async def test_a_cancelled_thread_keeps_its_place_and_its_message_until_it_returns(
    broker: WatchedBroker, store: BreakableStore
) -> None:
    model = Plain()
    one, two = task("one"), task("two")
    with anyio.fail_after(TIMEOUT):
        await submit(broker, store, one)
        async with worker(model, broker, store) as working:
            await until(lambda: model.began == ["one"])
            await cancel(store, one)
            await until(lambda: working.statistics().stopped == 1)
            await submit(broker, store, two)
            await anyio.wait_all_tasks_blocked()
            assert broker.acked == []
            assert model.began == ["one"]
            assert working.statistics().in_flight == 1
            assert broker.inner.statistics().unacked == 1
            model.release.set()
            assert await reply_of(store, two) == "two"
            await until(lambda: broker.acked == [one.id, two.id])
            await until(lambda: working.statistics().in_flight == 0)
    assert (await ended(store, one)).state is TaskState.CANCELLED


async def test_a_thread_can_ask_whether_its_task_was_cancelled(broker: WatchedBroker, store: BreakableStore) -> None:
    model = Plain()
    model.looks = True
    one, two = task("one"), task("two")
    with anyio.fail_after(TIMEOUT):
        await submit(broker, store, one, two)
        async with worker(model, broker, store):
            await until(lambda: model.began == ["one"])
            await cancel(store, one)
            await until(model.gave_up.is_set)
            await until(lambda: model.began == ["one", "two"])
            model.release.set()
            assert await reply_of(store, two) == "two"


async def test_a_drain_does_not_wait_for_a_thread_for_ever(broker: WatchedBroker, store: BreakableStore) -> None:
    model = Plain()
    one = task("one")
    with anyio.fail_after(TIMEOUT):
        await submit(broker, store, one)
        async with worker(model, broker, store, drain_grace=0.01):
            await until(lambda: model.began == ["one"])
        model.release.set()
        async with worker(Echo(), broker, store):
            assert await reply_of(store, one) == "one"
