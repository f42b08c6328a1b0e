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


@final
class Waiter:
    """One call of `ResultStore.wait_for_change`. Created by `Waiters.waiting`.

    Attributes:
        must_read: Whether what it waits for may have happened already. If not, a read before the first wake-up is useless.
        known: The record as of the last change before the call, if that came with it.
        before: The task, or its record, as of some time before its end; `None` if that is not known.
    """

    def __init__(self, *, after: int, until_terminal: bool) -> None:
        self.must_read = True
        self.known: TaskRecord | None = None
        self.before: Task | TaskRecord | None = None
        self._after = after
        self._until_terminal = until_terminal
        self._stale = False
        self._record: TaskRecord | None = None
        self._woken = Notifier()

    def is_satisfied_by(self, revision: int, state: TaskState | None) -> bool:
        """Whether a record at `revision`, or one that is gone (`state` is `None`), is what the call waits for."""
        if state is None:
            return True
        return revision > self._after and (state.terminal or not self._until_terminal)

    def accepts(self, found: TaskRecord | Missing) -> bool:
        return isinstance(found, Missing) or self.is_satisfied_by(found.revision, found.state)

    def wake(self, record: TaskRecord | None = None) -> None:
        self._stale = True
        self._record = record
        self._woken.notify()

    async def wait(self) -> TaskRecord | None:
        """Returns once `wake` was called since the last return; the record that the last of these calls came with."""
        await self._woken.wait_for(lambda: self._stale)
        self._stale = False
        record, self._record = self._record, None
        return record


class _Expected(NamedTuple):
    """A task that no call waits for yet, and the last change of it that was reported."""

    task: Task
    revision: int
    state: TaskState | None
    record: TaskRecord | None


@final
class Waiters:
    """The table of waiting calls. A call must be in it before it reads the record: then it misses no change."""

    def __init__(self) -> None:
        self._waiters: dict[TaskId, set[Waiter]] = {}
        self._count = 0
        self._expected: dict[TaskId, _Expected] = {}

    def __len__(self) -> int:
        return self._count

    def before_end(self, task_id: TaskId) -> Task | TaskRecord | None:
        """What is known of a task that a call waits for, or is expected to, from before its end."""
        expected = self._expected.get(task_id)
        if expected is not None:
            return expected.task
        for waiter in self._waiters.get(task_id, ()):
            if waiter.before is not None:
                return waiter.before
        return None

    @contextmanager
    def waiting(self, task_id: TaskId, *, after: int, until_terminal: bool) -> Generator[Waiter]:
        waiter = Waiter(after=after, until_terminal=until_terminal)
        expected = self._expected.pop(task_id, None)
        if expected is not None:
            state = expected.state
            waiter.before = expected.task
            waiter.must_read = not until_terminal or waiter.is_satisfied_by(expected.revision, state)
            waiter.known = None if state is TaskState.DEAD else expected.record  # the dead may have been reset since
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

    def changed(
        self, task_id: TaskId, revision: int, state: TaskState | None, record: TaskRecord | None = None
    ) -> None:
        """Wakes the calls that wait for this change.

        Args:
            task_id: The task.
            revision: The revision of its record.
            state: The state that it has now; `None` when the record is no more.
            record: The record, if it came with the change.
        """
        expected = self._expected.get(task_id)
        if expected is not None:
            self._expected[task_id] = _Expected(expected.task, revision, state, record)
        for waiter in self._waiters.get(task_id, ()):
            if waiter.is_satisfied_by(revision, state):
                waiter.wake(record)

    def expect(self, task: Task) -> None:
        """Notes the end of a task, for the first call that waits for it.

        Args:
            task: A task that is to be created, and whose end is reported to `changed`.
        """
        self._expected[task.id] = _Expected(task, 0, TaskState.QUEUED, None)
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
