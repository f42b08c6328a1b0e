"""Differences between anyio on asyncio and on trio that hub depends on, or works around: docs/concurrency/backends.md.

A test that fails here after an upgrade means that a difference is gone: then the page, and the code that it links to, are out of date.
"""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import sys
import threading
import time
import warnings
import weakref
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from inspect import signature
from pathlib import Path
from typing import Final

import anyio
import pytest
import trio
from anyio import CancelScope, CapacityLimiter, create_task_group, current_time, fail_after, move_on_after, sleep
from anyio.abc import SocketAttribute, SocketListener, SocketStream
from anyio.lowlevel import cancel_shielded_checkpoint, checkpoint
from anyio.to_thread import run_sync

from hub.types import Backend
from tests.support.backends import ASYNCIO, TRIO

TIMEOUT: Final = 30.0
RESET_ON_CLOSE: Final = b"\x01\x00\x00\x00\x00\x00\x00\x00"
"""SO_LINGER with a time of 0."""


@pytest.fixture(params=[ASYNCIO, TRIO], ids=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> object:
    """In real time: threads and sockets do not wait for a virtual clock."""
    return request.param


@pytest.fixture
def on_trio(anyio_backend_name: str) -> bool:
    return anyio_backend_name == "trio"


# Cancellation


async def test_a_checkpoint_after_a_missed_deadline_passes_once_on_asyncio(on_trio: bool) -> None:
    passed = False
    with move_on_after(0.01) as scope:
        time.sleep(0.02)  # noqa: ASYNC251 - code that computes past its deadline
        await checkpoint()
        passed = True
        await sleep(TIMEOUT)
    assert scope.cancelled_caught
    assert passed is not on_trio


def test_uvloop_cancels_a_checkpoint_after_a_missed_deadline_as_trio_does() -> None:
    async def main() -> bool:
        with move_on_after(0.01):
            time.sleep(0.02)  # noqa: ASYNC251 - code that computes past its deadline
            await checkpoint()
            return True
        return False

    assert anyio.run(main, backend="asyncio")
    assert not anyio.run(main, backend="asyncio", backend_options={"use_uvloop": True})


async def test_a_scope_does_not_know_on_asyncio_that_its_deadline_has_passed_until_the_loop_runs(on_trio: bool) -> None:
    with move_on_after(0.01) as scope:
        time.sleep(0.02)  # noqa: ASYNC251 - code that computes past its deadline
        known = scope.cancel_called
        await sleep(TIMEOUT)
    assert known is on_trio


async def test_the_end_of_a_task_group_raises_a_cancellation_on_asyncio_only(on_trio: bool) -> None:
    reached = False

    async def shielded() -> None:
        with CancelScope(shield=True):
            await sleep(0.01)

    with fail_after(TIMEOUT), CancelScope() as scope:
        async with create_task_group() as tg:
            tg.start_soon(shielded)
            await cancel_shielded_checkpoint()
            scope.cancel()
        reached = True
    assert reached is on_trio


async def test_code_can_make_a_cancellation_on_asyncio_only(on_trio: bool) -> None:
    cancelled = anyio.get_cancelled_exc_class()  # noqa: ASYNC118 - the class is compared, not caught
    if on_trio:
        with pytest.raises(TypeError, match="no public constructor"):
            cancelled()
    else:
        assert isinstance(cancelled(), cancelled)


async def test_a_task_can_be_cancelled_once_by_the_means_of_asyncio(on_trio: bool) -> None:
    if on_trio:
        assert not hasattr(trio.lowlevel.current_task(), "cancel")
        return
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await checkpoint()
    await checkpoint()  # it is an event, not a state: the next checkpoint passes
    task.uncancel()


async def test_the_reason_of_a_cancellation_is_in_its_text_on_asyncio_and_an_attribute_on_trio(on_trio: bool) -> None:
    caught: list[BaseException] = []
    with CancelScope() as scope:
        scope.cancel("the client has gone")
        try:
            await checkpoint()
        except anyio.get_cancelled_exc_class() as cancellation:
            caught.append(cancellation)
            raise
    if on_trio:
        assert getattr(caught[0], "reason", None) == "the client has gone"
    else:
        assert not hasattr(caught[0], "reason")
        assert "the client has gone" in str(caught[0])
        assert ".py" in str(caught[0]), "the file of the task that cancelled"


def test_an_exit_in_a_task_ends_the_loop_of_asyncio_also_if_it_is_caught() -> None:
    async def leave() -> None:
        raise SystemExit(3)

    async def main() -> str:
        try:
            async with create_task_group() as tg:  # noqa: ASYNC112 - the group is what is shown
                tg.start_soon(leave)
        except BaseExceptionGroup:
            return "caught"
        return "not raised"

    with pytest.raises(SystemExit):
        anyio.run(main, backend="asyncio")
    assert anyio.run(main, backend="trio") == "caught"


# Tasks and time


async def test_tasks_of_one_turn_run_in_an_order_of_chance_on_trio(on_trio: bool) -> None:
    orders: set[tuple[int, ...]] = set()
    for _ in range(100):
        order: list[int] = []

        async def note(number: int, order: list[int] = order) -> None:
            order.append(number)

        async with create_task_group() as tg:
            for number in range(3):
                tg.start_soon(note, number)
        orders.add(tuple(order))
    assert (orders != {(0, 1, 2)}) is on_trio


def test_two_loops_share_a_clock_on_asyncio_only() -> None:
    async def now() -> float:
        return current_time() - time.monotonic()

    def differ(backend: Backend) -> bool:
        return abs(anyio.run(now, backend=backend) - anyio.run(now, backend=backend)) > 1

    assert not differ("asyncio")
    assert any(differ("trio") for _ in range(3))  # each run begins at a time of chance


def test_a_clock_is_an_argument_on_trio_only() -> None:
    assert "clock" in signature(trio.run).parameters
    assert "clock" not in signature(asyncio.Runner).parameters
    assert "clock" not in signature(asyncio.new_event_loop).parameters


# Threads and processes


async def test_an_abandoned_thread_keeps_its_place_in_the_limiter_on_trio_only(on_trio: bool) -> None:
    limiter, end = CapacityLimiter(1), threading.Event()
    with move_on_after(0.05):
        await run_sync(end.wait, limiter=limiter, abandon_on_cancel=True)
    try:
        assert limiter.borrowed_tokens == (1 if on_trio else 0)
    finally:
        end.set()


async def test_python_waits_at_its_exit_for_worker_threads_of_asyncio_only(on_trio: bool) -> None:
    thread = await run_sync(threading.current_thread)
    assert thread.daemon is on_trio


def children_of_main_thread() -> list[str]:
    return Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()


async def test_a_worker_thread_starts_processes_on_trio_and_the_main_thread_on_asyncio(on_trio: bool) -> None:
    async with await anyio.open_process([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        try:
            assert (str(process.pid) in children_of_main_thread()) is not on_trio
        finally:
            process.kill()


# Sockets


@asynccontextmanager
async def connection() -> AsyncGenerator[tuple[SocketStream, SocketStream]]:
    """Both ends of a connection; the first one has connected, the second one was accepted."""
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        (listening,) = listener.listeners
        assert isinstance(listening, SocketListener)
        port = listening.extra(SocketAttribute.local_port)
        async with await anyio.connect_tcp("127.0.0.1", port) as client, await listening.accept() as server:
            yield client, server


async def reset(server: SocketStream) -> None:
    server.extra(SocketAttribute.raw_socket).setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    await server.aclose()
    await sleep(0.05)


async def test_the_end_of_a_stream_that_was_reset_is_an_error_of_the_system_on_trio_and_none_on_asyncio(
    on_trio: bool,
) -> None:
    with fail_after(TIMEOUT):
        async with connection() as (client, server):
            await reset(server)
            if on_trio:
                with pytest.raises(OSError, match="not connected"):
                    await client.send_eof()
            else:
                await client.send_eof()


async def test_a_socket_that_was_reset_is_closed_at_once_on_asyncio_only(on_trio: bool) -> None:
    with fail_after(TIMEOUT):
        async with connection() as (client, server):
            raw = client.extra(SocketAttribute.raw_socket)
            await reset(server)
            with pytest.raises(anyio.BrokenResourceError):
                await client.receive()
            await sleep(0.05)
            assert (raw.fileno() == -1) is not on_trio


async def test_what_an_accepted_stream_has_not_asked_for_is_read_into_memory_on_asyncio_only(on_trio: bool) -> None:
    sent = anyio.Event()
    with fail_after(TIMEOUT):
        async with connection() as (client, _server), create_task_group() as tg:  # nothing is received

            async def send() -> None:
                for _ in range(32):  # MiB, more than the kernel keeps
                    await client.send(bytes(1 << 20))
                sent.set()

            tg.start_soon(send)
            with move_on_after(0.3 if on_trio else TIMEOUT):
                await sent.wait()
            tg.cancel_scope.cancel()
    assert sent.is_set() is not on_trio


async def test_a_cancelled_wait_for_a_socket_is_part_of_a_reference_cycle_on_trio_only(on_trio: bool) -> None:
    class Request:
        pass

    async def read(stream: SocketStream) -> weakref.ref[Request]:
        async def receive(request: Request) -> None:
            await stream.receive()
            del request

        held = Request()
        with move_on_after(0.01):
            await receive(held)
        return weakref.ref(held)

    with fail_after(TIMEOUT):
        async with connection() as (client, _server):
            gc.collect()
            gc.disable()
            try:
                kept = await read(client)
                await sleep(0.01)
                assert (kept() is not None) is on_trio
            finally:
                gc.enable()


# Generators


async def test_a_generator_that_is_left_open_can_await_in_its_cleanup_on_asyncio_only(on_trio: bool) -> None:
    ended: list[str] = []

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            try:
                await checkpoint()  # noqa: ASYNC102 - what happens without the shield is shown
                ended.append("cleaned up")
            except anyio.get_cancelled_exc_class():
                ended.append("cancelled")
                raise

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        async for _ in numbers():
            break
        gc.collect()
        await sleep(0.01)
        gc.collect()
    if on_trio:
        assert ended == ["cancelled"]
        assert [each.category for each in caught] == [ResourceWarning]
    else:
        assert ended == ["cleaned up"]
        assert caught == []
