"""From deliveries to runs that have begun."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, final

import structlog
from anyio import current_time, fail_after, sleep
from structlog.typing import FilteringBoundLogger

from hub.concurrency.retrying import AttemptLog, ExponentialBackoff
from hub.contract import Contract
from hub.errors import HubError, Undecodable
from hub.model.worker import outcomes
from hub.model.worker.outbox import Outbox
from hub.model.worker.run import TaskRun
from hub.model.worker.runs import RunTable
from hub.model.worker.statistics import WorkerCounters
from hub.ports.broker import Consumer, Delivery
from hub.ports.result_store import ResultStore, Start
from hub.task import Failure, Outcome, Task
from hub.types import Fingerprint, InstanceId, ModelName, TaskId, TaskState, WallClock

START_GRACE: Final = 5.0
"""Seconds for one answer of the store: after that the task counts as not started."""

_log: FilteringBoundLogger = structlog.get_logger(__name__)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """Decides for each delivery whether it is run, and counts the attempt of those that are.

    Attributes:
        model: Whose tasks are run.
        contract: The contract that their requests are written for.
        instance: Where they run.
        store: Knows what has become of each task, and counts attempts.
        attempts: RunTable of a task that may be cut short; then it is dead.
        timeout: Seconds to try for the store before deliveries are handed back.
        runs: The runs in flight.
        outbox: Where tasks go that have an outcome without a run.
        tally: Counts what happens.
        clock: Tells Unix time.
        launch: Starts a run that has begun.
        reads: Whether tasks that were written for another contract can be run too.
        refuse: Takes a run whose task cannot; gives it an outcome, or hands it back.
    """

    model: ModelName
    contract: Contract
    instance: InstanceId
    store: ResultStore
    attempts: int
    timeout: float
    runs: RunTable
    outbox: Outbox
    tally: WorkerCounters
    clock: WallClock
    launch: Callable[[TaskRun], None]
    reads: Callable[[Fingerprint], bool]
    refuse: Callable[[TaskRun], None]

    async def take_in(self, consumer: Consumer) -> None:
        """Takes in what `consumer` receives, until it is cancelled. Whatever had not begun by then is requeued.

        Raises:
            ConnectionLost: The consumer's link is gone.
        """
        while True:
            await self._admit(consumer, await consumer.receive())

    async def _admit(self, consumer: Consumer, deliveries: Sequence[Delivery]) -> None:
        waiting = self._sort(consumer, deliveries)
        try:
            while waiting:
                batch = waiting[: await self.runs.room()]
                if not await self._try(batch):
                    break
                del waiting[: len(batch)]
        finally:
            for run in waiting:
                run.requeue()

    def _sort(self, consumer: Consumer, deliveries: Sequence[Delivery]) -> list[TaskRun]:
        """The runs that may begin. A delivery of a task that is in flight here is held by its run."""
        fresh: dict[TaskId, TaskRun] = {}
        for delivery in deliveries:
            try:
                task = Task.decode(delivery.body)
            except Undecodable as error:
                self.tally.undecodable += 1
                self.outbox.bury_stray(consumer, delivery, Failure(code=error.code, message=str(error)))
                continue
            run = self.runs.get(task.id) or fresh.get(task.id)
            if run is not None:
                self.tally.skipped += 1
                run.hold(consumer, delivery)
                continue
            run = TaskRun(task)
            run.hold(consumer, delivery)
            if not self._ours(task):
                self.runs.add(run)
                self.refuse(run)
            elif self._late(task):
                self._end(run, outcomes.expired(run, instance=self.instance, now=self.clock()))
            else:
                fresh[task.id] = run
        return list(fresh.values())

    async def _try(self, batch: Sequence[TaskRun]) -> bool:
        """Begins what the store lets begin; returns whether it could be asked."""
        for run in batch:  # before the store knows of them: it may tell of their end sooner than it answers
            self.runs.add(run)
        starts: Sequence[Start] | None = None
        try:
            starts = await self._start([run.task for run in batch])
        finally:
            if starts is None:
                for run in batch:
                    self.runs.remove(run)
        for run, start in zip(batch, starts or (), strict=starts is not None):
            self._begin(run, start)
        return starts is not None

    async def _start(self, tasks: Sequence[Task]) -> Sequence[Start] | None:
        """Asks the store; `None` when it could not be asked for too long."""
        timeout_ends = current_time() + self.timeout
        attempts = AttemptLog("tasks", failing="tasks not started, asking the store again")
        for delay in ExponentialBackoff().intervals():
            try:
                # Shielded: a drain in between would hand back what the store has counted as an attempt already.
                with fail_after(START_GRACE, shield=True):
                    return await self.store.start(tasks, self.instance, attempts=self.attempts)
            except (HubError, TimeoutError) as error:
                attempts.failed(str(error) or "it does not answer", delay)
            if current_time() + delay > timeout_ends:
                break
            await sleep(delay)
        return None

    def _begin(self, run: TaskRun, start: Start) -> None:
        run.attempt = start.attempt
        match start.state:
            case TaskState.RUNNING if run.stopped is None and self._late(run.task):  # while the store was asked
                self._end(run, outcomes.expired(run, instance=self.instance, now=self.clock()))
            case TaskState.RUNNING if run.stopped is None:
                now = self.clock()
                self.tally.began(created_at=run.task.created_at, now=now, first=start.attempt == 1)
                run.begin(start.attempt, retries=start.retries, now=now)
                self.launch(run)
            case TaskState.QUEUED:
                runs = "its only run was" if start.attempt == 1 else f"{start.attempt} runs of it were"
                message = (
                    f"{runs} cut short: its instance died, or lost its store, each time. Find out what it does to an "
                    "instance; then send the request again as a new task, or have an operator put this one back with "
                    "`hub dead replay`"
                )
                now = self.clock()
                self._end(
                    run, outcomes.dead(run, code="attempts_exhausted", message=message, instance=self.instance, now=now)
                )
            case TaskState.DEAD:
                self.outbox.bury_again(run)
            case _:  # it has ended, or was withdrawn
                self.tally.skipped += 1
                run.ack()
                self.runs.remove(run)

    def _ours(self, task: Task) -> bool:
        own = task.fingerprint == self.contract.fingerprint or self.reads(task.fingerprint)
        return task.model == self.model and own

    def _late(self, task: Task) -> bool:
        return task.deadline is not None and task.deadline <= self.clock()

    def _end(self, run: TaskRun, outcome: Outcome) -> None:
        self.runs.add(run)
        self.outbox.finish(run, outcome)
