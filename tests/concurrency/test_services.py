from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial

import anyio
import anyio.lowlevel
import pytest
from anyio import TASK_STATUS_IGNORED, CancelScope, create_task_group, fail_after, sleep_forever
from anyio.abc import TaskStatus
from structlog.testing import capture_logs

from hub.concurrency import services
from hub.concurrency.services import ServiceEnded, background_service, hold_open
from hub.errors import ConnectionLost, ConnectionRefused

pytestmark = pytest.mark.usefixtures("no_leaked_tasks")


async def service(name: str, events: list[str], *, task_status: TaskStatus[str] = TASK_STATUS_IGNORED) -> None:
    events.append(f"{name} up")
    task_status.started(name)
    try:
        await sleep_forever()
    finally:
        events.append(f"{name} down")


async def test_services_stop_in_the_reverse_order_when_cancelled_from_outside() -> None:
    events: list[str] = []
    with fail_after(5):
        async with create_task_group() as tg:

            async def nest(*, task_status: TaskStatus[None]) -> None:
                async with (
                    background_service(partial(service, "outer", events), name="outer") as outer,
                    background_service(partial(service, "inner", events), name="inner") as inner,
                ):
                    assert (outer, inner) == ("outer", "inner")
                    task_status.started()
                    try:
                        await sleep_forever()
                    finally:
                        with CancelScope(shield=True):
                            await anyio.wait_all_tasks_blocked()
                        events.append("body down")

            await tg.start(nest)
            tg.cancel_scope.cancel()
    assert events == ["outer up", "inner up", "body down", "inner down", "outer down"]


async def test_an_error_of_a_service_cancels_the_block() -> None:
    events: list[str] = []

    async def dying(*, task_status: TaskStatus[None]) -> None:
        task_status.started()
        await anyio.lowlevel.checkpoint()
        raise RuntimeError("died")

    with fail_after(5), pytest.raises(ExceptionGroup) as caught:
        async with (
            background_service(partial(service, "outer", events), name="outer"),
            background_service(dying, name="dying"),
        ):
            await sleep_forever()
    assert caught.group_contains(RuntimeError, match="died")
    assert events == ["outer up", "outer down"]


async def test_a_service_that_is_not_up_yet_is_cancelled_at_once() -> None:
    async def never_up(**_: object) -> None:
        await sleep_forever()

    with fail_after(5), anyio.move_on_after(0.05) as scope:
        async with background_service(never_up, name="never up"):
            pytest.fail("the block must not be entered")
    assert scope.cancelled_caught


async def test_an_error_before_a_service_is_up_is_raised() -> None:
    async def broken(**_: object) -> None:
        raise RuntimeError("cannot start")

    with fail_after(5), pytest.raises(ExceptionGroup) as caught:
        async with background_service(broken, name="broken"):
            pytest.fail("the block must not be entered")
    assert caught.group_contains(RuntimeError, match="cannot start")


async def test_a_service_that_takes_long_to_end_is_named_in_the_log(
    second: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "STOP_REPORT", 10 * second)

    async def slow(*, task_status: TaskStatus[None]) -> None:
        task_status.started()
        try:
            await sleep_forever()
        finally:
            with CancelScope(shield=True):
                await anyio.sleep(25 * second)

    with capture_logs() as lines:
        async with (
            background_service(slow, name="slow"),
            background_service(partial(service, "quick", []), name="quick"),
        ):
            pass
    assert [line["service"] for line in lines] == ["slow", "slow"]


async def test_a_service_that_returns_while_it_is_needed_cancels_the_block() -> None:
    events: list[str] = []
    done = anyio.Event()

    async def returns(*, task_status: TaskStatus[None]) -> None:
        task_status.started()
        await done.wait()

    with fail_after(5), pytest.RaisesGroup(pytest.RaisesExc(ServiceEnded, match="the worker ended while it was still")):
        async with background_service(returns, name="the worker"):
            try:
                done.set()
                await sleep_forever()
            finally:
                events.append("block cancelled")
    assert events == ["block cancelled"]


async def test_a_service_that_returns_while_its_block_drains_is_an_error_too() -> None:
    async def returns_early(*, task_status: TaskStatus[None]) -> None:
        task_status.started()
        await drains.wait()

    drains = anyio.Event()
    with fail_after(5), pytest.RaisesGroup(ServiceEnded):
        with CancelScope() as scope:
            async with background_service(returns_early, name="connection"):
                scope.cancel()
                try:
                    await sleep_forever()
                finally:
                    drains.set()
                    with CancelScope(shield=True):
                        await anyio.wait_all_tasks_blocked()


async def test_a_service_may_return_when_it_is_stopped() -> None:
    async def swallows_its_cancellation(*, task_status: TaskStatus[None]) -> None:
        task_status.started()
        with anyio.move_on_after(0):
            await sleep_forever()
        with CancelScope() as scope:
            scope.cancel()
            await sleep_forever()
        with anyio.CancelScope(shield=True):
            await stopped.wait()

    stopped = anyio.Event()
    with fail_after(5):
        async with background_service(swallows_its_cancellation, name="service"):
            stopped.set()


async def test_a_resource_stays_open_while_its_block_drains() -> None:
    events: list[str] = []

    @asynccontextmanager
    async def resource() -> AsyncGenerator[str]:
        async with create_task_group() as tg:
            await tg.start(service, "background task", events)
            yield "open"
            tg.cancel_scope.cancel()

    with fail_after(5):
        async with create_task_group() as tg:

            async def use(*, task_status: TaskStatus[None]) -> None:
                async with hold_open(resource, name="resource") as value:
                    assert value == "open"
                    task_status.started()
                    try:
                        await sleep_forever()
                    finally:
                        with CancelScope(shield=True):
                            await anyio.wait_all_tasks_blocked()
                        events.append("drained")

            await tg.start(use)
            tg.cancel_scope.cancel()
    assert events == ["background task up", "drained", "background task down"]


async def test_opening_is_retried() -> None:
    tries = 0

    @asynccontextmanager
    async def resource() -> AsyncGenerator[int]:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise ConnectionLost("server", "refused")
        yield tries

    with fail_after(10):
        async with hold_open(resource, name="resource", retry_for=60) as value:
            assert value == 3


async def test_without_time_to_retry_opening_is_attempted_once() -> None:
    reachable = False

    @asynccontextmanager
    async def resource() -> AsyncGenerator[None]:
        if not reachable:
            raise ConnectionLost("server", "refused")
        yield

    with fail_after(5), pytest.raises(ExceptionGroup) as caught:
        async with hold_open(resource, name="resource"):
            pytest.fail("the block must not be entered")
    assert caught.group_contains(ConnectionLost)


async def test_an_opening_without_an_answer_is_cancelled_when_the_time_is_over(second: float) -> None:
    @asynccontextmanager
    async def mute() -> AsyncGenerator[None]:
        await sleep_forever()
        yield

    with pytest.RaisesGroup(pytest.RaisesExc(ConnectionLost, match="to store lost: no answer within")):
        async with hold_open(mute, name="store", retry_for=6 * second):
            pytest.fail("it does not open")


async def test_a_refusal_is_not_retried() -> None:
    attempts = 0

    @asynccontextmanager
    async def refusing() -> AsyncGenerator[None]:
        nonlocal attempts
        attempts += 1
        if attempts:
            raise (
                ConnectionRefused("server", "wrong password") if attempts == 3 else ConnectionLost("server", "no route")
            )
        yield

    with fail_after(10), pytest.RaisesGroup(pytest.RaisesExc(ConnectionRefused, match="wrong password")):
        async with hold_open(refusing, name="store", retry_for=600):
            pytest.fail("it does not open")
    assert attempts == 3


async def test_a_resource_that_is_lost_is_not_opened_again() -> None:
    opened = 0
    broken = anyio.Event()

    @asynccontextmanager
    async def breaks() -> AsyncGenerator[None]:
        nonlocal opened
        opened += 1
        async with create_task_group() as tg:

            async def lose() -> None:
                await broken.wait()
                raise ConnectionLost("server", "restarts")

            tg.start_soon(lose)
            yield

    with fail_after(10), pytest.RaisesGroup(pytest.RaisesExc(ConnectionLost, match="restarts"), flatten_subgroups=True):
        async with hold_open(breaks, name="store", retry_for=600):
            broken.set()
            await sleep_forever()
    assert opened == 1
