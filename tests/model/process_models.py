"""Models that run in processes of their own, with requests like `<method> <argument>`."""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, ClassVar

from google.protobuf.struct_pb2 import Struct
from typing_extensions import override

import hub
from examples.model_a.v1.model_a_pb2 import ModelARequest, ModelAResponse
from hub.errors import ConnectionLost


class Obedient(hub.Model[ModelARequest, ModelAResponse]):
    """Calls the method that the first word of a request names; the reply begins with the id of the process."""

    run_in_process = True
    kill_grace: ClassVar[float] = 30.0  # nothing here is killed because the machine is busy

    @override
    def process_request(self, request: ModelARequest) -> ModelAResponse:
        word, _, argument = request.messages.partition(" ")
        return ModelAResponse(reply=f"{os.getpid()} {getattr(self, word)(argument)}")

    def echo(self, text: str) -> str:
        return text

    def task(self, _: str) -> str:
        task = hub.current_task()
        return f"{task.id} {task.attempt} {task.deadline} {task.model} {task.instance}"

    def progress(self, text: str) -> str:
        hub.current_task().report(0.25, "begun")
        hub.current_task().report(None, text)
        return "done"

    def fail(self, text: str) -> str:
        raise ConnectionRefusedError(text)

    def fail_as_hub(self, server: str) -> str:
        raise ConnectionLost(server, "no route") from KeyError(server)

    def scribble(self, text: str) -> str:
        print(text)  # noqa: T201 - that is the point
        os.write(1, b"\x00\x00\x00\x04junk")
        return f"read {sys.stdin.read()!r}"

    def babble(self, _: str) -> str:
        """Writes junk into everything that is open, the way out for answers among it."""
        for descriptor in range(3, 30):
            try:
                os.write(descriptor, b"\xff\xff\xff\xff")
            except OSError:
                continue
        return ""

    def repeat(self, times: str) -> str:
        return "x" * int(times)

    def leave(self, code: str) -> str:
        os._exit(int(code))

    def quit(self, code: str) -> str:
        sys.exit(int(code))

    def crash(self, _: str) -> str:
        return str(ctypes.string_at(0))

    def meet(self, fifo: str) -> str:
        """Returns when two processes are here at the same time."""
        first = Path(fifo).with_suffix(".first")
        try:
            first.touch(exist_ok=False)
        except FileExistsError:
            Path(fifo).write_text("met")
        else:
            Path(fifo).read_text()
        return "met"

    def clean_up(self, path: str) -> str:
        try:
            hub.current_task().report(message="begun")
            time.sleep(3_600)
        finally:
            Path(path).write_text(f"cancelled: {hub.current_task().cancelled}")
        return ""

    def spin(self, _: str) -> str:
        hub.current_task().report(message="begun")
        while True:
            pass

    def flood(self, _: str) -> str:
        """Is writing, nearly all of the time, more than anybody can read."""
        while True:
            hub.current_task().report(message="\N{SNOWMAN}" * 1_000)

    def start_another(self, path: str) -> str:
        """Has a program running when it dies."""
        with subprocess.Popen(["/bin/sleep", "3600"]) as other:
            Path(path).write_text(f"{os.getpid()} {other.pid}")
            hub.current_task().report(message="begun")
            os.kill(os.getpid(), signal.SIGSEGV)
        return ""


class Plural(Obedient):
    concurrency = 2


class Working(Obedient):
    """Takes the tasks of `tests.model.fakes`."""

    name = "Echo"


class Stubborn(Obedient):
    """Ignores SIGTERM."""

    kill_grace = 0.1

    def compute(self, _: str) -> str:
        """Runs C code that checks for no signals."""
        return self._again_and_again(lambda: hashlib.pbkdf2_hmac("sha256", b"", b"", 2_000_000_000))

    def refuse(self, _: str) -> str:
        return self._again_and_again(lambda: time.sleep(3_600))

    def _again_and_again(self, work: Callable[[], object]) -> str:
        while True:
            try:
                hub.current_task().report(message="begun")
                work()
            except KeyboardInterrupt:
                continue


class Noted(Obedient):
    """Writes its events into the file that `NOTES` in the environment names."""

    @staticmethod
    def note(text: str) -> int:
        """Returns how many notes there are."""
        with Path(os.environ["NOTES"]).open("a+") as notes:
            notes.write(f"{text}\n")
            notes.seek(0)
            return len(notes.readlines())

    @override
    async def setup(self) -> None:  # mixed with a plain teardown on purpose
        self.note("setup")

    @override
    def teardown(self) -> None:
        self.note("teardown")


class NotesLater(Noted):
    """Its plain methods return awaitables."""

    @override
    def setup(self) -> Awaitable[None]:  # type: ignore[override]
        return self._note_later("setup")

    @override
    def teardown(self) -> Awaitable[None]:  # type: ignore[override]
        return self._note_later("teardown")

    async def _note_later(self, text: str) -> None:
        self.note(text)


class Clinging(Noted):
    @override
    def teardown(self) -> None:
        self.note("teardown")
        time.sleep(3_600)


class SetUpOnce(Noted):
    @override
    async def setup(self) -> None:
        if self.note("setup") > 1:
            raise FileNotFoundError("no weights")


class Unprepared(Obedient):
    @override
    def setup(self) -> None:
        raise FileNotFoundError("no weights")


class Elsewhere(Obedient):
    """Is not to be set up where the tests are."""

    @override
    def setup(self) -> None:
        assert "pytest" not in sys.modules

    @override
    def teardown(self) -> None:
        assert "pytest" not in sys.modules


class Fragile(Obedient):
    """Dies of every request before it has accepted it."""

    @override
    def setup(self) -> None:
        child: Any = sys.modules["__main__"]
        child.WorkerMain._process = lambda *_: os._exit(9)


class Lost(Obedient):
    @override
    def setup(self) -> None:
        os._exit(7)


class Outer:
    class Inner(Obedient):
        """Has a dot in its name."""


def renamed() -> type[Obedient]:
    """A class with the name of another one."""

    class Impostor(Obedient):
        pass

    Impostor.__qualname__ = "Obedient"
    return Impostor


def nested(depth: int) -> Struct:
    """A `Struct` with so many objects within each other, and a string in the innermost one."""
    top = Struct()
    inner = top
    for _ in range(depth - 1):
        inner = inner.fields["x"].struct_value
    inner.fields["x"].string_value = "end"
    return top


class Nesting(hub.Model[ModelARequest, Struct]):
    """Returns as many nested objects as requested, in a process."""

    run_in_process = True

    @override
    def process_request(self, request: ModelARequest) -> Struct:
        return nested(int(request.messages))


class Logs(hub.Model[ModelARequest, ModelAResponse]):
    """Logs a long text through the standard library, and an error with its traceback."""

    run_in_process = True

    @override
    def process_request(self, request: ModelARequest) -> ModelAResponse:
        logging.getLogger("the.author").warning("a long text %s", "x" * 50_000)
        try:
            int("y" * 50_000)
        except ValueError:
            logging.getLogger("the.author").exception("it failed")
        return ModelAResponse(reply=f"{os.getpid()} logged")


class CallingProcess(hub.Model[ModelARequest, ModelAResponse]):
    """Calls another model, which a process of a model cannot."""

    run_in_process: ClassVar[bool] = True

    @override
    def process_request(self, request: ModelARequest) -> ModelAResponse:
        return hub.current_task().call_sync("Other", request, ModelAResponse)
