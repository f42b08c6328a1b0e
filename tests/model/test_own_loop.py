"""The event loop of its own that an async model's code runs in."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from math import inf
from threading import Event as ThreadEvent, get_ident

import anyio
import anyio.lowlevel
import pytest
import trio

from hub.concurrency.exceptions import collapse_exception_group
from hub.model.execution import own_loop
from hub.model.execution.own_loop import ModelLoopEnded, OwnLoop
from tests.model.fakes import TIMEOUT

_word: ContextVar[str] = ContextVar("word")


async def where() -> int:
    await anyio.lowlevel.checkpoint()
    return get_ident()


async def test_calls_run_in_one_thread_that_is_not_the_callers() -> None:
    with anyio.fail_after(TIMEOUT):
        async with OwnLoop("M") as loop:
            threads = {await loop.call(where) for _ in range(3)}
    assert len(threads) == 1
    assert get_ident() not in threads


async def test_calls_run_concurrently_and_each_gets_its_own_result() -> None:
    met = 0

    async def meet(number: int) -> int:
        nonlocal met
        met += 1
        while met < 200:
            await anyio.lowlevel.checkpoint()
        return number

    results: dict[int, int] = {}

    async def one(loop: OwnLoop, number: int) -> None:
        results[number] = await loop.call(meet, number)

    with anyio.fail_after(TIMEOUT):
        async with OwnLoop("M") as loop, anyio.create_task_group() as tg:
            for number in range(200):
                tg.start_soon(one, loop, number)
    assert results == {number: number for number in range(200)}


async def test_a_call_that_computes_does_not_hold_the_callers_loop() -> None:
    release = ThreadEvent()

    async def compute() -> str:
        release.wait(TIMEOUT)
        return "done"

    async def let_go() -> None:
        for _ in range(100):  # each of these needs the caller's loop
            await anyio.lowlevel.checkpoint()
        release.set()

    with anyio.fail_after(TIMEOUT):
        async with OwnLoop("M") as loop, anyio.create_task_group() as tg:
            tg.start_soon(let_go)
            assert await loop.call(compute) == "done"


async def test_context_variables_are_copied_into_the_loop() -> None:
    async def read() -> str:
        return _word.get()

    with anyio.fail_after(TIMEOUT):
        async with OwnLoop("M") as loop:
            _word.set("first")
            assert await loop.call(read) == "first"
            _word.set("second")
            assert await loop.call(read) == "second"


class Boom(BaseException):
    pass


@pytest.mark.parametrize(
    "error", [ValueError("no such voice"), Boom("b"), SystemExit(3), KeyboardInterrupt(), GeneratorExit()]
)
async def test_an_error_of_a_call_is_raised_at_the_caller_and_the_loop_continues(error: BaseException) -> None:
    async def fail() -> None:
        raise error

    with anyio.fail_after(TIMEOUT):
        async with OwnLoop("M") as loop:
            with pytest.raises(type(error)) as caught:
                await loop.call(fail)
            assert caught.value is error
            assert await loop.call(where) != get_ident()


async def test_a_cancelled_caller_cancels_the_call_and_waits_for_its_cleanup() -> None:
    log: list[str] = []

    async def wait_for_ever() -> None:
        try:
            log.append("began")
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.lowlevel.checkpoint()
            log.append("cleaned up")

    with anyio.fail_after(TIMEOUT):
        async with OwnLoop("M") as loop:
            async with anyio.create_task_group() as tg:
                tg.start_soon(loop.call, wait_for_ever)
                while not log:
                    await anyio.lowlevel.checkpoint()
                tg.cancel_scope.cancel()
            assert log == ["began", "cleaned up"]


async def test_a_call_that_was_cancelled_before_it_started_does_not_run() -> None:
    ran: list[int] = []

    async def note() -> None:
        await anyio.sleep_forever()
        ran.append(1)

    with anyio.fail_after(TIMEOUT):
        async with OwnLoop("M") as loop:
            for _ in range(100):
                with anyio.CancelScope() as scope:
                    scope.cancel()
                    await loop.call(note)
                assert scope.cancelled_caught
            assert await loop.call(where)
    assert not ran


async def test_the_result_of_a_cancelled_call_counts() -> None:
    began = ThreadEvent()

    async def stubborn() -> str:
        began.set()
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():  # noqa: ASYNC103 - a model may do that
            return "the result"  # noqa: ASYNC104
        raise AssertionError

    results: list[str] = []
    scope = anyio.CancelScope()

    async def call(loop: OwnLoop) -> None:
        with scope:
            results.append(await loop.call(stubborn))

    with anyio.fail_after(TIMEOUT):
        async with OwnLoop("M") as loop, anyio.create_task_group() as tg:
            tg.start_soon(call, loop)
            while not began.is_set():  # a call that was cancelled before it began does not run
                await anyio.sleep(0.001)
            scope.cancel()
    assert results == ["the result"]


async def test_a_cancelled_call_that_computes_is_abandoned_and_reports_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_loop, "CANCEL_GRACE", 0.01)
    release, began = ThreadEvent(), ThreadEvent()
    left: list[anyio.Event] = []

    async def compute() -> None:
        began.set()
        release.wait(TIMEOUT)

    async def cancel_it(loop: OwnLoop) -> None:
        async with anyio.create_task_group() as tg:

            async def call() -> None:
                await loop.call(compute, on_abandoned=left.append)

            tg.start_soon(call)
            while not began.is_set():
                await anyio.lowlevel.checkpoint()
            tg.cancel_scope.cancel()

    with anyio.fail_after(TIMEOUT):
        async with OwnLoop("M") as loop:
            await cancel_it(loop)
            assert len(left) == 1
            assert not left[0].is_set()
            release.set()
            await left[0].wait()


async def test_the_deadline_of_the_caller_applies_in_the_loop() -> None:
    async def remaining() -> float:
        return anyio.current_effective_deadline() - anyio.current_time()

    with anyio.fail_after(TIMEOUT):
        async with OwnLoop("M") as loop:
            with anyio.fail_after(10):
                assert 5 < await loop.call(remaining) < 11
    with anyio.CancelScope():
        async with OwnLoop("M") as loop:
            assert await loop.call(remaining) == inf


async def test_a_cancellation_that_the_model_lets_escape_is_an_error_of_the_call() -> None:
    async def stray() -> None:
        raise asyncio.CancelledError

    with anyio.fail_after(TIMEOUT):
        async with OwnLoop("M") as loop:
            with pytest.raises(asyncio.CancelledError):
                await loop.call(stray)


async def test_calls_of_a_loop_that_code_has_stopped_fail_and_so_does_the_block() -> None:
    async def stop_the_loop() -> None:
        if asyncio.events._get_running_loop() is None:
            trio.lowlevel.spawn_system_task(crash)
            await trio.sleep_forever()
        asyncio.get_running_loop().stop()
        await anyio.sleep_forever()

    async def crash() -> None:
        raise SystemExit(3)

    with (
        anyio.fail_after(TIMEOUT),
        pytest.raises(ModelLoopEnded, match="event loop of model M"),
        collapse_exception_group(),
    ):
        async with OwnLoop("M") as loop:
            await loop.call(stop_the_loop)


async def test_leaving_the_block_cancels_what_still_runs() -> None:
    ended = ThreadEvent()

    async def linger() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.set()

    async def call(loop: OwnLoop, began: anyio.Event) -> None:
        began.set()
        with pytest.raises(ModelLoopEnded):
            await loop.call(linger)

    with anyio.fail_after(TIMEOUT):
        async with anyio.create_task_group() as tg:
            async with OwnLoop("M") as loop:
                began = anyio.Event()
                tg.start_soon(call, loop, began)  # noqa: ASYNC111 - the call is to be there still when the block ends
                await began.wait()
                await loop.call(where)
    assert ended.is_set()


async def test_a_block_whose_thread_computes_ends_after_its_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_loop, "CANCEL_GRACE", 0.01)
    monkeypatch.setattr(own_loop, "END_GRACE", 0.05)
    release, began = ThreadEvent(), ThreadEvent()

    async def compute() -> None:
        began.set()
        release.wait(TIMEOUT)

    async def leave(loop: OwnLoop) -> None:
        async with anyio.create_task_group() as tg:
            tg.start_soon(loop.call, compute)
            while not began.is_set():
                await anyio.lowlevel.checkpoint()
            tg.cancel_scope.cancel()

    with anyio.fail_after(TIMEOUT):
        async with OwnLoop("M") as loop:
            await leave(loop)
    release.set()


async def test_cancelling_at_any_moment_leaves_nothing_behind() -> None:
    for checkpoints in range(25):
        with anyio.fail_after(TIMEOUT), anyio.CancelScope() as scope:

            async def cancel_later(after: int = checkpoints, scope: anyio.CancelScope = scope) -> None:
                for _ in range(after):
                    await anyio.lowlevel.checkpoint()
                scope.cancel()

            async with anyio.create_task_group() as tg:
                tg.start_soon(cancel_later)
                async with OwnLoop("M") as loop:
                    while True:
                        await loop.call(where)


async def test_what_a_call_sets_in_its_context_does_not_reach_the_next_call() -> None:
    async def change(word: str) -> str:
        before = _word.get("none")
        _word.set(word)
        await anyio.lowlevel.checkpoint()
        async with anyio.create_task_group() as tg:  # noqa: ASYNC112 - a task that it starts has its variables
            tg.start_soon(check, word)
        assert await anyio.to_thread.run_sync(_word.get) == word
        return before

    async def check(word: str) -> None:
        await anyio.lowlevel.checkpoint()
        assert _word.get() == word

    with anyio.fail_after(TIMEOUT):
        async with OwnLoop("M") as loop:
            assert [await loop.call(change, word) for word in ("one", "two")] == ["none", "none"]


async def test_an_error_that_is_thrown_into_a_call_arrives_where_it_waits() -> None:
    caught: list[type[BaseException]] = []

    async def wait(began: ThreadEvent) -> str:
        began.set()
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class() as error:
            caught.append(type(error))
            raise
        return "never"

    with anyio.fail_after(TIMEOUT):
        async with OwnLoop("M") as loop:
            for _ in range(3):
                began = ThreadEvent()
                async with anyio.create_task_group() as tg:
                    tg.start_soon(loop.call, wait, began)
                    await anyio.to_thread.run_sync(began.wait)
                    tg.cancel_scope.cancel("it waits")
            assert await loop.call(where) != get_ident()
    assert caught == [anyio.get_cancelled_exc_class()] * 3


async def test_a_model_that_cancels_its_own_task_as_it_returns_does_not_disturb_the_next_call(
    anyio_backend_name: str,
) -> None:
    async def cancel_and_return() -> str:
        await anyio.lowlevel.checkpoint()
        if anyio_backend_name == "asyncio":
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
        else:
            anyio.CancelScope().cancel()
        return "returned"

    with anyio.fail_after(TIMEOUT):
        async with OwnLoop("M") as loop:
            for _ in range(5):
                assert await loop.call(cancel_and_return) == "returned"
                assert await loop.call(where) != get_ident()
            async with anyio.create_task_group() as tg:
                for _ in range(20):
                    tg.start_soon(loop.call, cancel_and_return)
                    tg.start_soon(loop.call, where)


async def test_calls_one_after_the_other_share_a_task() -> None:
    async def task() -> int:
        await anyio.lowlevel.checkpoint()
        return anyio.get_current_task().id

    with anyio.fail_after(TIMEOUT):
        async with OwnLoop("M") as loop:
            assert len({await loop.call(task) for _ in range(10)}) == 1
