"""From deliveries to tasks that are started in the store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, final

from anyio import current_time, fail_after

from hub.concurrency.retrying import AttemptLog, retrying
from hub.errors import HubError, Undecodable
from hub.model.worker.contract_mismatch import ContractCheck
from hub.model.worker.options import WorkerOptions
from hub.model.worker.run import RunTable, TaskRun
from hub.model.worker.statistics import WorkerCounters
from hub.ports.broker import Consumer, Delivery
from hub.ports.result_store import ResultStore, Start
from hub.task import Failure, Task
from hub.types import InstanceId, TaskId, WallClock

START_TIMEOUT: Final = 5.0
"""Seconds for one answer of the store; after that the tasks count as not started."""


@dataclass(frozen=True, slots=True)
class Received:
    """Deliveries that were received together.

    Attributes:
        startable: Tasks that this instance can run.
        not_startable: Tasks of another contract, and late ones. They are in the table of runs.
        malformed: Messages that are not tasks, each with the reason.
    """

    startable: list[TaskRun] = field(default_factory=list[TaskRun])
    not_startable: list[TaskRun] = field(default_factory=list[TaskRun])
    malformed: list[tuple[Delivery, Failure]] = field(default_factory=list[tuple[Delivery, Failure]])


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class TaskStarter:
    """Decides for each delivery whether its task is run, and counts the attempt of those that are.

    Attributes:
        contracts: Which tasks the instance can run.
        store: Knows the state of each task, and counts attempts.
        instance: Id of the instance.
        options: Limits.
        runs: The runs in flight.
        counters: Count what is not run.
        clock: Returns Unix time.
    """

    contracts: ContractCheck
    store: ResultStore
    instance: InstanceId
    options: WorkerOptions
    runs: RunTable
    counters: WorkerCounters
    clock: WallClock

    def sort(self, consumer: Consumer, deliveries: Sequence[Delivery]) -> Received:
        """Decodes deliveries. Another delivery of a task that is in flight here is added to its run."""
        received = Received()
        new: dict[TaskId, TaskRun] = {}
        for delivery in deliveries:
            try:
                task = Task.decode(delivery.body)
            except Undecodable as error:
                self.counters.undecodable += 1
                received.malformed.append((delivery, Failure(code=error.code, message=str(error))))
                continue
            run = self.runs.get(task.id) or new.get(task.id)
            if run is not None:
                self.counters.skipped += 1
                run.add_delivery(consumer, delivery)
                continue
            run = TaskRun(task)
            run.add_delivery(consumer, delivery)
            if self.contracts.can_run(task) and not is_late(task, self.clock()):
                new[task.id] = run
                received.startable.append(run)
            else:
                self.runs.add(run)
                received.not_startable.append(run)
        return received

    async def start(self, batch: Sequence[TaskRun]) -> Sequence[Start]:
        """Starts tasks in the store, which may be away for `store_timeout`; returns its answers, in order.

        Raises:
            HubError: The last error of the store.
            TimeoutError: Its last answer took too long.
        """
        tasks = [run.task for run in batch]

        async def attempt() -> Sequence[Start]:
            # Shielded: a stop in between would requeue what the store has counted as an attempt already.
            with fail_after(START_TIMEOUT, shield=True):
                return await self.store.start(tasks, self.instance, attempts=self.options.attempt_limit)

        for run in batch:  # before the store knows of them: it may report their end sooner than it answers
            self.runs.add(run)
        try:
            return await retrying(
                on=(HubError, TimeoutError),
                until=current_time() + self.options.store_timeout,
                on_retry=AttemptLog("tasks", failing="tasks not started, asking the store again").on_retry,
            ).call(attempt)
        except BaseException:
            for run in batch:
                self.runs.remove(run)
            raise


def is_late(task: Task, now: float) -> bool:
    """Whether the deadline of a task has passed at `now`, in Unix seconds."""
    return task.deadline is not None and task.deadline <= now
