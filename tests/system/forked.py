"""Runs the command `hub` many times with one import: a process that has imported it forks for each run.

    python -c "from tests.system.forked import serve; serve()"

Each request is a line of JSON on standard input, each answer one on standard output. The child has its
own environment, folder, standard streams and exit code; only its modules are imported already.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Final, final

ROOT: Final = Path(__file__).parents[2]
POLL_INTERVAL: Final = 0.01
"""Seconds between two checks of a forked process."""

IMPORTED: Final = (
    "hub.cli.app",
    "hub.cli.components",
    "hub.cli.show",
    "hub.cli.up",
    "hub.cli.dead.commands",
    "hub.cli.schema.commands",
    "hub.gateway.service",
    "hub.registry.service",
    "hub.model.instance.instance",
    "hub.brokers.rabbitmq.broker",
    "hub.brokers.aiormq.broker",
    "hub.stores.opening",
    "hub.directories.opening",
)
"""Modules whose import has no side effect; a command imports other modules in its own process."""


@final
class Commands:
    """A client of the process that forks.

    Args:
        process: Runs `serve`.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def run(
        self, arguments: Sequence[str], environment: Mapping[str, str], folder: Path, limit: float
    ) -> tuple[int, str]:
        """Runs `hub <arguments>`; returns its exit code and its output, of both streams.

        Raises:
            TimeoutError: It had not ended after `limit` seconds, and was killed; the text has its output.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        request = {"arguments": arguments, "environment": environment, "folder": str(folder), "limit": limit}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        if answer["code"] is None:
            raise TimeoutError(f"it ran for more than {limit} s:\n{answer['output']}")
        return answer["code"], answer["output"]


@contextmanager
def commands() -> Generator[Commands]:
    """Runs the process that forks while the block runs."""
    with subprocess.Popen(
        [sys.executable, "-c", "from tests.system.forked import serve; serve()"],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith("HUB_")}
        | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Commands(process)
        finally:
            process.kill()


def serve() -> None:
    """Answers requests until standard input ends."""
    for name in IMPORTED:
        import_module(name)
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        request = json.loads(line)
        with tempfile.TemporaryFile() as output:
            code = _ended(_forked(request, output.fileno()), request["limit"])
            output.seek(0)
            text = output.read().decode(errors="replace")
        answers.write(json.dumps({"code": code, "output": text}) + "\n")
        answers.flush()


def _forked(request: Mapping[str, Any], output: int) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        os.setpgid(0, 0)
        with open(os.devnull, "rb") as nothing:  # noqa: PTH123 - its descriptor is needed
            os.dup2(nothing.fileno(), 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.chdir(request["folder"])
        os.environ.clear()
        os.environ.update(request["environment"])
        sys.argv[:] = ["hub", *request["arguments"]]
        code = _exit_code()
    except BaseException:  # noqa: BLE001 - as the interpreter does with what nothing catches
        sys.excepthook(*sys.exc_info())
        code = 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _exit_code() -> int:
    from hub.cli.app import main

    try:
        main()
    except SystemExit as end:
        if end.code is None:
            return 0
        if isinstance(end.code, int):
            return end.code
        sys.stderr.write(f"{end.code}\n")
        return 1
    except KeyboardInterrupt:
        traceback.print_exc()
        return 128 + signal.SIGINT
    return 0


def _ended(pid: int, limit: float) -> int | None:
    """The exit code of a child; `None` if it had to be killed."""
    end = time.monotonic() + limit
    while True:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > end:
            os.killpg(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return None
        time.sleep(POLL_INTERVAL)
