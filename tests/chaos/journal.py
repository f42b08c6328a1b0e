"""The journal of executions: one file per process, one line per event, unbuffered.

A written line survives `kill -9` of its process: `write(2)` has passed it to the kernel.
"""

from __future__ import annotations

import os
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Final, final

FOLDER_VARIABLE: Final = "CHAOS_JOURNAL"
"""Names the folder of the journal in the environment of an instance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One execution of a task, in Unix seconds.

    Attributes:
        ended: When the model's method returned, raised or was cancelled, or when its process ended. Infinite if neither was seen.
    """

    task: str
    attempt: int
    process: int
    began: float
    ended: float

    @property
    def root(self) -> str | None:
        """The task of the client that this one was made for; `None` if it is one of the client itself."""
        root, slash, _ = self.task.partition("/")
        return root if slash else None


@final
class Journal:
    """Writer of the journal, in an instance."""

    def __init__(self) -> None:
        path = Path(os.environ[FOLDER_VARIABLE]) / str(os.getpid())
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    @contextmanager
    def run(self, task: str, attempt: int) -> Generator[None]:
        """Writes a line when the block begins and one when it ends."""
        self._write("+", task, attempt)
        try:
            yield
        finally:
            self._write("-", task, attempt)

    def _write(self, event: str, task: str, attempt: int) -> None:
        os.write(self._file, f"{event} {task} {attempt} {time.time()}\n".encode())


def child_entry(root: str, task: str) -> str:
    """What the journal has for the run of a task that was made for `root`; `Run.root` reads it."""
    return f"{root}/{task}"


def read_journal(folder: Path, deaths: Mapping[int, float]) -> list[Run]:
    """All runs in the files of `folder`, in the order of their start.

    Args:
        folder: The value of `FOLDER_VARIABLE`.
        deaths: End of each process that has ended, by process id, in Unix seconds.
    """
    runs: list[Run] = []
    for file in folder.iterdir():
        process = int(file.name)
        open_since: dict[tuple[str, int], float] = {}
        for line in file.read_text().splitlines():
            event, task, number, at = line.split()
            run = (task, int(number))
            if event == "+":
                open_since[run] = float(at)
            else:
                runs.append(_run(run, process, open_since.pop(run), float(at)))
        runs += [_run(run, process, began, deaths.get(process, inf)) for run, began in open_since.items()]
    return sorted(runs, key=lambda run: run.began)


def _run(run: tuple[str, int], process: int, began: float, ended: float) -> Run:
    return Run(task=run[0], attempt=run[1], process=process, began=began, ended=ended)
