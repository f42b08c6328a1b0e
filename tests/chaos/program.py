"""A process of hub, with one log file per start."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, final

from anyio import fail_after, sleep

from tests.support.server import START_TIMEOUT, ServerDied, ServerProcess

ROOT: Final = Path(__file__).parents[2]

POLL_INTERVAL: Final = 0.05
"""Seconds between two checks of a process, which has no event to wait for."""


@final
class Program:
    """One start of `python -m <arguments>`; see `launch`.

    Attributes:
        name: Of the process and of its log.
        pid: Of the process.
        ended_at: When its end was noticed, in Unix seconds.
    """

    def __init__(self, name: str, server: ServerProcess, log: Path) -> None:
        self.name: Final = name
        self.pid: Final = server.pid
        self.ended_at: float | None = None
        self._server = server
        self._log = log
        self._ready = False

    @property
    def ready(self) -> bool:
        """Whether it has ever logged that it is up."""
        self._ready = self._ready or self._server.answers()
        return self._ready

    @property
    def exit_code(self) -> int | None:
        """Its exit code; `None` while it runs."""
        code = self._server.exit_code
        if code is not None and self.ended_at is None:
            self.ended_at = time.time()
        return code

    @property
    def url(self) -> str:
        """Its address, once it is up."""
        return str(_is_up(self._log)["url"])

    async def until_ready(self) -> None:
        """Waits until it is up.

        Raises:
            ServerDied: It ended instead; the text has the end of its log.
        """
        with fail_after(START_TIMEOUT):
            while not self.ready:
                if self.exit_code is not None:
                    raise ServerDied(f"{self.name} did not start:\n{self.log_tail()}")
                await sleep(POLL_INTERVAL)

    async def until_ended(self) -> int:
        """Waits for its end and returns its exit code."""
        while (code := self.exit_code) is None:
            await sleep(POLL_INTERVAL)
        return code

    def kill(self) -> None:
        """kill -9."""
        self._server.kill()
        self.ended_at = self.ended_at or time.time()

    def terminate(self) -> None:
        self._server.terminate()

    def log_tail(self) -> str:
        return self._log.read_text(errors="replace")[-3000:]


def launch(name: str, arguments: Sequence[str], settings: Mapping[str, str], folder: Path) -> Program:
    """Starts `python -m <arguments>` with `HUB_*` settings and a log in `folder`; returns at once."""
    environment = {variable: value for variable, value in os.environ.items() if not variable.startswith("HUB_")}
    environment |= {f"HUB_{setting.upper()}": value for setting, value in settings.items() if setting.islower()}
    environment |= {variable: value for variable, value in settings.items() if not variable.islower()}
    path = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(ROOT)]))
    log = folder / f"{name}.log"
    server = ServerProcess(
        [sys.executable, "-m", *arguments],
        env=environment | {"HUB_LOG_FORMAT": "json", "PYTHONPATH": path},
        log=log,
        ready=lambda: bool(_is_up(log)),
    )
    server.launch()
    return Program(name, server, log)


def _is_up(log: Path) -> Mapping[str, object]:
    """Fields of the log line "... is up", which has the address; empty if there is none."""
    for line in log.read_text(errors="replace").splitlines():
        if " is up" in line:
            fields = json.loads(line)
            if isinstance(fields, dict) and str(fields.get("event", "")).endswith(" is up") and "url" in fields:
                return fields
    return {}
