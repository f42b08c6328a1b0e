"""What running models say of their progress, on its way into the store."""

from __future__ import annotations

from typing import Final, final

from anyio import fail_after, sleep

from hub.errors import HubError
from hub.model.execution.wakeup import Wakeup
from hub.model.worker.run import TaskRun
from hub.ports.result_store import ProgressReport, ResultStore
from hub.task import Progress
from hub.types import TaskId, WallClock

PERIOD: Final = 0.2
"""Seconds between two writes: people cannot read faster, and a model may report at each step of a loop."""

TIMEOUT: Final = 5.0
"""Seconds that one write may take; by then there will be news to tell instead."""


@final
class ProgressReports:
    """Keeps the newest report of each run and writes all of them together, a few times a second at most."""

    def __init__(self, store: ResultStore, clock: WallClock) -> None:
        self._store = store
        self._clock = clock
        self._reports: dict[TaskId, ProgressReport] = {}
        self._wakeup: Wakeup | None = None

    def tell(self, run: TaskRun, fraction: float | None, message: str) -> None:
        """Takes a report of a run. From any thread, also while the event loop that `work` runs in is held up."""
        progress = Progress(fraction=fraction, message=message, at=self._clock())
        self._reports[run.task.id] = ProgressReport(task_id=run.task.id, attempt=run.attempt, progress=progress)
        wakeup = self._wakeup
        if wakeup is not None:
            wakeup.set()

    async def work(self) -> None:
        """Writes until it is cancelled. What the store does not take is lost: there will be more of it."""
        self._wakeup = wakeup = Wakeup()
        try:
            if self._reports:
                wakeup.set()
            while await wakeup.wait():
                reports = self._take()
                if not reports:
                    continue
                try:
                    with fail_after(TIMEOUT):
                        await self._store.report(reports)
                except (HubError, TimeoutError):  # the store's own log says why
                    pass
                await sleep(PERIOD)
        finally:
            self._wakeup = None
            wakeup.close()
            wakeup.close_reader()

    def _take(self) -> list[ProgressReport]:
        reports: list[ProgressReport] = []
        while self._reports:  # one by one, since another thread may add to them meanwhile
            reports.append(self._reports.popitem()[1])
        return reports
