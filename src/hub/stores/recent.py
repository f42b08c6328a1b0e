"""Lists of recent tasks: what a list holds of a task, and how a page is read. Does no I/O itself.

A list has one *entry* for each task, a text that sorts by time: Unix seconds with six digits, `_`, the task's id. It is
a hint: the task may have moved on since, so a reader compares each entry with the record before it believes it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple, TypeAlias

from hub.ports.result_store import Missing, RecentTasks
from hub.task import Outcome, TaskRecord
from hub.types import TaskId, TaskState

CHUNK: Final = 100
"""Entries that are checked together when the first ones turned out to be stale."""


class Listed(NamedTuple):
    """An entry, and the state whose list it is from."""

    entry: str
    state: TaskState

    @property
    def task_id(self) -> TaskId:
        return TaskId(self.entry.rpartition("_")[2])


Read: TypeAlias = Callable[[str, int], Awaitable[Sequence[Listed]]]
"""Gives entries below an entry (all if it is empty), newest first, at most so many."""

Fetch: TypeAlias = Callable[[Sequence[TaskId]], Awaitable[Sequence[TaskRecord | Missing | Exception]]]


def entry_at(at: float, task_id: TaskId) -> str:
    return f"{at:017.6f}_{task_id}"


def entry_of(outcome: Outcome) -> str:
    return entry_at(outcome.finished_at, outcome.task_id)


def listed_as(record: TaskRecord) -> Listed | None:
    """Where a task belongs now; `None` while it is queued."""
    if record.outcome is not None:
        return Listed(entry_of(record.outcome), record.state)
    if record.state is TaskState.RUNNING and record.started_at is not None:
        return Listed(entry_at(record.started_at, record.id), record.state)
    return None


def page_of(entries: Sequence[Sequence[str]], states: Sequence[TaskState], limit: int) -> list[Listed]:
    """The newest `limit` entries of several lists, one for each state."""
    merged = [Listed(entry, state) for state, own in zip(states, entries, strict=True) for entry in own]
    return sorted(merged, reverse=True)[:limit]


async def recent_tasks(
    before: str, limit: int, *, read: Read, fetch: Fetch, drop: Callable[[Listed], None]
) -> RecentTasks:
    """Reads a page; `drop` is called with entries that will never be true again."""
    found: list[TaskRecord] = []
    cursor, chunk = before, limit
    while True:
        names = await read(cursor, chunk + 1)
        more, names = len(names) > chunk, names[:chunk]
        records = await fetch([name.task_id for name in names]) if names else ()
        for index, (name, record) in enumerate(zip(names, records, strict=True)):
            cursor = name.entry
            if isinstance(record, TaskRecord) and listed_as(record) == name:
                found.append(record)
                if len(found) == limit:
                    more = more or index + 1 < len(names)
                    return RecentTasks(found, cursor if more else "")
            elif _stale(name, record):
                drop(name)
        if not more:
            return RecentTasks(found, "")
        chunk = max(limit, CHUNK)


def _stale(name: Listed, record: TaskRecord | Missing | Exception) -> bool:
    """Whether an entry that is not true now will never be. A dead task that is reset may get its old outcome back."""
    if isinstance(record, TaskRecord):
        return record.state.terminal or name.state is TaskState.RUNNING
    return isinstance(record, Missing)
