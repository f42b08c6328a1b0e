"""The tasks that a model makes for other models while it processes one: design and limits are in `docs/models.md`."""

from __future__ import annotations

from functools import partial
from typing import Final, Protocol, final

from anyio import (
    current_time,
    move_on_after,
    sleep,
    sleep_forever,
)
from anyio.abc import TaskStatus
from typing_extensions import override

from hub.concurrency.retrying import AttemptLog, retrying
from hub.errors import ConnectionLost, ModelUnavailable, Undecodable, Unroutable
from hub.model.errors import CallFailed, RunOver, TooManyCalls
from hub.model.execution.instance_loop import InstanceLoop
from hub.model.execution.own_loop import OwnLoop
from hub.model.worker.statistics import WorkerCounters
from hub.ports.broker import Broker
from hub.ports.directory import ModelLimits
from hub.ports.result_store import MAX_CHILDREN, Adoption, Missing, ResultStore
from hub.submission.errors import AcceptTimeout, BrokerBlocked
from hub.submission.outcomes import SubmitResult, expired_outcome, expiry_time
from hub.submission.publisher import TaskPublisher
from hub.task import Failure, Outcome, Task, TaskRecord
from hub.types import ModelName, TaskId, TaskState, WallClock

PUBLISH_TIMEOUT: Final = 10.0
"""Seconds that store and broker have to accept one task; then it is tried again."""

PENDING_PAUSE: Final = 2.0
"""Seconds between two attempts to submit a task whose first submit died half-way; see `hub.types.PENDING_TTL`."""

_TRANSIENT: Final = (ConnectionLost, AcceptTimeout, BrokerBlocked)


class CalledModels(Protocol):
    """What is known of other models."""

    async def limits(self, model: ModelName) -> ModelLimits | None:
        """The limits of a model that can be called now; `None` if that cannot be found out.

        Raises:
            UnknownModel: No instance of it has ever logged in.
            ModelUnavailable: None is alive.
        """
        ...


@final
class AnyModels(CalledModels):
    """Knows nothing: the broker refuses the messages for queues that do not exist."""

    @override
    async def limits(self, model: ModelName) -> ModelLimits | None:
        return None


@final
class ChildTasks:
    """Submits tasks for the runs of one instance and waits for their outcomes. Calls work while `run` runs.

    Args:
        broker: For their messages.
        store: For their records and outcomes.
        name: Name of the model whose runs make the tasks.
        models: What is known of other models.
        loop: The event loop of the model, if it has one of its own.
        retry_for: Seconds that a submit is tried again while broker or store are away.
        counters: Count the calls.
        clock: Returns Unix time.

    Attributes:
        models: What is known of other models.
        loop: The way into the event loop of the instance.
        counters: Count the calls.
        clock: Returns Unix time.
    """

    def __init__(
        self,
        broker: Broker,
        store: ResultStore,
        *,
        name: ModelName,
        models: CalledModels,
        loop: OwnLoop | None,
        retry_for: float,
        counters: WorkerCounters,
        clock: WallClock,
    ) -> None:
        self._store = store
        self.models: Final = models
        self.loop: Final = InstanceLoop(name, loop)
        self._publisher = TaskPublisher(broker, store, timeout=PUBLISH_TIMEOUT, concurrency=1)
        self._retry_for = retry_for
        self.counters: Final = counters
        self.clock: Final = clock

    @property
    def channel(self) -> str:
        """Where the end of a task is to be published."""
        return self._store.channel

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Serves calls until it is cancelled. A task of its own: what it opens is no scope around the runs of the worker."""
        async with self._publisher, self.loop:
            task_status.started()
            await sleep_forever()

    async def find(self, task_id: TaskId) -> TaskRecord | None:
        """The record of a task that an earlier attempt has made, and whose message is on its queue for certain."""
        (found,) = await retrying(on=ConnectionLost, until=self._until).call(partial(self._store.fetch, [task_id]))
        return found if isinstance(found, TaskRecord) and not found.pending else None

    @property
    def _until(self) -> float:
        return current_time() + self._retry_for

    async def submit(self, child: Task) -> TaskRecord | None:
        """Submits a task, again and again while broker or store are away: its id is derived, so that is safe.

        Returns:
            The record of an earlier submit of it, if there was one.

        Raises:
            RunOver: Its parent has ended.
            TooManyCalls: Its parent has too many children.
            ModelUnavailable: There is no queue for it.
            PublishRefused: The broker does not take it.
            ConnectionLost: Broker or store were away for `retry_for` seconds.
        """
        log = AttemptLog("calls", failing="a call was not accepted, trying again")
        return await retrying(on=_TRANSIENT, until=self._until, on_retry=log.on_retry).call(
            partial(self._publish, child)
        )

    async def _publish(self, child: Task) -> TaskRecord | None:
        (adoption,) = await self._store.adopt([child])
        match adoption:
            case Adoption.ENDED:
                raise RunOver(child.parent or child.id)
            case Adoption.FULL:
                raise TooManyCalls(MAX_CHILDREN)
            case Adoption.ADOPTED:
                pass
        try:
            earlier = await self._publisher.publish(child)
            while earlier is not None and earlier.pending:  # its attempt may have died before its message was confirmed
                changed: TaskRecord | Missing | None = None
                with move_on_after(PENDING_PAUSE):
                    changed = await self._store.wait_for_change(child.id, after=earlier.revision)
                earlier = changed if isinstance(changed, TaskRecord) else await self._publisher.publish(child)
        except Unroutable as unroutable:
            raise ModelUnavailable(child.model) from unroutable
        return earlier

    async def outcome(self, submitted: SubmitResult) -> Outcome:
        """Waits for the end of a task, over lost connections to the store.

        Raises:
            CallFailed: The store has lost it, or holds what cannot be read.
        """
        record = submitted.record
        if record is None or record.outcome is None:
            record = await retrying(on=ConnectionLost).call(partial(self._wait, submitted))
        assert record.outcome is not None  # noqa: S101 - see _wait
        return record.outcome

    async def _wait(self, submitted: SubmitResult) -> TaskRecord:
        """The record of a task once it has ended. A task that is late without an instance that says so is ended here.

        Raises:
            CallFailed: The store has lost it, or holds what cannot be read.
        """
        store, task_id = self._store, submitted.id
        seen: SubmitResult | TaskRecord = submitted
        lost_until = self._until
        while True:
            found: TaskRecord | Missing | None = None
            try:
                with move_on_after(expiry_time(seen) - self.clock()):
                    found = await store.wait_for_change(task_id, after=0, until_terminal=True)
                if found is None:
                    (found,) = await store.fetch([task_id])
                    if isinstance(found, TaskRecord) and self.clock() >= expiry_time(found):
                        await store.finish([expired_outcome(found, self.clock())])
                        (found,) = await store.fetch([task_id])
            except Undecodable as error:
                raise CallFailed(submitted.model, task_id, error.code, str(error)) from error
            if isinstance(found, TaskRecord):
                if found.state.terminal:
                    return found
                seen = found
            elif found is Missing.GONE or current_time() > lost_until:
                raise CallFailed(submitted.model, task_id, "record_lost", "the store has no record of it")
            else:  # a store that has lost its data gets the record again when an instance starts the task
                await sleep(PENDING_PAUSE)

    async def cancel(self, task_id: TaskId) -> None:
        """Ends a task as cancelled, unless it has ended."""
        failure = Failure(code="cancelled", message="the model that called it has cancelled it")
        outcome = Outcome(task_id=task_id, state=TaskState.CANCELLED, failure=failure, finished_at=self.clock())
        await retrying(on=ConnectionLost, until=self._until).call(partial(self._store.finish, [outcome]))
