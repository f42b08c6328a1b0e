"""One task while this instance is responsible for it, and the table of all of them."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import final

from anyio import CancelScope, Event

from hub.concurrency.notify import Notifier
from hub.ports.broker import Consumer, Delivery
from hub.task import Task
from hub.types import TaskId


class StopReason(Enum):
    """Why a run ends without an outcome, other than by its deadline."""

    ENDED = "the task has ended elsewhere"
    OVERTAKEN = "another run of the task has begun, or the store has lost its chunks"
    DRAIN = "the instance stops"


@final
class TaskRun:
    """A task that was delivered to this instance, until its outcome is stored or its message is back on the queue.

    It holds every delivery of the task. There is more than one when the connection was lost and the broker delivered the
    message again, or when the message was published twice: the task runs once, and all deliveries are settled. One that
    comes after `conclude` may be meant for another run: a retry, or a replay by an operator. It goes back to the queue, and
    the store decides what its next delivery is.

    Attributes:
        task: The task.
        attempt: Which run of the task this is; 0 while it has not begun.
        retries: Runs of the task that failed before and were retried.
        started_at: When it began, in Unix seconds.
        scope: Bounds the model's code: cancelled by `stop`, or at the deadline.
        following: Bounds the wait for the end of the task that this one was called from; `None` if there is none.
        stopped: Why `stop` was called; `None` if it was not.
        chunks: Chunks of a streaming run that are stored; `None` if it is not one.
        abandoned: Calls of the model that cannot be interrupted and go on after a cancellation; each is set when it ends.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        self.attempt = 0
        self.retries = 0
        self.started_at: float | None = None
        self.scope = CancelScope()
        self.following: CancelScope | None = None
        self.stopped: StopReason | None = None
        self.chunks: int | None = None
        self.abandoned: list[Event] = []
        self._deliveries: list[tuple[Consumer, Delivery]] = []
        self._late: list[tuple[Consumer, Delivery]] = []
        self._concluded = False

    @property
    def was_interrupted(self) -> bool:
        """Whether an earlier run ended without a result: its instance died, perhaps because of this task, or was stopped."""
        return self.attempt > self.retries + 1

    def stop(self, reason: StopReason) -> None:
        """Cancels the model's code; the first reason counts. Has no effect once it has ended."""
        self.stopped = self.stopped or reason
        self.scope.cancel(reason.value)

    def stop_following(self) -> None:
        """Ends the wait for the end of the parent, if there is one."""
        if self.following is not None:
            self.following.cancel("the run has ended")

    def conclude(self) -> None:
        """The result of the run is known. Deliveries from now on are not of this run."""
        self._concluded = True

    def add_delivery(self, consumer: Consumer, delivery: Delivery) -> None:
        (self._late if self._concluded else self._deliveries).append((consumer, delivery))

    def ack(self) -> None:
        for consumer, delivery in self._deliveries:
            consumer.ack([delivery])
        self._deliveries = []
        self.requeue()

    def requeue(self) -> None:
        for consumer, delivery in self._pop_deliveries():
            consumer.requeue([delivery])

    def reject(self) -> None:
        """Puts the message back on the queue after a failure of the instance or of a server."""
        for consumer, delivery in self._pop_deliveries():
            consumer.reject([delivery], requeue=True)

    def _pop_deliveries(self) -> list[tuple[Consumer, Delivery]]:
        deliveries, self._deliveries, self._late = [*self._deliveries, *self._late], [], []
        return deliveries


@final
class RunTable:
    """The runs in flight by task id, with a limit.

    The limit is `hub.model.model.task_places`. The prefetch count keeps it too, except after a lost connection: then the broker
    delivers up to as many tasks again while the earlier ones still run.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._runs: dict[TaskId, TaskRun] = {}
        self._removed = Notifier()

    def __len__(self) -> int:
        return len(self._runs)

    def __iter__(self) -> Iterator[TaskRun]:
        return iter(list(self._runs.values()))

    def get(self, task_id: TaskId) -> TaskRun | None:
        return self._runs.get(task_id)

    def add(self, run: TaskRun) -> None:
        self._runs[run.task.id] = run

    def remove(self, run: TaskRun) -> None:
        """Does nothing if it is not in the table."""
        if self._runs.get(run.task.id) is run:
            del self._runs[run.task.id]
            self._removed.notify()

    async def wait_for_capacity(self) -> int:
        """Waits until another run may begin; returns how many may."""
        await self._removed.wait_for(lambda: len(self._runs) < self._limit)
        return self._limit - len(self._runs)

    async def wait_empty(self) -> None:
        """Waits until nothing is in flight."""
        await self._removed.wait_for(lambda: not self._runs)
