"""What this process knows of the tasks that it has started and not yet finished."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Final, final

from hub.stores.redis_commands import Identity, identity
from hub.task import Task
from hub.vocabulary import TaskId

LIMIT: Final = 10_000
"""Tasks remembered at most: far more than are ever in flight. The oldest goes first, as one that was handed back."""


@final
class StartedTasks:
    """A server that loses its data while a task runs must still get the outcome, with a record to hang it on."""

    def __init__(self) -> None:
        self._identities: OrderedDict[TaskId, Identity] = OrderedDict()

    @property
    def identities(self) -> Mapping[TaskId, Identity]:
        return self._identities

    def remember(self, tasks: Iterable[Task]) -> None:
        for task in tasks:
            self._identities[task.id] = identity(task)
            self._identities.move_to_end(task.id)
        while len(self._identities) > LIMIT:
            self._identities.popitem(last=False)

    def forget(self, task_ids: Iterable[TaskId]) -> None:
        for task_id in task_ids:
            self._identities.pop(task_id, None)
