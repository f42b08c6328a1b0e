"""Processes of hub, such as `python -m hub.registry`, with their logs."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, final

ROOT: Final = Path(__file__).parents[2]
START_TIMEOUT: Final = 60.0
"""Seconds for the start of a process: imports are slow on a busy machine."""


@final
class HubProcess:
    """One process of hub. A thread reads its log line by line."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.log: list[str] = []
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._lines.put(line)
        self._lines.put(None)

    def wait_for(self, event: str) -> Mapping[str, object]:
        """Reads the log until a line whose event contains `event`; fails when the process ends before."""
        while True:
            line = self._lines.get(timeout=START_TIMEOUT)
            assert line is not None, f"the process ended without logging {event!r}:\n{''.join(self.log)}"
            self.log.append(line)
            try:
                fields = json.loads(line)
            except ValueError:
                continue
            if isinstance(fields, dict) and event in str(fields.get("event")):
                return fields

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(timeout=10)

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def wait(self, timeout: float = 60) -> int:
        return self.process.wait(timeout=timeout)

    def output(self) -> str:
        """The rest of the log of a process that has ended."""
        while (line := self._lines.get(timeout=10)) is not None:
            self.log.append(line)
        return "".join(self.log)


HUB: Final = (str(Path(sys.executable).with_name("hub")),)
"""The command `hub`, for `hub_process`."""


@contextmanager
def hub_process(
    arguments: Sequence[str], settings: Mapping[str, str], program: Sequence[str] = (sys.executable, "-m")
) -> Generator[HubProcess]:
    """Starts `python -m <arguments>`, or another program, with `HUB_*` settings, and kills it at the end of the block."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HUB_")}
    environment |= {f"HUB_{name.upper()}": value for name, value in settings.items()} | {"HUB_LOG_FORMAT": "json"}
    with subprocess.Popen(
        [*program, *arguments],
        cwd=ROOT,
        env=environment | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        running = HubProcess(process)
        try:
            yield running
        finally:
            process.kill()
