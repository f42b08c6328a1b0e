"""Big work leaves the event loop, within bounds."""

from __future__ import annotations

import threading
from functools import partial

import anyio
import anyio.lowlevel
import pytest
from anyio import CancelScope, create_task_group, fail_after
from anyio.from_thread import run_sync as run_in_loop

from hub.concurrency.offload import LARGE, THREADS, in_thread_if_large

pytestmark = pytest.mark.usefixtures("no_leaked_tasks")


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> object:
    """In real time, which passes in threads too."""
    return request.param


class Work:
    """Calls that wait in their threads until they are let go."""

    def __init__(self) -> None:
        self.running = 0
        self.most = 0
        self.began = anyio.Event()
        self.go_on = threading.Event()

    def __call__(self) -> int:
        run_in_loop(self._begin)
        assert self.go_on.wait(10)
        run_in_loop(self._end)
        return threading.get_ident()

    def _begin(self) -> None:
        self.running += 1
        self.most = max(self.most, self.running)
        self.began.set()

    def _end(self) -> None:
        self.running -= 1


@pytest.mark.parametrize("size", [0, LARGE - 1])
async def test_small_work_is_done_at_once_where_it_is(size: int) -> None:
    with CancelScope() as scope:
        scope.cancel()  # which a checkpoint would notice
        assert await in_thread_if_large(size, threading.get_ident) == threading.get_ident()


async def test_large_work_is_done_in_a_thread_while_the_loop_goes_on() -> None:
    work = Work()
    found: list[int] = []

    async def carry_out() -> None:
        found.append(await in_thread_if_large(LARGE, work))

    with fail_after(10):
        async with create_task_group() as tg:
            tg.start_soon(carry_out)
            await work.began.wait()  # set by the thread, and seen by this one while that still works
            assert found == []
            work.go_on.set()
    assert found
    assert found != [threading.get_ident()]


async def test_an_error_of_the_work_is_the_callers() -> None:
    def fail() -> None:
        raise LookupError("no such thing")

    with fail_after(10), pytest.raises(LookupError, match="no such thing"):
        await in_thread_if_large(LARGE, fail)


async def test_no_more_than_a_few_threads_work_at_a_time() -> None:
    work = Work()
    with fail_after(10):
        async with create_task_group() as tg:
            for _ in range(THREADS * 3):
                tg.start_soon(partial(in_thread_if_large, LARGE, work))
            await work.began.wait()
            await anyio.lowlevel.checkpoint()
            work.go_on.set()
    assert 1 <= work.most <= THREADS
    assert work.running == 0


async def test_work_that_is_abandoned_keeps_its_thread_until_it_has_ended() -> None:
    """And so it is bounded, whoever hangs up; what only waits for a thread leaves at once."""
    work, later = Work(), Work()
    ended: list[str] = []

    async def abandoned(scope: CancelScope, what: Work, name: str) -> None:
        with scope:
            await in_thread_if_large(LARGE, what)
        ended.append(name)

    with fail_after(10):
        scopes = [CancelScope() for _ in range(THREADS)]
        waiting = CancelScope()
        async with create_task_group() as tg:
            for scope in scopes:
                tg.start_soon(abandoned, scope, work, "working")
            while work.running < THREADS:
                await anyio.lowlevel.checkpoint()
            tg.start_soon(abandoned, waiting, later, "waiting")
            await anyio.wait_all_tasks_blocked()
            for scope in (*scopes, waiting):
                scope.cancel()
            await anyio.wait_all_tasks_blocked()
            assert ended == ["waiting"]
            assert work.running == THREADS
            assert not later.began.is_set()
            work.go_on.set()
    assert ended == ["waiting", *["working"] * THREADS]
    assert work.running == 0
