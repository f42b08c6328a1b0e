"""Processes of a measurement: programs with a log, drivers that take commands, and the CPU that each of them uses."""

from __future__ import annotations

import ctypes
import json
import os
import re
import select
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, final

from benchmarks.peers.environment import ROOT

START_TIMEOUT: Final = 60.0
"""Seconds until a program is ready."""

STOP_TIMEOUT: Final = 5.0
"""Seconds for a killed program and all that it has started to end."""

LAST_LINES: Final = 1500
"""Characters of a log that explain a failure."""

_FOLDERS: Final = re.compile(r"(?<![\w.:/])/(?:[\w.+-]+/)+")
_LIBC: Final = ctypes.CDLL(None)
_PR_SET_PDEATHSIG: Final = 1


class Failed(Exception):
    """A program of a measurement ended, did not answer in time, or answered with an error.

    Args:
        text: What happened; files are named without their folders, which are those of one machine.
    """

    def __init__(self, text: str) -> None:
        super().__init__(_FOLDERS.sub("", text))


@final
class Program:
    """A program in a session of its own. It is killed at the end of the block, with all that it has started.

    Args:
        name: For messages.
        command: The program and its arguments.
        environment: Variables beside those of this process.
        log: Where its output goes.
        driven: Whether it takes commands over standard input; then its standard output has the replies.
    """

    def __init__(
        self, name: str, command: Sequence[str], environment: Mapping[str, str], log: Path, *, driven: bool = False
    ) -> None:
        self.name: Final = name
        self._command = command
        self._environment = environment
        self._log = log
        self._driven = driven
        self._process: subprocess.Popen[bytes] | None = None
        self._output = b""

    def __enter__(self) -> Self:
        assert self._process is None, "a program is started once"
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HUB_", "PYTHON"))}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=ROOT,
                env=kept | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"} | dict(self._environment),
                stdin=subprocess.PIPE if self._driven else subprocess.DEVNULL,
                stdout=subprocess.PIPE if self._driven else log,
                stderr=log,
                start_new_session=True,
                preexec_fn=_end_with_parent,  # noqa: PLW1509 - this process has one thread
            )
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        process = self._process
        assert process is not None
        if process.stdin is not None:
            process.stdin.close()
        until = time.monotonic() + STOP_TIMEOUT
        while (
            left := session(process.pid)
        ) and time.monotonic() < until:  # what it measures is measured: no time to drain
            for pid in left:
                _kill(pid)
            time.sleep(0.02)
        process.wait()
        if process.stdout is not None:
            process.stdout.close()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def wait_until(self, ready: Callable[[str], bool]) -> None:
        """Waits until `ready` returns True for the text of its log.

        Raises:
            Failed: It has ended, or is not ready in time.
        """
        until = time.monotonic() + START_TIMEOUT
        while not ready(self._log.read_text(errors="replace")):
            if self._process is not None and self._process.poll() is not None:
                raise self._failed(f"ended with {self._process.returncode}")
            if time.monotonic() > until:
                raise self._failed(f"was not ready within {START_TIMEOUT:g} s")
            time.sleep(0.05)

    def do(self, command: Mapping[str, Any], timeout: float) -> dict[str, Any]:
        """Sends a command and returns the reply.

        Raises:
            Failed: It has ended, or there is no reply in time.
        """
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(command).encode() + b"\n")
            self._process.stdin.flush()
        except OSError as error:
            raise self._failed(f"takes no commands: {error.strerror}") from error
        return self.reply(timeout)

    def reply(self, timeout: float) -> dict[str, Any]:
        """The next line of its output.

        Raises:
            Failed: It has ended, or there is none in time.
        """
        assert self._process is not None
        assert self._process.stdout is not None
        output = self._process.stdout.fileno()
        until = time.monotonic() + timeout
        while b"\n" not in self._output:
            readable, _, _ = select.select([output], [], [], max(0.0, until - time.monotonic()))
            if not readable:
                raise self._failed(f"has not answered within {timeout:.0f} s")
            data = os.read(output, 65536)
            if not data:
                raise self._failed("has ended")
            self._output += data
        line, _, self._output = self._output.partition(b"\n")
        found: dict[str, Any] = json.loads(line)
        return found

    def _failed(self, what: str) -> Failed:
        lines = (line.strip(" |+-^~") for line in self._log.read_text(errors="replace").splitlines())
        return Failed(f"{self.name} {what}: {' / '.join(filter(None, lines))[-LAST_LINES:]}")


def session(leader: int) -> set[int]:
    """The processes of a session that have not ended, and all that these have started, in whatever session."""
    parents: dict[int, int] = {}
    found = set[int]()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended meanwhile
            continue
        if fields[0] in "ZX":
            continue
        pid = int(path.parent.name)
        parents[pid] = int(fields[1])
        if int(fields[3]) == leader:
            found.add(pid)
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def cpu_seconds(leader: int) -> float:
    """CPU that the processes of a session have used so far: all of their threads that have not ended, user and system."""
    return sum(map(threads_seconds, session(leader)))


def threads_seconds(pid: int) -> float:
    """CPU that the threads of a process which have not ended have used so far, user and system."""
    used = 0
    for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        try:
            used += int(path.read_text().split()[0])
        except (OSError, IndexError):  # it has ended meanwhile
            continue
    return used / 1e9


def _end_with_parent() -> None:
    """Has the kernel kill this process when the measurement is killed (prctl(2))."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
