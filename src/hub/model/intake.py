"""From deliveries to runs that have begun."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import structlog
from anyio import current_time, sleep
from structlog.typing import FilteringBoundLogger

from hub.contract import Contract
from hub.errors import HubError, Undecodable
from hub.model import report
from hub.model.outbox import Outbox
from hub.model.run import Run
from hub.model.runs import Runs
from hub.model.statistics import Tally
from hub.ports import Consumer, Delivery, ResultStore, Start
from hub.supervision import Backoff
from hub.task import Task
from hub.vocabulary import InstanceId, ModelName, TaskId, TaskState, WallClock

_log: FilteringBoundLogger = structlog.get_logger(__name__)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """Decides for each delivery whether it is run, and counts the attempt of those that are.

    Attributes:
        model: Whose tasks are run.
        contract: The contract that their requests must be written for.
        instance: Where they run.
        store: Knows what has become of each task, and counts attempts.
        patience: Seconds to try for the store before deliveries are handed back.
        runs: The runs in flight.
        outbox: Where tasks go that are dead on arrival.
        tally: Counts what happens.
        clock: Tells Unix time.
        launch: Starts a run that has begun.
    """

    model: ModelName
    contract: Contract
    instance: InstanceId
    store: ResultStore
    patience: float
    runs: Runs
    outbox: Outbox
    tally: Tally
    clock: WallClock
    launch: Callable[[Run], None]

    async def take_in(self, consumer: Consumer) -> None:
        """Takes in what `consumer` receives, until it is cancelled. Whatever had not begun by then is requeued.

        Raises:
            LinkLost: The consumer's link is gone.
        """
        while True:
            await self._admit(consumer, await consumer.receive())

    async def _admit(self, consumer: Consumer, deliveries: Sequence[Delivery]) -> None:
        waiting = self._sort(consumer, deliveries)
        try:
            while waiting:
                batch = waiting[: await self.runs.room()]
                starts = await self._start([run.task for run in batch])
                if starts is None:
                    break
                del waiting[: len(batch)]
                for run, start in zip(batch, starts, strict=True):
                    self._begin(run, start)
        finally:
            for run in waiting:
                run.requeue()

    def _sort(self, consumer: Consumer, deliveries: Sequence[Delivery]) -> list[Run]:
        """The runs that may begin. A delivery of a task that is in flight here is held by its run."""
        fresh: dict[TaskId, Run] = {}
        for delivery in deliveries:
            try:
                task = Task.decode(delivery.body)
            except Undecodable as error:
                self.tally.undecodable += 1
                _log.error("message given to the dead letters", message_id=delivery.message_id, reason=str(error))
                consumer.reject([delivery], requeue=False)
                continue
            run = self.runs.get(task.id) or fresh.get(task.id)
            if run is not None:
                self.tally.skipped += 1
                run.hold(consumer, delivery)
                continue
            run = Run(task)
            run.hold(consumer, delivery)
            mismatch = self._mismatch(task)
            if mismatch:
                self._bury(run, mismatch)
            else:
                fresh[task.id] = run
        return list(fresh.values())

    def _mismatch(self, task: Task) -> str:
        if task.model != self.model:
            return f"the task is for model {task.model!r}, but it was on the queue of {self.model!r}"
        if task.fingerprint != self.contract.fingerprint:
            return (
                f"the task was written for contract {task.fingerprint[:12] or 'without a fingerprint'}, but instance "
                f"{self.instance} of {self.model} has {self.contract.fingerprint[:12]}; submit it again"
            )
        return ""

    def _bury(self, run: Run, reason: str) -> None:
        _log.error("task given to the dead letters", task=run.task.id, code="wrong_contract", reason=reason)
        self.runs.add(run)
        outcome = report.dead(run, code="wrong_contract", message=reason, instance=self.instance, now=self.clock())
        self.outbox.put(run, outcome, dead_letter=True)

    async def _start(self, tasks: Sequence[Task]) -> Sequence[Start] | None:
        """Asks the store; `None` when it could not be asked for too long."""
        patience_ends = current_time() + self.patience
        for delay in Backoff().delays():
            try:
                return await self.store.start(tasks, self.instance)
            except HubError as error:
                _log.warning("tasks not started, asking the store again", count=len(tasks), reason=str(error))
            if current_time() + delay > patience_ends:
                break
            await sleep(delay)
        return None

    def _begin(self, run: Run, start: Start) -> None:
        if start.state is not TaskState.RUNNING:  # it has ended already, or was withdrawn
            self.tally.skipped += 1
            run.ack()
            return
        self.tally.attempts += 1
        run.begin(start.attempt, now=self.clock())
        self.runs.add(run)
        self.launch(run)
