"""Models in processes of their own: what they answer, how they are stopped, and what ends with what."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import anyio
import pytest
from anyio.lowlevel import checkpoint

import hub
from examples.model_a.v1.model_a_pb2 import ModelARequest, ModelAResponse
from hub.concurrency.exceptions import collapse_exception_group
from hub.errors import ConnectionLost, Undecodable
from hub.model.current import CurrentTask, TaskControl, processing
from hub.model.errors import ChildError, InvalidModel, ProcessDied
from hub.model.execution.process import spawn
from hub.model.execution.process.frames import RequestFrame
from hub.model.execution.process.pending_call import WorkerDiedIdle
from hub.model.execution.process.pool import ProcessPool, importable_name
from hub.model.execution.process.worker import ProcessWorker
from hub.observability.log_lines import LINE_LIMIT
from hub.safe_text import full_name
from hub.types import InstanceId, ModelName, TaskId
from tests.model import process_models
from tests.model.process_models import (
    Clinging,
    Fragile,
    Logs,
    Lost,
    Noted,
    Obedient,
    Outer,
    Plural,
    SetUpOnce,
    Stubborn,
    Unprepared,
)

TIMEOUT: Final = 60.0
"""Seconds for a test; a process starts in a fifth of one, unless the machine is busy."""

A_SECOND: Final = 1.0
"""Nothing runs longer than this after its cancellation; see docs/tasks.md."""


@asynccontextmanager
async def children_of(model: type[hub.Model[Any, Any]]) -> AsyncGenerator[ProcessPool]:
    with collapse_exception_group(), anyio.fail_after(TIMEOUT):
        async with ProcessPool(model) as children:
            yield children


async def ask(children: ProcessPool, text: str) -> tuple[int, str]:
    """The id of the process that answered, and its answer."""
    body = await children.call(ModelARequest(messages=text).SerializeToString())
    pid, _, reply = ModelAResponse.FromString(body).reply.partition(" ")
    return int(pid), reply


class Told:
    """Hears the progress of a task."""

    def __init__(self) -> None:
        self.progress: list[tuple[float | None, str]] = []
        self.begun = anyio.Event()
        self.task = CurrentTask(
            id=TaskId("t"),
            attempt=2,
            deadline=17.5,
            model=ModelName("Obedient"),
            instance=InstanceId("i"),
            control=TaskControl(self._tell),
        )

    def _tell(self, fraction: float | None, message: str) -> None:
        self.progress.append((fraction, message))
        self.begun.set()

    async def ask(self, children: ProcessPool, text: str) -> tuple[int, str]:
        with processing(self.task):
            return await ask(children, text)


async def cancel_once_begun(children: ProcessPool, text: str) -> None:
    told = Told()
    async with anyio.create_task_group() as tg:
        tg.start_soon(told.ask, children, text)
        await told.begun.wait()
        tg.cancel_scope.cancel()


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"  # nobody reaps orphans here


async def until(condition: Callable[[], bool]) -> None:
    """Waits for something of which nobody tells; stands under the `fail_after` of its test."""
    while not condition():
        await anyio.sleep(0.01)


async def test_requests_are_answered_in_another_process_that_was_set_up_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTES", str(tmp_path / "notes"))
    async with children_of(Noted) as children:
        first, reply = await ask(children, "echo hello")
        second, _ = await ask(children, "echo again")

    assert reply == "hello"
    assert first == second != os.getpid()
    assert (tmp_path / "notes").read_text().split() == ["setup", "teardown"]


async def test_a_model_in_a_process_knows_its_task() -> None:
    async with children_of(Obedient) as children:
        assert (await Told().ask(children, "task"))[1] == "t 2 17.5 Obedient i"


async def test_progress_is_reported_from_the_process() -> None:
    told = Told()
    async with children_of(Obedient) as children:
        assert (await told.ask(children, "progress half"))[1] == "done"

    assert told.progress == [(0.25, "begun"), (None, "half")]


async def test_an_error_of_a_model_has_its_class_text_and_traceback() -> None:
    async with children_of(Obedient) as children:
        with pytest.raises(ChildError) as caught:
            await ask(children, "fail it broke")
        assert (await ask(children, "echo still here"))[1] == "still here"

    error = caught.value
    assert (error.code, error.type, error.message) == ("model_error", "ConnectionRefusedError", "it broke")
    assert error.mro[:3] == tuple(map(full_name, (ConnectionRefusedError, ConnectionError, OSError)))
    assert "in Obedient.fail\n    raise ConnectionRefusedError(text)" in error.traceback
    assert error.__notes__ == [error.traceback]


async def test_an_error_of_hub_keeps_its_code() -> None:
    async with children_of(Obedient) as children:
        with pytest.raises(ChildError, match="connection to broker lost: no route") as caught:
            await ask(children, "fail_as_hub broker")

    assert caught.value.code == "connection_lost"
    assert caught.value.mro[0] == full_name(ConnectionLost)
    assert "KeyError: 'broker'" in caught.value.traceback


async def test_bytes_that_are_not_a_request_are_refused_by_the_process() -> None:
    async with children_of(Obedient) as children:
        with pytest.raises(Undecodable, match=r"examples\.model_a\.v1\.ModelARequest"):
            await children.call(b"\xff\xff\xff")


async def test_standard_input_and_output_of_a_model_are_separate_from_the_frames(
    capfd: pytest.CaptureFixture[str],
) -> None:
    async with children_of(Obedient) as children:
        assert (await ask(children, "scribble loud and clear"))[1] == "read ''"

    assert "loud and clear" in capfd.readouterr().err


async def test_log_lines_of_a_model_are_bounded(capfd: pytest.CaptureFixture[str]) -> None:
    async with children_of(Logs) as children:
        await ask(children, "log")

    written = [line for line in capfd.readouterr().err.splitlines() if "\x1b" not in line]
    assert any("a long text xxx" in line and "the.author" in line for line in written)
    assert any("ValueError: invalid literal" in line for line in written)
    assert max(map(len, written)) <= LINE_LIMIT
    assert len(written) <= 20


async def test_messages_of_many_megabytes_pass() -> None:
    size = 5_000_000
    async with children_of(Obedient) as children:
        assert (await ask(children, f"repeat {size}"))[1] == "x" * size
        assert (await ask(children, f"echo {'y' * size}"))[1] == "y" * size


async def test_two_processes_work_at_the_same_time(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "door.fifo")
    pids: list[int] = []

    async def meet() -> None:
        pid, reply = await ask(children, f"meet {tmp_path / 'door.fifo'}")
        assert reply == "met"
        pids.append(pid)

    async with children_of(Plural) as children, anyio.create_task_group() as tg:
        tg.start_soon(meet)
        tg.start_soon(meet)

    assert len(set(pids)) == 2


async def test_more_requests_than_processes_wait_for_their_turn() -> None:
    replies: list[str] = []

    async def one(number: int) -> None:
        replies.append((await ask(children, f"echo {number}"))[1])

    async with children_of(Plural) as children:
        async with anyio.create_task_group() as tg:
            for number in range(20):
                tg.start_soon(one, number)
        assert len(children.statistics().idle) == 2

    assert sorted(map(int, replies)) == list(range(20))


# --- cancellation ---------------------------------------------------------------------------------------------------


async def test_a_cancelled_model_may_clean_up_and_its_process_is_kept(tmp_path: Path) -> None:
    async with children_of(Obedient) as children:
        before, _ = await ask(children, "echo")
        await cancel_once_begun(children, f"clean_up {tmp_path / 'cleaned'}")
        assert (tmp_path / "cleaned").read_text() == "cancelled: True"
        assert await ask(children, "echo hello") == (before, "hello")


async def test_a_busy_loop_is_interrupted() -> None:
    async with children_of(Obedient) as children:
        before, _ = await ask(children, "echo")
        await cancel_once_begun(children, "spin")
        assert await ask(children, "echo hello") == (before, "hello")


async def test_an_interruption_does_not_corrupt_output() -> None:
    async with children_of(Obedient) as children:
        before, _ = await ask(children, "echo")
        for number in range(20):
            await cancel_once_begun(children, "flood")
            assert await ask(children, f"echo {number}") == (before, str(number))


@pytest.mark.parametrize("how", ["compute", "refuse"])
async def test_a_model_that_ignores_interrupts_is_killed_within_a_second(how: str) -> None:
    async with children_of(Stubborn) as children:
        before, _ = await ask(children, "echo")
        with anyio.fail_after(A_SECOND):
            await cancel_once_begun(children, how)
            assert is_gone(before)
            await checkpoint()  # where a second that is over is noticed
        after, reply = await ask(children, "echo hello")

        assert reply == "hello"
        assert after != before
        assert children.statistics().ended == 1


async def test_a_killed_idle_process_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTES", str(tmp_path / "notes"))
    async with children_of(Noted) as children:
        before, _ = await ask(children, "echo")
        os.kill(before, signal.SIGKILL)
        await until(lambda: children.statistics().started == 2)
        (idle,) = children.statistics().idle
        after, _ = await ask(children, "echo")

    assert after == idle != before
    assert (tmp_path / "notes").read_text().split() == ["setup", "setup", "teardown"]


async def test_whenever_a_request_is_cancelled_the_next_one_gets_its_own_answer() -> None:
    async with children_of(Obedient) as children:
        before, _ = await ask(children, "echo")
        for steps in range(25):
            async with anyio.create_task_group() as tg:
                tg.start_soon(Told().ask, children, "spin" if steps % 2 else f"echo {'x' * 200_000}")
                for _ in range(steps):
                    await checkpoint()
                tg.cancel_scope.cancel()
            assert await ask(children, f"echo {steps}") == (before, str(steps))


async def test_a_signal_to_an_idle_process_does_not_interrupt_the_next_request() -> None:
    async with children_of(Obedient) as children:
        before, _ = await ask(children, "echo")
        os.kill(before, signal.SIGINT)
        assert await ask(children, "echo hello") == (before, "hello")


# --- death ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "end"),
    [
        pytest.param("leave 3", "exit code 3", id="os._exit"),
        pytest.param("crash", "SIGSEGV", id="segfault"),
        pytest.param("babble", "it was killed: what it sent was not a frame", id="junk"),
    ],
)
async def test_the_error_of_a_request_that_kills_its_process_has_the_cause_and_the_process_is_replaced(
    how: str, end: str
) -> None:
    async with children_of(Obedient) as children:
        with pytest.raises(ProcessDied, match=f"the process in which Obedient ran has died: {end}"):
            await ask(children, how)
        assert (await ask(children, "echo hello"))[1] == "hello"
        assert children.statistics().started == 2


async def test_sys_exit_fails_its_request_only_and_the_process_goes_on() -> None:
    async with children_of(Obedient) as children:
        before, _ = await ask(children, "echo")
        with pytest.raises(ChildError, match="process_request raised SystemExit: 4") as caught:
            await ask(children, "quit 4")
        assert (caught.value.code, caught.value.type) == ("model_exit", "SystemExit")
        assert await ask(children, "echo hello") == (before, "hello")


async def test_the_error_of_a_request_whose_process_was_killed_has_the_cause() -> None:
    told = Told()

    async def killed() -> None:
        with pytest.raises(ProcessDied, match="SIGKILL"):
            await told.ask(children, "spin")

    async with children_of(Obedient) as children:
        pid, _ = await ask(children, "echo")
        async with anyio.create_task_group() as tg:
            tg.start_soon(killed)
            await told.begun.wait()
            os.kill(pid, signal.SIGKILL)


async def test_a_request_for_a_process_that_had_died_is_sent_to_another_one() -> None:
    async with children_of(Obedient) as children:
        before, _ = await ask(children, "echo")
        os.kill(before, signal.SIGKILL)
        after, reply = await ask(children, "echo hello")  # at once: nobody has noticed

    assert reply == "hello"
    assert after != before


async def test_a_request_that_kills_each_process_is_not_retried_forever() -> None:
    async with children_of(Fragile) as children:
        with pytest.raises(ProcessDied, match="exit code 9"):
            await ask(children, "echo hello")
        assert children.statistics().started == 2


async def test_a_dead_process_gets_no_requests() -> None:
    with collapse_exception_group(), anyio.fail_after(TIMEOUT):
        async with ProcessWorker(Obedient, importable_name(Obedient)) as child:
            assert child.pid is not None
            os.kill(child.pid, signal.SIGKILL)
            await child.wait_exit()
            with pytest.raises(WorkerDiedIdle, match="SIGKILL"):
                await child.call(RequestFrame(b"", None), lambda _fraction, _message: None)


async def test_children_of_a_process_end_with_it(tmp_path: Path) -> None:
    async with children_of(Obedient) as children:
        with pytest.raises(ProcessDied, match="SIGSEGV"):
            await Told().ask(children, f"start_another {tmp_path / 'pids'}")
        _, other = map(int, (tmp_path / "pids").read_text().split())
        await until(lambda: is_gone(other))


async def test_a_model_whose_setup_fails_ends_the_pool() -> None:
    with pytest.raises(ChildError, match="FileNotFoundError: no weights"):
        async with children_of(Unprepared):
            pytest.fail("it was set up")


async def test_a_process_that_dies_in_its_setup_ends_the_pool() -> None:
    with pytest.raises(ProcessDied, match="exit code 7"):
        async with children_of(Lost):
            pytest.fail("it was set up")


async def test_a_process_that_cannot_be_replaced_ends_the_pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTES", str(tmp_path / "notes"))

    async def lose_one() -> None:
        async with children_of(SetUpOnce) as children:
            with pytest.raises(ProcessDied):
                await ask(children, "leave 1")
            await anyio.sleep_forever()

    with pytest.raises(ChildError, match="no weights"):
        await lose_one()


async def test_a_process_that_ignores_sigterm_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spawn, "TEARDOWN_GRACE", 0.1)
    monkeypatch.setenv("NOTES", str(tmp_path / "notes"))
    async with children_of(Clinging) as children:
        pid, _ = await ask(children, "echo")

    assert is_gone(pid)
    assert (tmp_path / "notes").read_text().split() == ["setup", "teardown"]


async def test_a_busy_process_ends_with_the_block() -> None:
    told = Told()
    with anyio.CancelScope() as scope:
        async with children_of(Obedient) as children:
            pid, _ = await ask(children, "echo")
            async with anyio.create_task_group() as tg:
                tg.start_soon(told.ask, children, "spin")
                await told.begun.wait()
                scope.cancel()

    assert is_gone(pid)


PARENT = """
import sys, anyio
from hub.model.execution.process.worker import ProcessWorker
from hub.model.execution.process.pool import ProcessPool
from hub.model.current import TaskControl, CurrentTask, processing
from tests.model.process_models import Stubborn
from examples.model_a.v1.model_a_pb2 import ModelARequest, ModelAResponse

async def main():
    async with ProcessPool(Stubborn) as children, anyio.create_task_group() as tg:
        body = await children.call(ModelARequest(messages="echo").SerializeToString())
        print(ModelAResponse.FromString(body).reply, flush=True)
        control = TaskControl(lambda fraction, message: print(message, flush=True))
        with processing(CurrentTask(id="t", attempt=1, deadline=None, model="m", instance="i", control=control)):
            await children.call(ModelARequest(messages="compute").SerializeToString())

backend = sys.argv[1]
anyio.run(main, backend=backend, backend_options={"use_uvloop": True} if backend == "asyncio" else {})
"""


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
def test_processes_end_with_an_instance_that_is_killed(backend: str, *, busy: bool) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, backend], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    ) as parent:
        try:
            assert parent.stdout is not None
            pid = int(parent.stdout.readline())
            if busy:
                assert parent.stdout.readline() == "begun\n"
            ended = select.poll()
            ended.register(os.pidfd_open(pid))
        finally:
            parent.kill()
    assert ended.poll(1_000 * TIMEOUT)


# --- names ----------------------------------------------------------------------------------------------------------


def test_a_class_is_named_by_its_module_and_its_place_in_it() -> None:
    assert importable_name(Outer.Inner) == "tests.model.process_models:Outer.Inner"


def test_a_class_that_another_process_cannot_import_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Local(Obedient):
        pass

    with pytest.raises(InvalidModel, match=r"defined in a function.*Define the class at the top level of a module"):
        importable_name(Local)
    with pytest.raises(InvalidModel, match=r"tests\.model\.process_models:Obedient is something else"):
        importable_name(process_models.renamed())
    monkeypatch.setattr(Obedient, "__module__", "__main__")
    with pytest.raises(InvalidModel, match="defined in the script that was started"):
        importable_name(Obedient)
