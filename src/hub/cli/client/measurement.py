"""What `hub bench` counts: calls by outcome, their latencies, and tasks that were answered more than once."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Final, final

import msgspec

from hub.types import TaskState

SUCCEEDED: Final = TaskState.SUCCEEDED.value
NOT_SENT: Final = "not_sent"
"""Outcome of calls that were due, and not sent before the end because all connections were in use."""

INTERRUPTED: Final = "interrupted"
"""Outcome of calls that were waiting when the command was interrupted."""

_PERCENTILES: Final = (0.5, 0.9, 0.99)


class OutcomeReport(msgspec.Struct, frozen=True, kw_only=True):
    """Calls with one outcome: `succeeded`, the code of an error, `not_sent` or `interrupted`. Latencies are in milliseconds."""

    outcome: str
    calls: int
    rate: float
    p50: float
    p90: float
    p99: float
    max: float


class BenchReport(msgspec.Struct, frozen=True, kw_only=True):
    """What `hub bench` prints.

    Attributes:
        rate: Calls that were asked for per second; `None` if each caller waited for its answer.
        concurrency: Calls in flight at most.
        seconds: From the first call to the last answer.
        calls: All that were due.
        answered_twice: Calls whose answer was that of a task which had answered another call.
        outcomes: The most frequent one first.
    """

    model: str
    rate: float | None
    concurrency: int
    seconds: float
    calls: int
    answered_twice: int
    outcomes: Sequence[OutcomeReport]

    @property
    def good(self) -> bool:
        """Whether each call was answered once, with a response."""
        return not self.answered_twice and all(each.outcome == SUCCEEDED for each in self.outcomes)


@final
class Measurement:
    """Counts calls as they end. It keeps some 150 bytes of each: its latency, and the id of its task."""

    def __init__(self) -> None:
        self._seconds: dict[str, array[float]] = {}
        self._tasks: set[str] = set()
        self._answered_twice = 0

    @property
    def calls(self) -> int:
        return sum(map(len, self._seconds.values()))

    def note(self, outcome: str, seconds: float, task: str = "") -> None:
        """Counts a call.

        Args:
            outcome: What became of it.
            seconds: Since it was due.
            task: The id of the task that answered it; empty if none is known.
        """
        self._seconds.setdefault(outcome, array("d")).append(seconds)
        if task:
            self._answered_twice += task in self._tasks
            self._tasks.add(task)

    def report(self, model: str, *, rate: float | None, concurrency: int, seconds: float) -> BenchReport:
        """The report after so many seconds."""
        outcomes = sorted(self._seconds.items(), key=lambda item: -len(item[1]))
        return BenchReport(
            model=model,
            rate=rate,
            concurrency=concurrency,
            seconds=seconds,
            calls=self.calls,
            answered_twice=self._answered_twice,
            outcomes=[_report(outcome, times, seconds) for outcome, times in outcomes],
        )


def _report(outcome: str, times: array[float], seconds: float) -> OutcomeReport:
    ordered = sorted(times)
    p50, p90, p99 = (ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000 for share in _PERCENTILES)
    rate = len(ordered) / seconds if seconds else 0.0
    return OutcomeReport(
        outcome=outcome, calls=len(ordered), rate=rate, p50=p50, p90=p90, p99=p99, max=ordered[-1] * 1000
    )
