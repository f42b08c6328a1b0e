"""One process of a server that a test may kill and freeze. It ends with the test run, however that ends."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, final

from tests.support.markers import check_declared

MARKERS: Final = {"rabbitmq-server": "rabbitmq", "redis-server": "redis"}
"""The marker that a test needs that starts a program."""

START_TIMEOUT: Final = 90.0
"""Seconds that a server may take until it answers. RabbitMQ takes about 5 s alone and 20 s on a busy machine."""

_POLL: Final = 0.05

_PORTS: Final = range(20_000, 32_000)
"""Below Linux's ephemeral range: while a server is down, no outgoing connection takes its port away."""

_UNTIL_PARENT_DIES: Final = 'read -r _; kill -KILL "-$1"'
"""A shell that waits for the end of its standard input, which comes when the test run ends, also by kill -9."""


class ServerMissing(Exception):
    """A server that tests need is not installed. Never a skip: a test that did not run proves nothing."""


class ServerDied(Exception):
    """A server ended, or did not answer, while it was expected to start."""


STOP_TIMEOUT: Final = 1.0
"""Seconds for all threads of a server to stop after SIGSTOP."""


@final
class ServerProcess:
    """A server as a child process in a process group of its own.

    All methods block. In a test with an event loop, call `start` through `anyio.to_thread.run_sync`; the others take
    milliseconds.

    Args:
        command: The program and its arguments; must stay in the foreground.
        env: The complete environment.
        log: Where its output goes; appended to over restarts.
        ready: Returns whether the server answers; called every 50 ms, must not block for long.
    """

    def __init__(self, command: Sequence[str], *, env: Mapping[str, str], log: Path, ready: Callable[[], bool]) -> None:
        self._command = list(command)
        self._env = dict(env)
        self._log = log
        self._ready = ready
        self._process: subprocess.Popen[bytes] | None = None
        self._watchdog: subprocess.Popen[bytes] | None = None

    def is_alive(self) -> bool:
        """Whether the process exists; a frozen one does."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        if self._process is None:
            raise ServerDied(f"{self._command[0]} was never started")
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """Exit code of the process, negative for a signal; `None` while it exists."""
        return None if self._process is None else self._process.poll()

    def answers(self) -> bool:
        """Whether the server answers now."""
        return self.is_alive() and self._ready()

    def start(self) -> None:
        """Starts the process and returns once the server answers.

        Raises:
            ServerDied: It ended, or did not answer within `START_TIMEOUT`; the text has the end of its log.
        """
        if self.is_alive():
            return
        self.launch()
        deadline = time.monotonic() + START_TIMEOUT
        while not self._ready():
            if not self.is_alive() or time.monotonic() > deadline:
                self.kill()
                raise ServerDied(f"{self._command[0]} did not start:\n{self._log.read_text(errors='replace')[-4000:]}")
            time.sleep(_POLL)

    def launch(self) -> None:
        """Starts the process and returns at once; `answers` says when it works."""
        for argument in self._command:
            check_declared(Path(argument).name, MARKERS)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._log.parent,
                start_new_session=True,
            )
        self._watchdog = subprocess.Popen(
            ["/bin/sh", "-c", _UNTIL_PARENT_DIES, "watchdog", str(self._process.pid)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    def terminate(self) -> None:
        """SIGTERM to the process."""
        if self.is_alive():
            os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL to the whole process group. Returns when the process has ended; its ports are free then."""
        if self._watchdog is not None:
            self._watchdog.kill()
            self._watchdog.communicate()
            self._watchdog = None
        if self._process is not None and self._process.returncode is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def freeze(self) -> None:
        """SIGSTOP: connections stay open and nothing answers, as with a machine that hangs."""
        os.killpg(self.pid, signal.SIGSTOP)
        until = time.monotonic() + STOP_TIMEOUT
        while not self._is_stopped() and time.monotonic() < until:  # on a busy machine threads run on for a moment
            time.sleep(0.001)

    def _is_stopped(self) -> bool:
        stats = (path.read_text() for path in Path(f"/proc/{self.pid}/task").glob("*/stat"))
        return all(stat.rpartition(")")[2].split()[0] == "T" for stat in stats)

    def thaw(self) -> None:
        os.killpg(self.pid, signal.SIGCONT)


def free_port() -> int:
    """A TCP port of 127.0.0.1 on which no process listens."""
    ports = list(_PORTS)
    random.shuffle(ports)
    for port in ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise ServerDied("no free port on 127.0.0.1")


def answers(port: int, question: bytes, start_of_answer: bytes) -> bool:
    """Whether the answer of 127.0.0.1:`port` to `question` begins with `start_of_answer`, within a second."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(question)
            return connection.recv(len(start_of_answer)) == start_of_answer
    except OSError:
        return False
