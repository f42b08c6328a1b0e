from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from textwrap import dedent

import anyio
import anyio.lowlevel
import pytest
import trio.testing
from anyio import TASK_STATUS_IGNORED, CancelScope, create_task_group, fail_after, sleep_forever
from anyio.abc import TaskStatus
from structlog.testing import capture_logs

from hub.concurrency.services import background_service, hold_open
from hub.errors import ConnectionLost

leaves_nothing = pytest.mark.usefixtures("no_leaked_tasks")


async def component(name: str, events: list[str], *, task_status: TaskStatus[str] = TASK_STATUS_IGNORED) -> None:
    events.append(f"{name} up")
    task_status.started(name)
    try:
        await sleep_forever()
    finally:
        events.append(f"{name} down")


@leaves_nothing
async def test_components_stop_in_the_reverse_order_when_cancelled_from_outside() -> None:
    events: list[str] = []
    with fail_after(5):
        async with create_task_group() as tg:

            async def nest(*, task_status: TaskStatus[None]) -> None:
                async with (
                    background_service(partial(component, "outer", events), name="outer") as outer,
                    background_service(partial(component, "inner", events), name="inner") as inner,
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


@leaves_nothing
async def test_a_component_that_dies_takes_the_block_with_it() -> None:
    events: list[str] = []

    async def dying(*, task_status: TaskStatus[None]) -> None:
        task_status.started()
        await anyio.lowlevel.checkpoint()
        raise RuntimeError("died")

    with fail_after(5), pytest.raises(ExceptionGroup) as caught:
        async with (
            background_service(partial(component, "outer", events), name="outer"),
            background_service(dying, name="dying"),
        ):
            await sleep_forever()
    assert caught.group_contains(RuntimeError, match="died")
    assert events == ["outer up", "outer down"]


@leaves_nothing
async def test_a_component_that_is_not_up_yet_does_not_hold_up_a_cancellation() -> None:
    async def never_up(**_: object) -> None:
        await sleep_forever()

    with fail_after(5), anyio.move_on_after(0.05) as scope:
        async with background_service(never_up, name="never up"):
            pytest.fail("the block must not be entered")
    assert scope.cancelled_caught


@leaves_nothing
async def test_a_component_that_cannot_start_is_reported() -> None:
    async def broken(**_: object) -> None:
        raise RuntimeError("cannot start")

    with fail_after(5), pytest.raises(ExceptionGroup) as caught:
        async with background_service(broken, name="broken"):
            pytest.fail("the block must not be entered")
    assert caught.group_contains(RuntimeError, match="cannot start")


@pytest.mark.parametrize("anyio_backend", [("trio", {"clock": trio.testing.MockClock(autojump_threshold=0)})])
async def test_a_component_that_takes_long_to_end_is_named(anyio_backend: object) -> None:  # noqa: ARG001 - in virtual time
    async def slow(*, task_status: TaskStatus[None]) -> None:
        task_status.started()
        try:
            await sleep_forever()
        finally:
            with CancelScope(shield=True):
                await anyio.sleep(25)

    with capture_logs() as lines:
        async with (
            background_service(slow, name="slow"),
            background_service(partial(component, "quick", []), name="quick"),
        ):
            pass
    assert [(line["component"], line["seconds"]) for line in lines] == [("slow", 10), ("slow", 20)]


PROGRAM = """
    import sys
    from anyio import CancelScope, create_task_group, sleep, sleep_forever
    from hub.errors import ConfigurationError, ConnectionLost
    from hub.concurrency.services import leave, run_process, background_service
    from hub.observability.logs import configure_logging

    async def drain():
        print("up", flush=True)
        try:
            await sleep_forever()
        finally:
            with CancelScope(shield=True):
                print("draining", flush=True)
                await sleep(float(sys.argv[2]))
                print("drained", flush=True)

    async def misconfigured():
        raise ConfigurationError("wrong")

    async def unreachable():
        raise ConnectionLost("server", "refused")

    async def buggy():
        raise RuntimeError("bug")

    async def fine():
        pass

    async def dies():
        async def hangs(*, task_status):
            task_status.started()
            with CancelScope(shield=True):
                await sleep_forever()

        async with background_service(hangs, name="the one that hangs"):
            print("up", flush=True)
            raise RuntimeError("died")

    async def exits_in_a_task():
        async def exits():
            sys.exit(7)

        try:
            async with create_task_group() as tg:
                tg.start_soon(exits)
                await sleep_forever()
        except BaseExceptionGroup as group:
            print(repr(group.exceptions[0]), flush=True)

    configure_logging("info", "console")
    sys.exit(leave(run_process(globals()[sys.argv[1]], backend=sys.argv[3], stop_limit=float(sys.argv[4]))))
"""


@contextmanager
def start(what: str, backend: str, drain: float = 0, stop_limit: float = 60) -> Generator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", dedent(PROGRAM), what, str(drain), backend, str(stop_limit)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_and_exits_with_zero(backend: str, number: signal.Signals) -> None:
    with start("drain", backend) as process:
        assert line(process) == "up"
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    assert out.split() == ["draining", "drained"]
    assert process.returncode == 0, err


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_second_signal_ends_the_process_at_once(backend: str) -> None:
    with start("drain", backend, drain=600) as process:
        assert line(process) == "up"
        os.kill(process.pid, signal.SIGTERM)
        assert line(process) == "draining"
        os.kill(process.pid, signal.SIGTERM)
        out, _ = process.communicate(timeout=20)
    assert out == ""
    assert process.returncode == 128 + signal.SIGTERM


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize(
    ("what", "code", "message"),
    [("fine", 0, ""), ("misconfigured", 2, "wrong"), ("unreachable", 3, "refused"), ("buggy", 1, "RuntimeError")],
)
def test_the_exit_code_tells_why_the_process_ended(backend: str, what: str, code: int, message: str) -> None:
    with start(what, backend) as process:
        out, err = process.communicate(timeout=20)
    assert process.returncode == code
    assert message in out + err


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_process_that_does_not_end_in_time_names_what_it_waits_for_and_ends(backend: str) -> None:
    with start("drain", backend, drain=600, stop_limit=0.2) as process:
        assert line(process) == "up"
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=20)
    assert out.split() == ["draining"]
    assert process.returncode == 1
    assert "did not end in time" in err


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_death_of_one_component_bounds_the_end_of_the_others(backend: str) -> None:
    with start("dies", backend, stop_limit=0.2) as process:
        out, err = process.communicate(timeout=20)
    assert out == "up\n"
    assert process.returncode == 1
    assert "hub.component the one that hangs" in err


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_task_that_exits_does_not_end_the_event_loop(backend: str) -> None:
    with start("exits_in_a_task", backend) as process:
        out, err = process.communicate(timeout=20)
    assert out == "SystemExit(7)\n"
    assert process.returncode == 0, err


@leaves_nothing
async def test_a_resource_stays_open_while_what_uses_it_drains() -> None:
    events: list[str] = []

    @asynccontextmanager
    async def resource() -> AsyncGenerator[str]:
        async with create_task_group() as tg:
            await tg.start(component, "background task", events)
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


@leaves_nothing
async def test_opening_is_tried_again_while_patience_lasts() -> None:
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


@leaves_nothing
async def test_without_patience_the_first_refusal_counts() -> None:
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
