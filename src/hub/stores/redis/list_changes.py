"""What is to be written into the lists of recent tasks in Redis. Does no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple, final

from hub.ports.result_store import LIST_LENGTH
from hub.stores.options import UNFINISHED_TTL
from hub.stores.recent import Listed, entry_at
from hub.types import ModelName, TaskId, TaskState

PENDING: Final = 2 * LIST_LENGTH
"""Changes of one list that are remembered while the server is away; the oldest go first."""

REFRESH: Final = 60
"""After so many updates all runs are written again: the server may have lost them, or the list been too long."""

UNFINISHED_MS: Final = int(UNFINISHED_TTL * 1000)


class ListName(NamedTuple):
    """`model` is empty for the list of all models."""

    state: TaskState
    model: str = ""


@final
@dataclass(slots=True)
class ListChange:
    """Entries of one list: `True` for those to add, `False` for those to remove. It is to live so long at least."""

    entries: dict[str, bool] = field(default_factory=dict[str, bool])
    lifetime_ms: int = 0


@final
class ListChanges:
    """Gathers changes until they are taken. What could not be written is put back and does not undo what came later."""

    def __init__(self) -> None:
        self._changes: dict[ListName, ListChange] = {}

    def __bool__(self) -> bool:
        return bool(self._changes)

    def add(self, listed: Listed, model: str, lifetime_ms: int) -> None:
        """A task is to be on the list of its model, and on that of all models."""
        for name in (ListName(listed.state, model), ListName(listed.state)):
            self._change(name, listed.entry, there=True, lifetime_ms=lifetime_ms)

    def remove(self, listed: Listed, *models: str) -> None:
        for model in models:
            self._change(ListName(listed.state, model), listed.entry, there=False)

    def take(self) -> Mapping[ListName, ListChange]:
        taken, self._changes = self._changes, {}
        return taken

    def put_back(self, changes: Mapping[ListName, ListChange]) -> None:
        later, self._changes = self._changes, {}
        for each in (changes, later):
            for name, change in each.items():
                for entry, there in change.entries.items():
                    self._change(name, entry, there=there, lifetime_ms=change.lifetime_ms)

    def _change(self, name: ListName, entry: str, *, there: bool, lifetime_ms: int = 0) -> None:
        change = self._changes.setdefault(name, ListChange())
        change.entries[entry] = there
        change.lifetime_ms = max(change.lifetime_ms, lifetime_ms)
        if len(change.entries) > PENDING:
            del change.entries[next(iter(change.entries))]


@final
class RunsListed:
    """Which runs of this process are on the lists of running tasks.

    A run is written at the second update that finds it, so tasks that are faster than that cost nothing.
    """

    def __init__(self, changes: ListChanges) -> None:
        self._changes = changes
        self._seen: dict[Listed, ModelName] = {}
        self._listed: dict[Listed, ModelName] = {}
        self._updates = 0

    def update(self, runs: Iterable[tuple[TaskId, float, ModelName]]) -> None:
        """Notes what has to be written; `runs` are the present ones: task, start and model."""
        present = {Listed(entry_at(at, task_id), TaskState.RUNNING): model for task_id, at, model in runs}
        lasting = {listed: model for listed, model in present.items() if listed in self._seen}
        self._updates += 1
        again = self._updates % REFRESH == 0
        for listed, model in lasting.items():
            if again or listed not in self._listed:
                self._changes.add(listed, model, UNFINISHED_MS)
        for listed, owner in self._listed.items():
            if listed not in lasting:
                self._changes.remove(listed, owner, "")
        self._seen, self._listed = present, lasting

    def forget(self) -> None:
        """The server may have lost what was written: everything is to be written again."""
        self._listed = {}
