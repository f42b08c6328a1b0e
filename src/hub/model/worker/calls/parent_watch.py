"""Ends tasks with their parents: a task that a model has made for another model is of no use after the one that made it."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import Final, final

import structlog
from anyio import CancelScope, move_on_after, sleep
from anyio.abc import TaskGroup
from structlog.typing import FilteringBoundLogger

from hub.concurrency.retrying import retrying
from hub.errors import ConnectionLost, HubError
from hub.model.worker import outcomes
from hub.model.worker.run import TaskRun
from hub.ports.result_store import ResultStore
from hub.task import Outcome, TaskRecord
from hub.types import TaskId, WallClock

PARENT_TIMEOUT: Final = 1.0
"""Seconds that the store has to show the parent of a task before its run; the run is watched in any case."""

LOST_PARENT_PAUSE: Final = 1.0
"""Seconds between two looks for the record of a parent that the store does not know."""

_log: FilteringBoundLogger = structlog.get_logger(__name__)


@final
class ParentWatch:
    """Looks at the parents of tasks before and during their runs: what should end a task may have died before it did.

    Args:
        store: Has the records.
        clock: Returns Unix time.
    """

    def __init__(self, store: ResultStore, clock: WallClock) -> None:
        self._store = store
        self._clock = clock

    async def ended(self, run: TaskRun) -> Outcome | None:
        """The outcome of a task whose parent has ended already; `None` without a parent, or if it cannot be read now."""
        parent = run.task.parent
        if parent is None:
            return None
        with suppress(HubError), move_on_after(PARENT_TIMEOUT):
            found = await self._store.wait_for_change(parent, after=-1)  # as it is now
            if isinstance(found, TaskRecord) and found.state.terminal:
                return outcomes.parent_ended(run, found.state, now=self._clock())
        return None

    def follow(self, run: TaskRun, tasks: TaskGroup) -> None:
        """Starts to wait for the end of the parent, if there is one, until `run.stop_following` is called.

        It ends the run's task, unless that has ended; the run is then stopped like that of any task that ended elsewhere.
        """
        parent = run.task.parent
        if parent is not None:
            run.following = following = CancelScope()
            tasks.start_soon(self._end_with, parent, run, following, name=f"hub.parent of {run.task.id}")

    async def _end_with(self, parent: TaskId, run: TaskRun, scope: CancelScope) -> None:
        with scope:
            try:
                found = await self._ended_record(parent)
                outcome = outcomes.parent_ended(run, found.state, now=self._clock())
                await retrying(on=ConnectionLost).call(partial(self._store.finish, [outcome]))
            except HubError as error:
                _log.warning("the task that this one was called from cannot be read", parent=parent, reason=str(error))

    async def _ended_record(self, task_id: TaskId) -> TaskRecord:
        """The record of a task once it has ended. One that the store has lost is written again by the run of the task."""
        while True:
            found = await retrying(on=ConnectionLost).call(
                partial(self._store.wait_for_change, task_id, after=0, until_terminal=True)
            )
            if isinstance(found, TaskRecord):
                return found
            await sleep(LOST_PARENT_PAUSE)
