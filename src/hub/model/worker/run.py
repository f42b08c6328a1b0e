"""One task while this instance is responsible for it."""

from __future__ import annotations

from enum import Enum
from typing import final

from anyio import CancelScope

from hub.ports.broker import Consumer, Delivery
from hub.task import Task


class StopReason(Enum):
    """Why a run was told to stop, other than by its deadline."""

    ENDED = "the task has ended elsewhere"
    DRAIN = "the instance stops"


@final
class TaskRun:
    """A task that was delivered here, until its outcome is stored or it is handed back.

    It holds every delivery that brought the task. There is more than one when the link was lost and the broker sent
    the message again, or when the message was published twice: the task runs once, and all of them are settled.

    Attributes:
        task: The task.
        attempt: Which run of the task this is; 0 while it has not begun.
        retries: Runs of the task that failed before and were tried again.
        started_at: When it began, in Unix seconds.
        scope: What runs in here is stopped by `stop`, or by the deadline of the task.
        stopped: Why it was told to stop; `None` if nobody told it to.
        busy: Whether a thread that cannot be interrupted is still at it, although its outcome is known. It keeps its place
            among the runs and its message with the broker, so that no other task is sent to an instance that has no room.
        settled: Whether nothing is left to do for it, but to wait for such a thread.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        self.attempt = 0
        self.retries = 0
        self.started_at: float | None = None
        self.scope = CancelScope()
        self.stopped: StopReason | None = None
        self.busy = False
        self.settled = False
        self._ack_is_due = False
        self._held: list[tuple[Consumer, Delivery]] = []

    def begin(self, attempt: int, *, retries: int, now: float) -> None:
        self.attempt = attempt
        self.retries = retries
        self.started_at = now

    def stop(self, why: StopReason) -> None:
        """Cancels what runs; the first reason counts. Has no effect on a run whose outcome is on its way."""
        self.stopped = self.stopped or why
        self.scope.cancel(why.value)

    def hold(self, consumer: Consumer, delivery: Delivery) -> None:
        self._held.append((consumer, delivery))

    def free(self) -> None:
        """The thread has ended; an `ack` that had to wait for it is made up for."""
        self.busy = False
        if self._ack_is_due:
            self.ack()

    def ack(self) -> None:
        if self.busy:
            self._ack_is_due = True
            return
        for consumer, delivery in self._let_go():
            consumer.ack([delivery])

    def requeue(self) -> None:
        for consumer, delivery in self._let_go():
            consumer.requeue([delivery])

    def reject(self) -> None:
        """Gives the deliveries back after a failure of ours."""
        for consumer, delivery in self._let_go():
            consumer.reject([delivery], requeue=True)

    def _let_go(self) -> list[tuple[Consumer, Delivery]]:
        held, self._held = self._held, []
        return held
