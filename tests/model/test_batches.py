"""Tasks that are processed together: what happens to one of them is no concern of the others."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import anyio
import pytest
from anyio.lowlevel import checkpoint
from typing_extensions import override

import hub
from examples.model_a.v1.model_a_pb2 import ModelARequest, ModelAResponse
from hub.model.execution.own_loop import OwnLoop
from hub.model.worker.options import WorkerOptions
from hub.model.worker.worker import Worker
from hub.ports.result_store import Missing
from hub.task import Outcome, Progress, Task
from hub.types import InstanceId, TaskState, wall_clock
from tests.model.batch_models import (
    SIZE,
    Batch,
    Batched,
    InOwnLoop,
    InThread,
    Small,
    cancel,
    failure_of,
    replies,
)
from tests.model.fakes import (
    CONTRACT,
    ECHO,
    INSTANCE,
    TIMEOUT,
    BreakableStore,
    WatchedBroker,
    ended,
    ready_in,
    reply_of,
    submit,
    task,
    until,
    worker,
)

pytestmark = pytest.mark.usefixtures("no_leaked_tasks")


def tasks(count: int = SIZE) -> list[Task]:
    return [task(f"{number}") for number in range(count)]


async def all_succeed(store: BreakableStore, those: Sequence[Task]) -> None:
    """Each has the reply to its own request, and ran once."""
    for each in those:
        assert await reply_of(store, each) == ModelARequest.FromString(each.body).messages
        assert (await ended(store, each)).attempt == 1


class Held:
    """A behaviour that waits until the test releases it; then it answers, with something else for some requests."""

    def __init__(self, **instead: object) -> None:
        self.instead = instead
        self.release = anyio.Event()
        self.tasks: tuple[hub.CurrentTask, ...] = ()

    async def __call__(self, requests: Batch) -> Any:
        self.tasks = hub.current_tasks()
        await self.release.wait()
        return [
            self.instead.get(f"_{request.messages}", reply)
            for request, reply in zip(requests, replies(requests), strict=True)
        ]


async def test_tasks_are_processed_together_and_each_has_its_own_reply(
    broker: WatchedBroker, store: BreakableStore
) -> None:
    model, those = Batched(), tasks()
    with anyio.fail_after(TIMEOUT):
        await submit(broker, store, *those)
        async with worker(model, broker, store) as working:
            await all_succeed(store, those)
            batches = working.statistics().batches
    assert [sorted(batch, key=int) for batch in model.batches] == [[f"{number}" for number in range(SIZE)]]
    assert batches is not None
    assert (batches.size.sum, sum(batches.size.counts)) == (SIZE, 1)
    assert sum(batches.wait.counts) == SIZE


@pytest.mark.parametrize("model", [InOwnLoop, InThread], ids=["own_loop", "thread"])
async def test_a_batch_runs_in_a_loop_of_the_model_or_in_a_thread(
    broker: WatchedBroker, store: BreakableStore, model: type[InOwnLoop | InThread]
) -> None:
    served = model()
    if isinstance(served, InThread):
        served.release.set()
    those = tasks(model.max_batch_size)
    with anyio.fail_after(TIMEOUT):
        await submit(broker, store, *those)
        async with (
            OwnLoop("Echo") as loop,
            Worker(
                served,
                contract=CONTRACT,
                instance=INSTANCE,
                broker=broker,
                store=store,
                options=WorkerOptions(),
                loop=loop,
            ),
        ):
            await all_succeed(store, those)
    assert [len(batch) for batch in served.batches] == [len(those)]


async def test_a_cancelled_task_changes_nothing_for_the_others(broker: WatchedBroker, store: BreakableStore) -> None:
    held = Held()
    model, those = Batched(held), tasks()
    with anyio.fail_after(TIMEOUT):
        await submit(broker, store, *those)
        async with worker(model, broker, store) as working:
            await until(lambda: bool(held.tasks))
            await cancel(store, those[7])
            await until(lambda: working.statistics().stopped == 1)
            assert [each.id for each in held.tasks if each.cancelled] == [those[7].id]
            held.release.set()
            await all_succeed(store, those[:7] + those[8:])
            assert (await ended(store, those[7])).state is TaskState.CANCELLED
            await until(lambda: len(broker.acked) == SIZE)
    assert model.cancelled == 0
    assert len(model.batches) == 1


async def test_an_expired_task_changes_nothing_for_the_others(broker: WatchedBroker, store: BreakableStore) -> None:
    held = Held()
    model, those = Batched(held), tasks()
    those[7] = replace(those[7], deadline=wall_clock() + 1.0)
    with anyio.fail_after(TIMEOUT):
        await submit(broker, store, *those)
        async with worker(model, broker, store):
            record = await ended(store, those[7])
            assert record.state is TaskState.EXPIRED
            assert record.outcome is not None
            assert record.outcome.started_at is not None
            held.release.set()
            await all_succeed(store, those[:7] + those[8:])
    assert model.cancelled == 0
    assert len(model.batches) == 1


async def test_a_task_that_another_instance_has_finished_changes_nothing_for_the_others(
    broker: WatchedBroker, store: BreakableStore
) -> None:
    held = Held()
    model, those = Batched(held), tasks()
    with anyio.fail_after(TIMEOUT):
        await submit(broker, store, *those)
        async with worker(model, broker, store) as working:
            await until(lambda: bool(held.tasks))
            body = ModelAResponse(reply="from elsewhere").SerializeToString()
            elsewhere = Outcome(
                task_id=those[7].id,
                state=TaskState.SUCCEEDED,
                body=body,
                instance=InstanceId("instance-2"),
                finished_at=1.0,
            )
            assert await store.finish([elsewhere]) == [True]
            await until(lambda: working.statistics().stopped == 1)
            held.release.set()
            await all_succeed(store, those[:7] + those[8:])
            assert await reply_of(store, those[7]) == "from elsewhere"
    assert model.cancelled == 0


@pytest.mark.parametrize(
    ("instead", "code", "message"),
    [
        (ValueError("no seven"), "model_error", "no seven"),
        (ModelARequest(), "wrong_response", "process_batch of Echo returned examples.model_a.v1.ModelARequest"),
        (None, "wrong_response", "process_batch of Echo returned 'NoneType'"),
        (ValueError, "wrong_response", "process_batch of Echo returned 'type'"),
        (SystemExit(3), "model_exit", "process_batch raised SystemExit: 3"),
    ],
    ids=["exception", "other message", "nothing", "class of exception", "exit"],
)
async def test_a_failure_in_one_place_is_that_of_one_task(
    broker: WatchedBroker, store: BreakableStore, instead: object, code: str, message: str
) -> None:
    held = Held(_7=instead)
    held.release.set()
    model, those = Batched(held), tasks()
    with anyio.fail_after(TIMEOUT):
        await submit(broker, store, *those)
        async with worker(model, broker, store):
            failure = await failure_of(store, those[7])
            await all_succeed(store, those[:7] + those[8:])
    assert failure.code == code
    assert message in failure.message
    assert len(model.batches) == 1


async def test_a_request_that_cannot_be_decoded_is_not_part_of_the_batch(
    broker: WatchedBroker, store: BreakableStore
) -> None:
    model, bad, those = Batched(), replace(task(), body=b"\xff\xff"), tasks()
    with anyio.fail_after(TIMEOUT):
        await submit(broker, store, bad, *those)
        async with worker(model, broker, store):
            assert (await failure_of(store, bad)).code == "undecodable"
            await all_succeed(store, those)
    assert [len(batch) for batch in model.batches] == [SIZE]


@pytest.mark.parametrize(
    ("returned", "shown"),
    [
        ([ModelAResponse()], "1 results for 2 requests"),
        ([ModelAResponse()] * 3, "3 results for 2 requests"),
        ([], "0 results for 2 requests"),
        (ModelAResponse(), "a 'ModelAResponse' for 2 requests"),
        (None, "a 'NoneType' for 2 requests"),
        ("ab", "a 'str' for 2 requests"),
        (iter([ModelAResponse()] * 2), "a 'list_iterator' for 2 requests"),
    ],
)
async def test_a_wrong_number_of_results_fails_all_tasks(
    broker: WatchedBroker, store: BreakableStore, returned: object, shown: str
) -> None:
    async def answer(_: Batch) -> Any:
        await checkpoint()
        return returned

    those = tasks(2)
    with anyio.fail_after(TIMEOUT):
        await submit(broker, store, *those)
        async with worker(Small(answer), broker, store):
            failures = [await failure_of(store, each) for each in those]
    assert {failure.code for failure in failures} == {"wrong_batch"}
    assert f"process_batch of Echo returned {shown}: return a list with one response" in failures[0].message


async def test_an_error_of_the_call_fails_all_tasks_with_their_own_traceback(
    broker: WatchedBroker, store: BreakableStore
) -> None:
    async def fail(_: Batch) -> Any:
        await checkpoint()
        raise OSError("no GPU")

    those = tasks(2)
    with anyio.fail_after(TIMEOUT):
        await submit(broker, store, *those)
        async with worker(Small(fail), broker, store, debug=True):
            failures = [await failure_of(store, each) for each in those]
    assert {(failure.code, failure.type, failure.message) for failure in failures} == {
        ("model_error", "OSError", "no GPU")
    }
    assert len({failure.traceback for failure in failures}) == 1
    assert 'raise OSError("no GPU")' in failures[0].traceback
    assert failures[-1].traceback.count("in Batched.process_batch") == 1


class Retried(Small):
    name = "Echo"
    retry: ClassVar[hub.Retry | None] = hub.Retry(on=(ConnectionError,), first=0.01, cap=0.01)
    max_batch_wait = 0.01


async def test_a_failed_member_is_retried_by_itself(broker: WatchedBroker, store: BreakableStore) -> None:
    async def fail_once(requests: Batch) -> Any:
        await checkpoint()
        return [
            ConnectionError("reset")
            if request.messages == "1" and current.attempt == 1
            else ModelAResponse(reply=request.messages)
            for request, current in zip(requests, hub.current_tasks(), strict=True)
        ]

    model, those = Retried(fail_once), tasks(2)
    with anyio.fail_after(TIMEOUT):
        await submit(broker, store, *those)
        async with worker(model, broker, store):
            assert [await reply_of(store, each) for each in those] == ["0", "1"]
            assert [(await ended(store, each)).attempt for each in those] == [1, 2]
    assert [sorted(batch) for batch in model.batches] == [["0", "1"], ["1"]]


async def test_after_an_error_of_the_call_each_task_is_retried(broker: WatchedBroker, store: BreakableStore) -> None:
    async def fail_once(requests: Batch) -> Any:
        await checkpoint()
        if any(current.attempt == 1 for current in hub.current_tasks()):
            raise ConnectionResetError
        return replies(requests)

    those = tasks(2)
    with anyio.fail_after(TIMEOUT):
        await submit(broker, store, *those)
        async with worker(Retried(fail_once), broker, store) as working:
            assert [await reply_of(store, each) for each in those] == ["0", "1"]
            assert working.statistics().retried == 2


async def test_a_call_is_cancelled_when_all_of_its_tasks_have_ended(
    broker: WatchedBroker, store: BreakableStore
) -> None:
    held = Held()
    model, those, others = Small(held), tasks(2), tasks(2)
    with anyio.fail_after(TIMEOUT):
        await submit(broker, store, *those)
        async with worker(model, broker, store) as working:
            await until(lambda: bool(held.tasks))
            await cancel(store, those[0])
            await until(lambda: working.statistics().stopped == 1)
            await anyio.wait_all_tasks_blocked()
            assert model.cancelled == 0
            await cancel(store, those[1])
            await until(lambda: model.cancelled == 1)
            held.release.set()
            await submit(broker, store, *others)
            await all_succeed(store, others)


async def test_a_thread_that_no_task_needs_counts_until_it_has_ended(
    broker: WatchedBroker, store: BreakableStore
) -> None:
    model, those, others = InThread(), tasks(2), tasks(2)
    with anyio.fail_after(TIMEOUT):
        await submit(broker, store, *those)
        async with worker(model, broker, store) as working:
            await until(lambda: len(model.batches) == 1)
            await cancel(store, *those)
            await until(lambda: working.statistics().stopped == 2)
            await submit(broker, store, *others)
            await anyio.wait_all_tasks_blocked()
            assert len(model.batches) == 1
            assert broker.acked == []
            assert working.statistics().in_flight == 4
            model.release.set()
            await all_succeed(store, others)
            await until(lambda: len(broker.acked) == 4)


class Computes(Small):
    name = "Echo"
    shares_loop = False


async def test_a_coroutine_that_computes_for_no_task_counts_until_it_has_ended(
    broker: WatchedBroker, store: BreakableStore
) -> None:
    release = threading.Event()

    async def compute(requests: Batch) -> Any:
        release.wait(TIMEOUT)
        return replies(requests)

    model, those, others = Computes(compute), tasks(2), tasks(2)
    with anyio.fail_after(TIMEOUT):
        await submit(broker, store, *those)
        async with (
            OwnLoop("Echo") as loop,
            Worker(model, contract=CONTRACT, instance=INSTANCE, broker=broker, store=store, loop=loop) as working,
        ):
            await until(lambda: len(model.batches) == 1)
            await cancel(store, *those)
            await until(lambda: working.statistics().stopped == 2)
            await submit(broker, store, *others)
            await until(lambda: working.statistics().in_flight == 4)
            assert len(model.batches) == 1
            release.set()
            await all_succeed(store, others)
            await until(lambda: len(broker.acked) == 4)


async def test_a_task_that_leaves_before_its_batch_starts_is_not_part_of_it(
    broker: WatchedBroker, store: BreakableStore
) -> None:
    model, those = Small(), tasks(3)
    with anyio.fail_after(TIMEOUT):
        await submit(broker, store, those[0])
        async with worker(model, broker, store) as working:
            await until(lambda: waiting(working) == 1)
            await cancel(store, those[0])
            await until(lambda: broker.acked == [those[0].id])
            assert waiting(working) == 0
            await submit(broker, store, *those[1:])
            await all_succeed(store, those[1:])
    assert [sorted(batch) for batch in model.batches] == [["1", "2"]]


def waiting(working: Worker) -> int:
    batches = working.statistics().batches
    assert batches is not None
    return batches.waiting


async def test_an_instance_holds_the_tasks_of_its_calls_and_of_one_more_batch(
    broker: WatchedBroker, store: BreakableStore
) -> None:
    held = Held()
    model, those = Small(held), tasks(7)
    with anyio.fail_after(TIMEOUT):
        await submit(broker, store, *those)
        async with worker(model, broker, store) as working:
            await until(lambda: waiting(working) == 2)
            await anyio.wait_all_tasks_blocked()
            assert working.statistics().in_flight == 4
            assert [len(batch) for batch in model.batches] == [2]
            assert await ready_in(broker, ECHO) == 3
            held.release.set()
            await submit(broker, store, task("7"))
            await all_succeed(store, those)
    assert [len(batch) for batch in model.batches] == [2, 2, 2, 2]


class Twice(Small):
    name = "Echo"
    concurrency = 2


async def test_concurrency_is_the_number_of_batches_at_once(broker: WatchedBroker, store: BreakableStore) -> None:
    held = Held()
    model, those = Twice(held), tasks(6)
    with anyio.fail_after(TIMEOUT):
        await submit(broker, store, *those)
        async with worker(model, broker, store) as working:
            await until(lambda: len(model.batches) == 2)
            await until(lambda: waiting(working) == 2)
            await anyio.wait_all_tasks_blocked()
            assert len(model.batches) == 2
            held.release.set()
            await all_succeed(store, those)


async def test_a_drain_starts_a_batch_that_is_not_full(broker: WatchedBroker, store: BreakableStore) -> None:
    model, those = Batched(), tasks(3)
    with anyio.fail_after(TIMEOUT):
        await submit(broker, store, *those)
        async with worker(model, broker, store, drain_grace=50.0) as working:
            await until(lambda: waiting(working) == 3)
        await all_succeed(store, those)
    assert [sorted(batch) for batch in model.batches] == [["0", "1", "2"]]


async def test_a_batch_that_outlasts_the_drain_goes_back_to_the_queue(
    broker: WatchedBroker, store: BreakableStore
) -> None:
    held = Held()
    model, those = Small(held), tasks(2)
    with anyio.fail_after(TIMEOUT):
        await submit(broker, store, *those)
        async with worker(model, broker, store, drain_grace=0.01):
            await until(lambda: bool(held.tasks))
        assert model.cancelled == 1
        assert await ready_in(broker, ECHO) == 2
        async with worker(Small(), broker, store):
            assert [await reply_of(store, each) for each in those] == ["0", "1"]


async def test_the_code_of_a_batch_has_all_its_tasks_and_no_current_one(
    broker: WatchedBroker, store: BreakableStore
) -> None:
    seen: dict[str, hub.CurrentTask] = {}
    release = anyio.Event()

    async def look(requests: Batch) -> Any:
        for request, current in zip(requests, hub.current_tasks(), strict=True):
            seen[request.messages] = current
            current.report(0.5, f"step of {request.messages}")
        await release.wait()
        with pytest.raises(hub.NotInTask, match=r"call current_tasks\(\), which has one for each request"):
            hub.current_task()
        return replies(requests)

    those = tasks(2)
    with anyio.fail_after(TIMEOUT):
        await submit(broker, store, *those)
        async with worker(Small(look), broker, store):
            for number, each in enumerate(those):
                assert (await progress_of(store, each)).message == f"step of {number}"
                assert (seen[f"{number}"].id, seen[f"{number}"].attempt) == (each.id, 1)
            release.set()
            await all_succeed(store, those)


async def progress_of(store: BreakableStore, each: Task) -> Progress:
    while True:
        [record] = await store.fetch([each.id])
        assert not isinstance(record, Missing)
        if record.progress is not None:
            return record.progress
        await anyio.sleep(0.01)


class OfBytes(hub.Model):  # type: ignore[type-arg]  # without type arguments
    name = "Echo"
    max_batch_size = 2

    @override
    def get_request_format(self) -> Any:
        return ModelARequest.DESCRIPTOR

    @override
    def get_response_format(self) -> Any:
        return ModelAResponse.DESCRIPTOR

    @override
    def process_batch(self, requests: Any) -> Any:
        return replies([ModelARequest.FromString(request) for request in requests])


async def test_a_model_without_type_arguments_gets_bytes(broker: WatchedBroker, store: BreakableStore) -> None:
    those = tasks(2)
    with anyio.fail_after(TIMEOUT):
        await submit(broker, store, *those)
        async with worker(OfBytes(), broker, store):
            await all_succeed(store, those)


@pytest.fixture
async def broker(store: BreakableStore) -> AsyncIterator[WatchedBroker]:
    watched = WatchedBroker(store)
    async with watched.inner:
        yield watched
    assert watched.early == []
