"""What running models say of their progress, on its way into the store."""

from __future__ import annotations

from typing import Final, final

from anyio import Event, NoEventLoopError, fail_after, sleep
from anyio.from_thread import run_sync
from anyio.lowlevel import EventLoopToken, current_token

from hub.errors import HubError
from hub.model.run import Run
from hub.ports import ProgressReport, ResultStore
from hub.task import Progress
from hub.vocabulary import TaskId, WallClock

PERIOD: Final = 0.2
"""Seconds between two writes: people cannot read faster, and a model may report at each step of a loop."""

PATIENCE: Final = 5.0
"""Seconds that one write may take; by then there will be news to tell instead."""


@final
class ProgressReports:
    """Keeps the last word of each run and writes all of them together, a few times a second at most."""

    def __init__(self, store: ResultStore, clock: WallClock) -> None:
        self._store = store
        self._clock = clock
        self._reports: dict[TaskId, ProgressReport] = {}
        self._work = Event()
        self._token: EventLoopToken | None = None

    def tell(self, run: Run, fraction: float | None, message: str) -> None:
        """Takes the word of a run, from any thread."""
        progress = Progress(fraction=fraction, message=message, at=self._clock())
        report = ProgressReport(task_id=run.task.id, attempt=run.attempt, progress=progress)
        try:
            current_token()
        except NoEventLoopError:
            run_sync(self._take, report, token=self._token)
        else:
            self._take(report)

    async def work(self) -> None:
        """Writes until it is cancelled. What the store does not take is lost: there will be more of it."""
        self._token = current_token()
        while True:
            await self._work.wait()
            self._work = Event()
            reports = list(self._reports.values())
            self._reports.clear()
            try:
                with fail_after(PATIENCE):
                    await self._store.report(reports)
            except (HubError, TimeoutError):  # the store's own log says why
                pass
            await sleep(PERIOD)

    def _take(self, report: ProgressReport) -> None:
        self._reports[report.task_id] = report
        self._work.set()
