"""Models that stream: their chunks reach the store in order, and whatever ends a run leaves its generator."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import anyio
import pytest
from typing_extensions import override

import hub
from examples.model_a.v1.model_a_pb2 import ModelARequest, ModelAResponse
from hub.model.errors import InvalidModel, WrongResponse
from hub.model.execution.chunk_window import WINDOW_CHUNKS, ChunkWindow, WakeupPool
from hub.model.execution.executor import Executor
from hub.model.execution.own_loop import OwnLoop
from hub.model.worker.options import WorkerOptions
from hub.model.worker.worker import Worker
from hub.ports.result_store import ChunkPage, ChunkPosition, ResultStore
from hub.task import Failure, Outcome, Task
from hub.types import InstanceId, ModelName, TaskState, dead_letter_queue
from tests.model.fakes import (
    CONTRACT,
    ECHO,
    INSTANCE,
    TIMEOUT,
    BreakableStore,
    WatchedBroker,
    ended,
    ready_in,
    submit,
    task,
)
from tests.model.stream_models import FORMS, Async, Forked, Plain, Shared

HERE = {name: form for name, form in FORMS.items() if name != "process"}
"""The forms whose generator runs in the process of the test."""

P = ParamSpec("P")
R = TypeVar("R")

OTHER = InstanceId("instance-2")

Form = type[Async | Plain]


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> Form:
    return FORMS[str(request.param)]


@pytest.fixture(params=HERE)
def form_here(request: pytest.FixtureRequest) -> Form:
    return HERE[str(request.param)]


@asynccontextmanager
async def serving(
    model: Async | Plain,
    broker: WatchedBroker,
    store: ResultStore,
    options: WorkerOptions | None = None,
    instance: InstanceId = INSTANCE,
) -> AsyncGenerator[Worker]:
    own_loop = not (model.shares_loop or model.run_in_process)
    async with OwnLoop(model.name) as loop:
        async with Worker(
            model,
            contract=CONTRACT,
            instance=instance,
            broker=broker,
            store=store,
            options=options or WorkerOptions(store_timeout=5.0, drain_grace=5.0),
            loop=loop if own_loop else None,
        ) as worker:
            yield worker


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await anyio.sleep(0.005)


async def texts(store: ResultStore, each: Task) -> list[str]:
    """The chunks of the newest attempt so far."""
    found: list[str] = []
    after: ChunkPosition | None = None
    while isinstance(page := await store.chunks(each.id, after), ChunkPage) and page.chunks:
        found += [ModelAResponse.FromString(chunk.body).reply for chunk in page.chunks]
        after = page.last
    return found


async def stored(store: ResultStore, each: Task, count: int) -> None:
    """Returns when so many chunks are stored."""
    page = await store.chunks(each.id)
    while isinstance(page, ChunkPage) and page.total < count:
        page = await store.chunks(each.id, page.last, beyond=page.revision)


async def outcome_of(store: ResultStore, each: Task) -> Outcome:
    outcome = (await ended(store, each)).outcome
    assert outcome is not None
    return outcome


async def failure_of(store: ResultStore, each: Task) -> Failure:
    failure = (await outcome_of(store, each)).failure
    assert failure is not None
    return failure


def cancellation(each: Task) -> Outcome:
    return Outcome(
        task_id=each.id,
        state=TaskState.CANCELLED,
        failure=Failure(code="cancelled", message="cancelled by its client"),
        finished_at=time.time(),
    )


def passed_on(method: Callable[P, R]) -> Callable[P, R]:
    """A decorator that hides what it is around, but for `__wrapped__`."""

    @wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        return method(*args, **kwargs)

    return call


def test_a_generator_is_seen_when_the_class_is_defined() -> None:
    class Unary(hub.Model[ModelARequest, ModelAResponse]):
        @override
        async def process_request(self, request: ModelARequest) -> ModelAResponse:
            return ModelAResponse()

    class Again(Async):
        pass

    class Decorated(hub.Model[ModelARequest, ModelAResponse]):
        @override
        @passed_on
        def process_request(self, request: ModelARequest) -> Iterator[ModelAResponse]:
            yield ModelAResponse()

    class Declared(hub.Model[ModelARequest, ModelAResponse]):
        streaming = True

        @override
        def process_request(self, request: ModelARequest) -> Iterator[ModelAResponse]:
            return iter(())

    assert [model.streaming for model in (Async, Plain, Again, Decorated, Declared, Unary)] == [True] * 5 + [False]


def test_an_async_generator_does_not_run_in_a_process() -> None:
    with pytest.raises(InvalidModel, match="its process_request is async"):

        class Both(hub.Model[ModelARequest, ModelAResponse]):
            run_in_process = True

            @override
            async def process_request(self, request: ModelARequest) -> AsyncIterator[ModelAResponse]:
                yield ModelAResponse()


async def test_the_chunks_of_all_forms_are_stored_in_their_order(
    form: Form, broker: WatchedBroker, store: BreakableStore
) -> None:
    tasks = [task(f"count {number}") for number in (0, 1, 5 * WINDOW_CHUNKS)]
    with anyio.fail_after(TIMEOUT):
        await submit(broker, store, *tasks)
        async with serving(form(), broker, store):
            for each, number in zip(tasks, (0, 1, 5 * WINDOW_CHUNKS), strict=True):
                outcome = await outcome_of(store, each)
                assert (outcome.state, outcome.body, outcome.chunks) == (TaskState.SUCCEEDED, b"", number)
                assert await texts(store, each) == [str(index) for index in range(number)]


class Returns(hub.Model[ModelARequest, ModelAResponse]):
    """Returns what the request names instead of yielding itself."""

    streaming = True

    @override
    def process_request(self, request: ModelARequest) -> Any:
        return getattr(self, request.messages)()

    def iterator(self) -> Iterator[ModelAResponse]:
        return iter([ModelAResponse(reply="a"), ModelAResponse(reply="b")])

    async def generator(self) -> AsyncIterator[ModelAResponse]:
        yield ModelAResponse(reply="a")
        yield ModelAResponse(reply="b")

    async def awaitable(self) -> AsyncIterator[ModelAResponse]:
        return self.generator()

    def number(self) -> int:
        return 17

    async def awaitable_number(self) -> int:
        return 17


async def streamed_by(model: hub.Model[ModelARequest, ModelAResponse], text: str) -> list[str]:
    """What an executor puts into a window."""
    window = ChunkWindow(WakeupPool(), lambda _: None)
    await Executor(model).stream(ModelARequest(messages=text).SerializeToString(), window)
    window.end()
    return [ModelAResponse.FromString(body).reply for body in window.take()]


@pytest.mark.parametrize("word", ["iterator", "generator", "awaitable"])
async def test_a_model_that_says_that_it_streams_may_return_an_iterator(word: str) -> None:
    with anyio.fail_after(TIMEOUT):
        assert await streamed_by(Returns(), word) == ["a", "b"]


@pytest.mark.parametrize("word", ["number", "awaitable_number"])
async def test_what_is_no_stream_is_named(word: str) -> None:
    with anyio.fail_after(TIMEOUT), pytest.raises(WrongResponse, match="returned 'int': return a stream of chunks"):
        await streamed_by(Returns(), word)


async def test_a_stream_of_a_model_that_is_not_known_to_stream_is_refused_with_the_repair() -> None:
    class Unseen(hub.Model[ModelARequest, ModelAResponse]):
        @override
        def process_request(self, request: ModelARequest) -> Iterator[ModelAResponse]:
            return (ModelAResponse() for _ in range(3))

    with anyio.fail_after(TIMEOUT), pytest.raises(WrongResponse, match="or set `streaming = True`"):
        await Executor(Unseen()).execute(b"")


async def test_a_generator_is_not_advanced_while_a_window_of_its_chunks_waits(
    form_here: Form, broker: WatchedBroker, store: BreakableStore
) -> None:
    gate, model, each = anyio.Event(), form_here(), task(f"count {3 * WINDOW_CHUNKS}")
    store.before_append = gate.wait
    with anyio.fail_after(TIMEOUT):
        await submit(broker, store, each)
        async with serving(model, broker, store):
            await until(lambda: model.recorder.made == WINDOW_CHUNKS)
            for _ in range(20):
                await anyio.sleep(0.005)
                assert model.recorder.made == WINDOW_CHUNKS
            gate.set()
            assert (await outcome_of(store, each)).chunks == 3 * WINDOW_CHUNKS
    assert len(await texts(store, each)) == 3 * WINDOW_CHUNKS


async def test_a_window_is_bounded_in_bytes_too(form_here: Form, broker: WatchedBroker, store: BreakableStore) -> None:
    gate, model, each = anyio.Event(), form_here(), task("big 400000")
    store.before_append = gate.wait
    with anyio.fail_after(TIMEOUT):
        await submit(broker, store, each)
        async with serving(model, broker, store, WorkerOptions(stream_limit=2_000_000)):
            await until(lambda: model.recorder.made == 3)
            for _ in range(20):
                await anyio.sleep(0.005)
                assert model.recorder.made == 3
            gate.set()
            assert (await failure_of(store, each)).code == "stream_too_large"


async def test_a_process_waits_for_the_store_too(broker: WatchedBroker, store: BreakableStore) -> None:
    gate, each = anyio.Event(), task("rush")
    store.before_append = gate.wait
    with anyio.fail_after(TIMEOUT):
        await submit(broker, store, each)
        async with serving(Forked(), broker, store, WorkerOptions(drain_grace=0.0)):
            await until(lambda: broker_has_started(store))
            for _ in range(20):
                await anyio.sleep(0.005)
            gate.set()
            await stored(store, each, 20 * WINDOW_CHUNKS)
            await store.finish([cancellation(each)])
    sizes = [len(append.bodies) for appends in store.appends for append in appends]
    assert max(sizes) <= WINDOW_CHUNKS


def broker_has_started(store: BreakableStore) -> bool:
    return store.starts > 0


@pytest.mark.parametrize("word", ["stall 3", "rush", "big 100000"])
async def test_a_cancelled_task_leaves_its_generator(
    word: str, form_here: Form, broker: WatchedBroker, store: BreakableStore
) -> None:
    model, each = form_here(), task(word)
    with anyio.fail_after(TIMEOUT):
        await submit(broker, store, each)
        async with serving(model, broker, store):
            await stored(store, each, 3)
            assert await store.finish([cancellation(each)]) == [True]
            await until(lambda: model.recorder.left == 1)
        assert await ready_in(broker, ECHO) == 0
    assert len(await texts(store, each)) >= 3
    assert (await outcome_of(store, each)).state is TaskState.CANCELLED


async def test_a_cancelled_task_leaves_its_generator_in_a_process(
    tmp_path: Path, broker: WatchedBroker, store: BreakableStore
) -> None:
    each, after = task(f"touch {tmp_path / 'left'}"), task("count 2")
    with anyio.fail_after(TIMEOUT):
        await submit(broker, store, each)
        async with serving(Forked(), broker, store):
            await stored(store, each, 3)
            assert await store.finish([cancellation(each)]) == [True]
            await until((tmp_path / "left").exists)
            await submit(broker, store, after)
            assert (await outcome_of(store, after)).chunks == 2
            assert await texts(store, after) == ["0", "1"]


async def test_a_process_that_is_interrupted_while_it_sends_a_large_chunk_is_used_again(
    broker: WatchedBroker, store: BreakableStore
) -> None:
    async def pid() -> list[str]:
        each = task("pid")
        await submit(broker, store, each)
        assert (await outcome_of(store, each)).chunks == 1
        return await texts(store, each)

    with anyio.fail_after(2 * TIMEOUT):
        async with serving(Forked(), broker, store):
            before = await pid()
            for number in range(10):
                each = task("big 300000")
                await submit(broker, store, each)
                await stored(store, each, number + 1)
                assert await store.finish([cancellation(each)]) == [True]
                assert await pid() == before


async def test_others_run_between_two_chunks() -> None:
    model, turns = Async(), 0
    window = ChunkWindow(WakeupPool(), lambda _: None)

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await anyio.lowlevel.checkpoint()

    with anyio.fail_after(TIMEOUT):
        async with anyio.create_task_group() as tg:
            tg.start_soon(count)
            await Executor(model).stream(ModelARequest(messages="count 100").SerializeToString(), window)
            tg.cancel_scope.cancel()
    assert turns > 50


async def test_a_generator_that_waits_for_room_is_left(
    form_here: Form, broker: WatchedBroker, store: BreakableStore
) -> None:
    gate, model, each = anyio.Event(), form_here(), task("rush")
    store.before_append = gate.wait
    with anyio.fail_after(TIMEOUT):
        await submit(broker, store, each)
        async with serving(model, broker, store):
            await until(lambda: model.recorder.made == WINDOW_CHUNKS)
            assert await store.finish([cancellation(each)]) == [True]
            await until(lambda: model.recorder.left == 1)
            assert model.recorder.made == WINDOW_CHUNKS
            gate.set()


async def test_a_deadline_leaves_the_generator_and_the_task_expires(
    form: Form, broker: WatchedBroker, store: BreakableStore
) -> None:
    seconds = 5.0 if form.run_in_process else 1.0  # a process starts meanwhile
    model, each = form(), replace(task("rush"), deadline=time.time() + seconds)
    with anyio.fail_after(TIMEOUT):
        await submit(broker, store, each)
        async with serving(model, broker, store):
            outcome = await outcome_of(store, each)
            assert outcome.state is TaskState.EXPIRED
            if not model.run_in_process:
                await until(lambda: model.recorder.left == 1)
        assert await texts(store, each)


async def test_an_overtaken_run_leaves_its_generator_and_has_no_outcome(
    form_here: Form, broker: WatchedBroker, store: BreakableStore
) -> None:
    model, each = form_here(), task("rush")
    with anyio.fail_after(TIMEOUT):
        await submit(broker, store, each)
        async with serving(model, broker, store):
            await stored(store, each, 3)
            (start,) = await store.inner.start([each], OTHER, attempts=5)
            assert start.attempt == 2
            await until(lambda: model.recorder.left == 1)
            await until(lambda: broker.acked == [each.id])
        assert await texts(store, each) == []
        assert await ready_in(broker, ECHO) == 0


async def test_an_overtaken_run_that_yields_nothing_leaves_its_generator_too(
    form_here: Form, broker: WatchedBroker, store: BreakableStore
) -> None:
    model, each = form_here(), task("pause 1")
    with anyio.fail_after(TIMEOUT):
        await submit(broker, store, each)
        async with serving(model, broker, store):
            await stored(store, each, 1)
            await store.inner.start([each], OTHER, attempts=5)
            await until(lambda: model.recorder.left == 1)
            await until(lambda: broker.acked == [each.id])


async def test_an_error_comes_after_the_chunks_before_it(
    form: Form, broker: WatchedBroker, store: BreakableStore
) -> None:
    each = task("fail 3")
    with anyio.fail_after(TIMEOUT):
        await submit(broker, store, each)
        async with serving(form(), broker, store):
            outcome = await outcome_of(store, each)
            assert outcome.failure is not None
            assert (outcome.failure.type, outcome.failure.message) == ("ConnectionRefusedError", "no more")
            assert outcome.chunks == 3
            assert await texts(store, each) == ["0", "1", "2"]


async def test_a_chunk_of_another_message_fails_the_task(
    form: Form, broker: WatchedBroker, store: BreakableStore
) -> None:
    each = task("wrong")
    with anyio.fail_after(TIMEOUT):
        await submit(broker, store, each)
        async with serving(form(), broker, store):
            assert (await failure_of(store, each)).code == "wrong_response"
            assert await texts(store, each) == ["right"]


async def test_a_request_that_is_no_message_is_a_dead_letter(
    form: Form, broker: WatchedBroker, store: BreakableStore
) -> None:
    each = replace(task(), body=b"\xff")
    with anyio.fail_after(TIMEOUT):
        await submit(broker, store, each)
        async with serving(form(), broker, store):
            outcome = await outcome_of(store, each)
            assert (outcome.state, outcome.chunks) == (TaskState.DEAD, 0)
            await until(lambda: broker.acked == [each.id])
    letters = ModelName(dead_letter_queue(ECHO))
    depth = (await broker.depths([letters]))[letters]
    assert depth is not None
    assert depth.ready == 1


async def test_a_retried_run_begins_its_stream_again(
    form: Form, broker: WatchedBroker, store: BreakableStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(form, "retry", hub.Retry(on=(ConnectionRefusedError,), limit=1, first=0.01))
    each = task("flaky 3")
    with anyio.fail_after(TIMEOUT):
        await submit(broker, store, each)
        async with serving(form(), broker, store):
            outcome = await outcome_of(store, each)
            assert (outcome.state, outcome.attempt, outcome.chunks) == (TaskState.SUCCEEDED, 2, 3)
            assert await texts(store, each) == ["2 0", "2 1", "2 2"]


async def test_a_stream_above_its_limit_fails_with_a_code_of_its_own(
    form: Form, broker: WatchedBroker, store: BreakableStore
) -> None:
    model, each = form(), task("big 1000")
    with anyio.fail_after(TIMEOUT):
        await submit(broker, store, each)
        async with serving(model, broker, store, WorkerOptions(stream_limit=10_500)):
            outcome = await outcome_of(store, each)
            assert outcome.failure is not None
            assert (outcome.state, outcome.failure.code) == (TaskState.FAILED, "stream_too_large")
            assert "HUB_STREAM_LIMIT" in outcome.failure.message
            assert (outcome.chunks, len(await texts(store, each))) == (10, 10)
            if not model.run_in_process:
                await until(lambda: model.recorder.left == 1)


async def test_a_chunk_above_the_limit_of_a_result_fails_the_task(
    form: Form, broker: WatchedBroker, store: BreakableStore
) -> None:
    each = task("big 1000")
    with anyio.fail_after(TIMEOUT):
        await submit(broker, store, each)
        async with serving(form(), broker, store, WorkerOptions(result_limit=999)):
            failure = await failure_of(store, each)
            assert failure.code == "result_too_large"
            assert "1003 bytes, and 999 are allowed" in failure.message


async def test_chunks_wait_for_a_store_that_is_away(form: Form, broker: WatchedBroker, store: BreakableStore) -> None:
    each, number = task(f"count {4 * WINDOW_CHUNKS}"), 4 * WINDOW_CHUNKS

    async def away() -> None:
        store.down = True
        store.before_append = None

    store.before_append = away
    store.answers_lost = 2
    with anyio.fail_after(TIMEOUT):
        await submit(broker, store, each)
        async with serving(form(), broker, store):
            await until(lambda: store.down)
            await anyio.sleep(0.1)
            store.down = False
            assert (await outcome_of(store, each)).chunks == number
            assert await texts(store, each) == [str(index) for index in range(number)]


async def test_a_store_that_stays_away_hands_the_task_to_another_run(
    form: Form, broker: WatchedBroker, store: BreakableStore
) -> None:
    each = task("count 3")

    async def away() -> None:
        store.down = True

    store.before_append = away
    with anyio.fail_after(TIMEOUT):
        await submit(broker, store, each)
        async with serving(form(), broker, store, WorkerOptions(store_timeout=0.2)):
            await until(lambda: store.down)
            await until(lambda: broker.rejected == [each.id])
            store.before_append = None
            store.down = False
            outcome = await outcome_of(store, each)
            assert (outcome.state, outcome.attempt, outcome.chunks) == (TaskState.SUCCEEDED, 2, 3)
            assert await texts(store, each) == ["0", "1", "2"]


async def test_a_drain_lets_a_stream_finish(form: Form, broker: WatchedBroker, store: BreakableStore) -> None:
    gate, each = anyio.Event(), task(f"count {3 * WINDOW_CHUNKS}")
    store.before_append = gate.wait
    with anyio.fail_after(TIMEOUT):
        await submit(broker, store, each)
        async with serving(form(), broker, store) as worker:
            await until(lambda: worker.statistics().attempts == 1)
            worker.stop()
            gate.set()
    outcome = await outcome_of(store, each)
    assert (outcome.state, outcome.chunks, outcome.attempt) == (TaskState.SUCCEEDED, 3 * WINDOW_CHUNKS, 1)


async def test_what_does_not_finish_in_a_drain_begins_again_elsewhere(
    form: Form, broker: WatchedBroker, store: BreakableStore
) -> None:
    each = task("stall 3")
    with anyio.fail_after(TIMEOUT):
        await submit(broker, store, each)
        async with serving(form(), broker, store, WorkerOptions(drain_grace=0.0)):
            await stored(store, each, 3)
        assert await ready_in(broker, ECHO) == 1
        async with serving(form(), broker, store, instance=OTHER, options=WorkerOptions(drain_grace=0.0)):
            page = await store.chunks(each.id)
            while isinstance(page, ChunkPage) and (page.attempt, page.total) != (2, 3):
                page = await store.chunks(each.id, page.last, beyond=page.revision)
            await store.finish([cancellation(each)])


async def test_a_process_that_dies_in_a_stream_is_replaced_and_the_stream_begins_again(
    broker: WatchedBroker, store: BreakableStore
) -> None:
    each = task("die 3")
    with anyio.fail_after(TIMEOUT):
        await submit(broker, store, each)
        async with serving(Forked(), broker, store):
            outcome = await outcome_of(store, each)
            assert (outcome.state, outcome.attempt, outcome.chunks) == (TaskState.SUCCEEDED, 2, 3)
            assert await texts(store, each) == ["2 0", "2 1", "2 2"]


async def test_chunks_of_several_runs_share_an_append(broker: WatchedBroker, store: BreakableStore) -> None:
    gate, model = anyio.Event(), Shared()
    store.before_append = gate.wait
    tasks = [task("count 10") for _ in range(3)]
    with anyio.fail_after(TIMEOUT):
        await submit(broker, store, *tasks)
        async with serving(model, broker, store):
            await until(lambda: model.recorder.made == 30)
            gate.set()
            for each in tasks:
                assert (await outcome_of(store, each)).chunks == 10
    assert max(map(len, store.appends)) > 1
