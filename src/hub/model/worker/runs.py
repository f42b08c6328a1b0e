"""The runs that are in flight in one instance."""

from __future__ import annotations

from collections.abc import Iterator
from typing import final

from anyio import Event

from hub.model.worker.run import TaskRun
from hub.types import TaskId


@final
class RunTable:
    """A bounded table of runs by task id; it knows when it has room and when it is empty.

    The bound is what `Model.concurrency` promises. Prefetch keeps it too, except after a lost link: then the broker
    delivers up to as many tasks again while the old ones still run.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._runs: dict[TaskId, TaskRun] = {}
        self._fewer = Event()

    def __len__(self) -> int:
        return len(self._runs)

    def __iter__(self) -> Iterator[TaskRun]:
        return iter(list(self._runs.values()))

    def get(self, task_id: TaskId) -> TaskRun | None:
        return self._runs.get(task_id)

    def add(self, run: TaskRun) -> None:
        self._runs[run.task.id] = run

    def remove(self, run: TaskRun) -> None:
        if self._runs.get(run.task.id) is run:
            del self._runs[run.task.id]
            self._fewer.set()
            self._fewer = Event()

    async def room(self) -> int:
        """Waits until another run may begin; returns how many may."""
        while len(self._runs) >= self._limit:
            await self._fewer.wait()
        return self._limit - len(self._runs)

    async def idle(self) -> None:
        """Waits until nothing is in flight."""
        while self._runs:
            await self._fewer.wait()
