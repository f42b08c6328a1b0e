"""Lists of recent tasks in memory."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Sequence
from typing import Final, final

from hub.ports.result_store import LIST_LENGTH
from hub.stores.recent import Listed, entry_at, listed_as, page_of
from hub.task import TaskRecord
from hub.types import ModelName, TaskId, TaskState

RUNNING_LIMIT: Final = 10_000
"""Running tasks remembered at most. The oldest go first: of a record that expires while it runs there is no notification."""


@final
class MemoryLists:
    """Which tasks run, and which ended lately without a response, by model and over all models (`None`).

    A list of ended tasks is sorted and has `LIST_LENGTH` entries at most; readers drop those that are not true any more.
    """

    def __init__(self) -> None:
        self._running: dict[TaskId, tuple[ModelName, float]] = {}
        self._ended = defaultdict[tuple[TaskState, ModelName | None], list[str]](list)

    def changed(self, record: TaskRecord) -> None:
        """Keeps the lists up to date with a record that was written."""
        if record.state is TaskState.RUNNING:
            self._running[record.id] = (record.model, record.started_at or record.updated_at)
            if len(self._running) > RUNNING_LIMIT:
                del self._running[next(iter(self._running))]
            return
        self._running.pop(record.id, None)
        if record.outcome is None or record.outcome.body is not None:
            return
        listed = listed_as(record)
        assert listed is not None  # noqa: S101 - it has an outcome
        for model in (record.model, None):
            entries = self._ended[record.state, model]
            if (at := bisect_left(entries, listed.entry)) == len(entries) or entries[at] != listed.entry:
                insort(entries, listed.entry)
                del entries[:-LIST_LENGTH]

    def forget(self, task_id: TaskId) -> None:
        """The record was taken back."""
        self._running.pop(task_id, None)

    def read(self, states: Sequence[TaskState], model: ModelName | None, before: str, limit: int) -> list[Listed]:
        """The newest entries below `before`."""
        return page_of([self._below(state, model, before, limit) for state in states], states, limit)

    def drop(self, listed: Listed, model: ModelName | None) -> None:
        """Removes an entry that is not true any more."""
        if listed.state is TaskState.RUNNING:
            self._running.pop(listed.task_id, None)
            return
        entries = self._ended[listed.state, model]
        at = bisect_left(entries, listed.entry)
        if at < len(entries) and entries[at] == listed.entry:
            del entries[at]

    def _below(self, state: TaskState, model: ModelName | None, before: str, limit: int) -> Sequence[str]:
        if state is TaskState.RUNNING:
            running = self._running.items()
            entries = sorted(entry_at(at, task_id) for task_id, (owner, at) in running if model in {None, owner})
        else:
            entries = self._ended.get((state, model), [])
        end = bisect_left(entries, before) if before else len(entries)
        return entries[max(0, end - limit) : end]
