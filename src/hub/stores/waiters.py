"""The calls that wait for changes of tasks."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import final

from hub.concurrency.notify import Notifier
from hub.ports.result_store import Missing
from hub.task import TaskRecord
from hub.types import TaskId, TaskState


@final
class Waiter:
    """One call of `ResultStore.wait_for_change`. Created by `Waiters.waiting`."""

    def __init__(self, *, after: int, until_terminal: bool) -> None:
        self._after = after
        self._until_terminal = until_terminal
        self._stale = False
        self._woken = Notifier()

    def is_satisfied_by(self, revision: int, state: TaskState | None) -> bool:
        """Whether a record at `revision`, or one that is gone (`state` is `None`), is what the call waits for."""
        if state is None:
            return True
        return revision > self._after and (state.terminal or not self._until_terminal)

    def accepts(self, found: TaskRecord | Missing) -> bool:
        return isinstance(found, Missing) or self.is_satisfied_by(found.revision, found.state)

    def wake(self) -> None:
        self._stale = True
        self._woken.notify()

    async def wait(self) -> None:
        """Returns once `wake` was called since the last return."""
        await self._woken.wait_for(lambda: self._stale)
        self._stale = False


@final
class Waiters:
    """The table of waiting calls. A call must be in it before it reads the record: then it misses no change."""

    def __init__(self) -> None:
        self._waiters: dict[TaskId, set[Waiter]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @contextmanager
    def waiting(self, task_id: TaskId, *, after: int, until_terminal: bool) -> Generator[Waiter]:
        waiter = Waiter(after=after, until_terminal=until_terminal)
        same_task = self._waiters.setdefault(task_id, set())
        same_task.add(waiter)
        self._count += 1
        try:
            yield waiter
        finally:
            self._count -= 1
            same_task.discard(waiter)
            if not same_task:
                self._waiters.pop(task_id, None)

    def changed(self, task_id: TaskId, revision: int, state: TaskState | None) -> None:
        """Wakes the calls that wait for this change; `state` is `None` when the record is no more."""
        for waiter in self._waiters.get(task_id, ()):
            if waiter.is_satisfied_by(revision, state):
                waiter.wake()

    def wake_all(self) -> None:
        """After changes may have been missed."""
        for same_task in self._waiters.values():
            for waiter in same_task:
                waiter.wake()
