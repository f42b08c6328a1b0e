"""What was sent and what came back: finds tasks that are lost, ran twice, or have the result of another one."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock
from typing import Final, final

NUMBER: Final = 12
"""Characters of the number that each body begins with."""


@final
class Ledger:
    """The bodies of one sender, each with a number of its own. Used by several threads."""

    def __init__(self) -> None:
        self.sent = 0
        self.answered = 0
        self.wrong: list[str] = []
        self._runs: dict[str, set[int]] = {}
        self._padding = ""
        self._lock = Lock()

    def body(self, size: int) -> str:
        """A new body of `size` ASCII characters."""
        if len(self._padding) != size - NUMBER:
            self._padding = "x" * (size - NUMBER)
        with self._lock:
            self.sent += 1
            return f"{self.sent:0{NUMBER}d}{self._padding}"

    def note(self, body: str, reply: str) -> None:
        """Compares the reply for a body; `benchmarks.peers.echo.answer` makes it."""
        process, _, rest = reply.partition(":")
        run, _, text = rest.partition(":")
        with self._lock:
            self.answered += 1
            if text != body:
                self.wrong.append(f"{body[:NUMBER]} of {len(body)} bytes was answered with {reply[:60]!r}")
            elif not run.isdigit() or int(run) in self._runs.setdefault(process, set()):
                self.wrong.append(f"run {run!r} of process {process} came twice")
            else:
                self._runs[process].add(int(run))

    def skip(self, tasks: int) -> None:
        """Counts tasks that were submitted and whose replies are not fetched."""
        with self._lock:
            self.sent += tasks
            self.answered += tasks

    @property
    def runs(self) -> int:
        """The runs that all workers have made, as far as replies tell."""
        return sum(max(numbers) for numbers in self._runs.values() if numbers)

    def problems(self) -> Sequence[str]:
        """What was not exactly once. Call it when each task has been answered."""
        found = self.wrong[:5]
        if self.answered != self.sent:
            found.append(f"{self.sent} tasks were sent and {self.answered} answered")
        if self.runs != self.sent:
            found.append(f"{self.sent} tasks were sent and ran {self.runs} times")
        return found
