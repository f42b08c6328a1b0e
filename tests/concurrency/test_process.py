from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from textwrap import dedent

import pytest

from hub.concurrency.process import COLLECT_AFTER

PROGRAM = """
    import gc
    import sys
    from anyio import CancelScope, create_task_group, sleep, sleep_forever
    from hub.errors import ConfigurationError, ConnectionLost
    from hub.concurrency.process import leave, run_process
    from hub.concurrency.services import background_service
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
        print(gc.get_threshold()[0])

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
def test_the_exit_code_has_the_reason_of_the_end(backend: str, what: str, code: int, message: str) -> None:
    with start(what, backend) as process:
        out, err = process.communicate(timeout=20)
    assert process.returncode == code
    assert message in out + err


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_garbage_collector_waits_for_more_objects_than_a_busy_round_has(backend: str) -> None:
    with start("fine", backend) as process:
        out, _ = process.communicate(timeout=20)
    assert int(out) == COLLECT_AFTER


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_process_that_does_not_end_in_time_logs_its_tasks_and_ends(backend: str) -> None:
    with start("drain", backend, drain=600, stop_limit=0.2) as process:
        assert line(process) == "up"
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=20)
    assert out.split() == ["draining"]
    assert process.returncode == 1
    assert "did not end in time" in err


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_end_of_one_service_bounds_the_end_of_the_others(backend: str) -> None:
    with start("dies", backend, stop_limit=0.2) as process:
        out, err = process.communicate(timeout=20)
    assert out == "up\n"
    assert process.returncode == 1
    assert "hub.service the one that hangs" in err


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_task_that_exits_does_not_end_the_event_loop(backend: str) -> None:
    with start("exits_in_a_task", backend) as process:
        out, err = process.communicate(timeout=20)
    assert out == "SystemExit(7)\n"
    assert process.returncode == 0, err
