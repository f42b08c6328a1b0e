"""What holds an event loop up is named, once."""

from __future__ import annotations

import ctypes
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from textwrap import dedent
from typing import Any, ClassVar

import anyio
import anyio.to_thread
import pytest
from anyio import CancelScope, create_task_group, fail_after
from structlog.testing import capture_logs
from typing_extensions import override

import hub
from examples.model_a.v1.model_a_pb2 import ModelARequest, ModelAResponse
from hub.observability.code_origin import Origin, add_model
from hub.observability.watchdog import Case, Stalls, watch_loop

leaves_nothing = pytest.mark.usefixtures("no_leaked_tasks")

LONGEST = 30.0
"""Seconds that a loop is held at most by a test whose watchdog says nothing."""

Logs = list[Any]


@pytest.fixture
def logs() -> Iterator[Logs]:
    with capture_logs() as captured:
        yield captured


def hold(until: Callable[[], object]) -> None:
    end = time.monotonic() + LONGEST
    while not until() and time.monotonic() < end:
        time.sleep(0.01)


def wait_for(over: threading.Event) -> None:
    over.wait()


def ours(_frame: object) -> Origin:
    return Origin.OURS


class Computes(hub.Model[ModelARequest, ModelAResponse]):
    name: ClassVar[str] = "Computing"
    until: Callable[[], object]

    @override
    async def process_request(self, request: ModelARequest) -> ModelAResponse:
        return ModelAResponse(reply=self.work())

    def work(self) -> str:
        self.wait()
        return "done"

    def wait(self) -> None:
        hold(self.until)


class KeepsLock(hub.Model[ModelARequest, ModelAResponse]):
    until: Callable[[], object]

    @override
    def process_request(self, request: ModelARequest) -> ModelAResponse:
        ctypes.PyDLL(None).usleep(1_800_000)  # unlike CDLL, it keeps the interpreter's lock
        return ModelAResponse(reply="done")


def running(kind: type[Any], until: Callable[[], object]) -> Any:
    model = kind()
    model.until = until
    add_model(kind, kind.name)
    return model


@leaves_nothing
async def test_code_that_blocks_the_loop_is_logged_while_it_does(logs: Logs) -> None:
    model = running(Computes, lambda: logs)
    async with watch_loop("main", stalls=(stalls := Stalls())):
        await model.process_request(ModelARequest())

    (line,) = logs
    assert "the event loop is blocked" in line["event"]
    assert line["log_level"] == "warning"
    assert line["loop"] == "main"
    assert line["model"] == "Computing"
    assert line["function"] == f"{__name__}.hold"
    assert __file__ in line["where"]
    assert int(line["where"].rpartition(":")[2]) > 0
    assert "plain def" in line["repair"]
    assert stalls.count == 1


@leaves_nothing
async def test_the_same_case_is_counted_again_and_logged_once(logs: Logs) -> None:
    stalls = Stalls()
    model = running(Computes, lambda: stalls.count)
    async with watch_loop("main", stalls=stalls):
        await model.process_request(ModelARequest())
        model.until = lambda: stalls.count >= 2
        await anyio.sleep(0.5)  # the loop turns, and so this is another case
        await model.process_request(ModelARequest())

    assert stalls.count == 2
    lines = {line["where"] for line in logs}
    assert len(logs) == len(lines)


@leaves_nothing
async def test_code_of_hub_that_blocks_the_loop_is_logged_too(logs: Logs, monkeypatch: pytest.MonkeyPatch) -> None:
    end = time.monotonic() + LONGEST
    code = "def stands(over):\n    while not over():\n        pass\n"
    names: dict[str, Any] = {"__name__": "hub.thing"}
    exec(code, names)
    monkeypatch.setattr("hub.observability.watchdog.origin_of", ours)
    async with watch_loop("main", stalls=Stalls()):
        names["stands"](lambda: logs or time.monotonic() > end)

    (line,) = logs
    assert line["function"] == "hub.thing.stands"
    assert line["where"].startswith("<string>:")
    assert "model" not in line
    assert "repair" not in line


@leaves_nothing
async def test_a_responsive_loop_is_not_logged(logs: Logs) -> None:
    model = running(Computes, lambda: True)
    async with watch_loop("main", stalls=(stalls := Stalls())), create_task_group() as tg:
        for _ in range(200):
            tg.start_soon(model.process_request, ModelARequest())
            await anyio.sleep(0.005)

    assert logs == []
    assert stalls.count == 0


@leaves_nothing
async def test_a_thread_of_a_model_that_computes_does_not_block_the_loop() -> None:
    stalls = Stalls()
    over = threading.Event()
    async with watch_loop("main", stalls=stalls), create_task_group() as tg:
        tg.start_soon(partial(anyio.to_thread.run_sync, partial(hold, over.is_set)))
        await anyio.sleep(1.5)
        over.set()

    assert stalls.count == 0


@leaves_nothing
async def test_code_that_keeps_the_interpreters_lock_is_logged_when_it_releases_it(logs: Logs) -> None:
    model = running(KeepsLock, lambda: logs)
    over = threading.Event()
    async with watch_loop("main", stalls=Stalls()), create_task_group() as tg:
        tg.start_soon(partial(anyio.to_thread.run_sync, partial(wait_for, over)))  # is not to blame
        await anyio.sleep(0.5)
        with fail_after(LONGEST):
            while not any("function" in line for line in logs):  # who has returned when it is looked for is not found
                await anyio.to_thread.run_sync(model.process_request, ModelARequest())
                await anyio.sleep(0.5)
        over.set()

    line = logs[-1]
    assert "the interpreter's lock was kept" in line["event"]
    assert line["model"] == "KeepsLock"
    assert line["function"] == f"{__name__}.KeepsLock.process_request"
    assert "run_in_process" in line["repair"]


@leaves_nothing
async def test_each_loop_in_a_thread_has_a_watch(logs: Logs, anyio_backend_name: str) -> None:
    model = running(Computes, lambda: logs)

    async def main() -> None:
        async with watch_loop("model's", stalls=Stalls()):
            await model.process_request(ModelARequest())

    async with watch_loop("main", stalls=(ours := Stalls())):
        await anyio.to_thread.run_sync(partial(anyio.run, main, backend=anyio_backend_name))

    (line,) = logs
    assert line["loop"] == "model's"
    assert ours.count == 0


@leaves_nothing
async def test_a_block_that_cleans_up_after_a_cancellation_is_still_watched(logs: Logs) -> None:
    stalls = Stalls()
    async with create_task_group() as tg:

        async def watched() -> None:
            async with watch_loop("main", stalls=stalls):
                tg.cancel_scope.cancel()
                with CancelScope(shield=True):
                    await anyio.sleep(1.5)
                    assert stalls.count == 0
                    hold(lambda: logs)

        tg.start_soon(watched)

    assert stalls.count == 1


@leaves_nothing
async def test_the_thread_ends_with_its_block() -> None:
    async with watch_loop("ending"):
        assert "hub.observability.watchdog ending" in {thread.name for thread in threading.enumerate()}
        assert all(
            thread.daemon for thread in threading.enumerate() if thread.name.startswith("hub.observability.watchdog")
        )
    with fail_after(5):
        while "hub.observability.watchdog ending" in {thread.name for thread in threading.enumerate()}:
            await anyio.sleep(0.001)


@leaves_nothing
async def test_an_error_of_the_block_passes() -> None:
    with pytest.raises(ExceptionGroup) as caught:
        async with watch_loop():
            raise LookupError("of the block")
    assert caught.group_contains(LookupError)


def test_cases_are_bounded_and_the_oldest_is_removed() -> None:
    stalls = Stalls(limit=3)
    cases = [Case("held", "A", "f", f"a.py:{line}", by_author=True) for line in range(4)]

    assert [stalls.add(case) for case in (*cases[:3], cases[0])] == [True, True, True, False]
    assert stalls.add(cases[3])
    assert stalls.add(cases[0])
    assert not stalls.add(cases[3])
    assert stalls.count == 7


PROGRAM = """
    import os, subprocess, sys, time
    import anyio
    from hub.concurrency.process import run_process
    from hub.observability.logs import configure_logging

    async def stopped():
        script = f"sleep 0.7; kill -STOP {os.getpid()}; sleep 2.5; kill -CONT {os.getpid()}"
        await anyio.run_process(["sh", "-c", script])
        await anyio.sleep(1)

    async def held():
        time.sleep(2)

    async def broken():
        time.sleep(2)
        raise RuntimeError("broken")

    configure_logging("info", "console")
    sys.exit(run_process(globals()[sys.argv[1]], backend=sys.argv[2]))
"""


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize(("what", "told", "code"), [("stopped", False, 0), ("held", True, 0), ("broken", True, 1)])
def test_every_process_is_watched_and_a_stopped_process_is_not_logged(
    what: str, told: bool, code: int, backend: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", dedent(PROGRAM), what, backend], capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode == code, done.stderr
    assert ("the event loop is blocked" in done.stderr) is told
    assert "lock was kept" not in done.stderr
    assert ("__main__.held" in done.stderr) is (what == "held")
