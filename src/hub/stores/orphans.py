"""The outcomes of tasks whose parent has ended before them."""

from __future__ import annotations

from collections.abc import Iterable

from hub.task import PARENT_ENDED, Failure, Outcome, TaskRecord
from hub.types import TaskState


def orphan_outcomes(children: Iterable[TaskRecord], parent: Outcome, now: float) -> list[Outcome]:
    """The outcomes that end those of the `children` of a task that have not ended.

    Those that were ended so before have their outcome again: `finish` then goes on with what is below them.
    """
    found: list[Outcome] = []
    for child in children:
        if child.outcome is None:
            found.append(orphan_outcome(child, parent.state, now))
        elif child.outcome.failure is not None and child.outcome.failure.code == PARENT_ENDED:
            found.append(child.outcome)
    return found


def orphan_outcome(child: TaskRecord, parent: TaskState, now: float) -> Outcome:
    """Without an instance, so that the store notifies the one that may be running the task."""
    failure = Failure(code=PARENT_ENDED, message=f"the task that it was called from has ended: {parent.value}")
    return Outcome(task_id=child.id, state=TaskState.CANCELLED, failure=failure, attempt=child.attempt, finished_at=now)
