"""The calls that wait for changes of tasks."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Final, NamedTuple, final

from hub.concurrency.notify import Notifier
from hub.ports.result_store import Missing
from hub.task import Task, TaskRecord
from hub.types import TaskId, TaskState

MAX_EXPECTED: Final = 4_096
"""Tasks at most whose changes are noted before anything waits for them; a wait for any other begins with a read."""


class Change(NamedTuple):
    """A change of a task.

    Attributes:
        task_id: The task.
        revision: That of its record.
        state: The state that the task has now; `None` when the record is no more.
        packed: What was published of the record, for the adapter; empty if nothing was.
    """

    task_id: TaskId
    revision: int
    state: TaskState | None
    packed: bytes = b""


@final
class Waiter:
    """One call of `ResultStore.wait_for_change`. Created by `Waiters.waiting`.

    Attributes:
        must_read: Whether what it waits for may have happened already. If not, a read before the first wake-up is useless.
        known: The last change before the call, if its record is the present one.
        before: The task, or its record, as of some time before its end; `None` if that is not known.
    """

    def __init__(self, *, after: int, until_terminal: bool) -> None:
        self.must_read = True
        self.known: Change | None = None
        self.before: Task | TaskRecord | None = None
        self._after = after
        self._until_terminal = until_terminal
        self._stale = False
        self._change: Change | None = None
        self._woken = Notifier()

    def is_satisfied_by(self, revision: int, state: TaskState | None) -> bool:
        """Whether a record at `revision`, or one that is gone (`state` is `None`), is what the call waits for."""
        if state is None:
            return True
        return revision > self._after and (state.terminal or not self._until_terminal)

    def accepts(self, found: TaskRecord | Missing) -> bool:
        return isinstance(found, Missing) or self.is_satisfied_by(found.revision, found.state)

    def wake(self, change: Change | None = None) -> None:
        self._stale = True
        self._change = change
        self._woken.notify()

    async def wait(self) -> Change | None:
        """Returns once `wake` was called since the last return; the change that the last of these calls came with."""
        await self._woken.wait_for(lambda: self._stale)
        self._stale = False
        change, self._change = self._change, None
        return change


class _Expected(NamedTuple):
    """A task that no call waits for yet, and the last change of it that was reported."""

    task: Task
    change: Change


@final
class Waiters:
    """The table of waiting calls. A call must be in it before it reads the record: then it misses no change."""

    def __init__(self) -> None:
        self._waiters: dict[TaskId, set[Waiter]] = {}
        self._count = 0
        self._expected: dict[TaskId, _Expected] = {}

    def __len__(self) -> int:
        return self._count

    @contextmanager
    def waiting(self, task_id: TaskId, *, after: int, until_terminal: bool) -> Generator[Waiter]:
        waiter = Waiter(after=after, until_terminal=until_terminal)
        expected = self._expected.pop(task_id, None)
        if expected is not None:
            waiter.before, change = expected
            waiter.must_read = not until_terminal or waiter.is_satisfied_by(change.revision, change.state)
            waiter.known = None if change.state is TaskState.DEAD else change  # the dead may have been reset since
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

    def changed(self, change: Change) -> None:
        """Wakes the calls that wait for this change."""
        expected = self._expected.get(change.task_id)
        if expected is not None:
            self._expected[change.task_id] = _Expected(expected.task, change)
        for waiter in self._waiters.get(change.task_id, ()):
            if waiter.is_satisfied_by(change.revision, change.state):
                waiter.wake(change)

    def expect(self, task: Task) -> None:
        """Notes the end of a task, for the first call that waits for it.

        Args:
            task: A task that is to be created, and whose end is reported to `changed`.
        """
        self._expected[task.id] = _Expected(task, Change(task.id, 0, TaskState.QUEUED))
        if len(self._expected) > MAX_EXPECTED:
            del self._expected[next(iter(self._expected))]

    def forget(self, task_id: TaskId) -> None:
        """Takes `expect` back: the task was not created, or others are notified of its changes."""
        self._expected.pop(task_id, None)

    def wake_all(self) -> None:
        """After changes may have been missed."""
        self._expected.clear()
        for same_task in self._waiters.values():
            for waiter in same_task:
                waiter.wake()
