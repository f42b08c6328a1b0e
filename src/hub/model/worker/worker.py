"""Receives a model's tasks, runs them, stores their outcomes, and acknowledges their messages: see `Worker._handle`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from math import inf
from typing import Any, Final, Self, final

import structlog
from anyio import (
    AsyncContextManagerMixin,
    CancelScope,
    create_task_group,
    current_time,
    move_on_after,
)
from anyio.abc import TaskGroup, TaskStatus
from structlog.contextvars import bind_contextvars
from structlog.typing import FilteringBoundLogger
from typing_extensions import override

from hub.concurrency.exceptions import collapse_exception_group
from hub.concurrency.reconnect import run_reconnecting
from hub.concurrency.retrying import retrying
from hub.contract import Contract
from hub.errors import ConnectionLost, HubError
from hub.model.errors import ProcessDied
from hub.model.execution.own_loop import OwnLoop
from hub.model.model import Model, task_places
from hub.model.worker import outcomes
from hub.model.worker.calls.child_tasks import AnyModels, CalledModels, ChildTasks
from hub.model.worker.calls.parent_watch import ParentWatch
from hub.model.worker.chunk_writer import ChunkWriter
from hub.model.worker.contract_mismatch import ContractCheck, ContractCompatibility, SingleContract
from hub.model.worker.model_run import ModelRunner, RetryAfter, RunResult
from hub.model.worker.options import WorkerOptions
from hub.model.worker.progress import ProgressReports
from hub.model.worker.result_writer import ResultWriter
from hub.model.worker.retrying_batcher import NotTaken
from hub.model.worker.run import RunTable, StopReason, TaskRun
from hub.model.worker.starter import TaskStarter, is_late
from hub.model.worker.statistics import WorkerCounters, WorkerStatistics
from hub.ports.broker import Broker, Consumer, Delivery
from hub.ports.result_store import ResultStore, Start
from hub.task import Failure, Outcome
from hub.types import InstanceId, TaskId, TaskState, WallClock, model_name, wall_clock

STOP_GRACE: Final = 2.0
"""Seconds for the broker to confirm that it delivers nothing more; after that the drain begins all the same."""

NAMED: Final = 5
"""Tasks that are named in the log when a drain waits for them."""

SAVE_GRACE: Final = 5.0
"""Seconds that the store gets, after the drain, for outcomes that are ready: a slow round trip, not an outage."""

_DEAD_BEFORE: Final = Failure(
    code="dead", message="given up before, by an instance that died of it; the record of the task has the reason"
)

_log: FilteringBoundLogger = structlog.get_logger(__name__)


@final
class Worker(AsyncContextManagerMixin):
    """Works for one instance of a model while its block runs; the block begins when the first connection to the broker works.

    Leaving the block drains: no new tasks are received, running ones may finish for `drain_grace` seconds, the rest goes
    back to the queue. The drain is shielded, so cancelling the block starts it too. If the worker fails, the block is
    cancelled and the error leaves in an `ExceptionGroup`.

    After a lost connection the worker subscribes again. Runs go on meanwhile: when the broker delivers their tasks again,
    here or elsewhere, the first outcome in the store counts.

    Args:
        model: Runs the tasks; its `setup` has been called.
        contract: The model's.
        instance: Id of the instance.
        broker: Delivers tasks.
        store: Counts attempts and stores outcomes.
        options: Limits.
        others: Which other contracts of the model the instance can read; none by default.
        loop: Where coroutines of the model run; `None` for the event loop of the worker.
        called: What is known of the models that this one calls; by default nothing.
        clock: Returns Unix time.

    Raises:
        ConnectionLost: On entry, in an `ExceptionGroup`: no connection to the broker within `start_timeout`.
    """

    def __init__(
        self,
        model: Model[Any, Any],
        *,
        contract: Contract,
        instance: InstanceId,
        broker: Broker,
        store: ResultStore,
        options: WorkerOptions | None = None,
        others: ContractCompatibility | None = None,
        loop: OwnLoop | None = None,
        called: CalledModels | None = None,
        clock: WallClock = wall_clock,
    ) -> None:
        self._options = options = options or WorkerOptions()
        self._queue = queue = model_name(model.name)
        self._places = task_places(type(model))
        self._instance = instance
        self._broker = broker
        self._store = store
        self._loop = loop
        self._clock = clock
        self._counters = WorkerCounters(options.buckets)
        self._runs = RunTable(self._places)
        self._contracts = ContractCheck(queue, contract, instance, others or SingleContract())
        self._starter = TaskStarter(
            contracts=self._contracts,
            store=store,
            instance=instance,
            options=options,
            runs=self._runs,
            counters=self._counters,
            clock=clock,
        )
        self._parents = ParentWatch(store, clock)
        self._progress = ProgressReports(store, clock)
        self._children = children = ChildTasks(
            broker,
            store,
            name=queue,
            models=called or AnyModels(),
            loop=loop,
            retry_for=options.store_timeout,
            counters=self._counters,
            clock=clock,
        )
        self._chunks = ChunkWriter(store, instance=instance, options=options) if model.streaming else None
        self._runner = ModelRunner(
            model,
            instance=instance,
            options=options,
            progress=self._progress,
            children=children,
            chunks=self._chunks,
            loop=loop,
            clock=clock,
        )
        self._writer = ResultWriter(
            store, broker, model=queue, instance=instance, timeout=options.store_timeout, clock=clock
        )
        self._consumer: Consumer | None = None
        self._connecting = CancelScope()
        self._receiving: CancelScope | None = None
        self._on_consuming: Callable[[bool], None] = lambda _consuming: None
        self._stopping = False
        self._ended_by_stop: set[CancelScope] = set()
        self._drain_until = inf
        self._group: TaskGroup | None = None

    @override
    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        async with create_task_group() as tg:
            try:
                await tg.start(self._work, name=f"hub.worker {self._instance}")
                yield self
            finally:
                self.stop()

    def stop(self) -> None:
        """Receives no new tasks from now on; the drain begins. Leaving the block waits for its end."""
        if self._stopping:
            return
        self._stopping = True
        self._drain_until = current_time() + self._options.drain_grace
        self._runner.flush()
        for scope in self._ended_by_stop:
            scope.cancel("the worker stops")
        if self._consumer is None:
            self._connecting.cancel("the worker stops")

    def resubscribe(self) -> bool:
        """Leaves the connection to the broker and opens a new one, because messages no longer seem to arrive on it.

        Runs go on. Returns whether there is a connection to leave; without one, a new one is being opened, or the worker
        stops.
        """
        if not self.consuming or self._receiving is None:
            return False
        self._receiving.cancel("asked to subscribe again")
        return True

    def hand_back(self, task_id: TaskId) -> bool:
        """Stops the run of one task and puts its message back on the queue, as a drain does: the next run is another attempt.

        Returns whether the task is in flight here. It has an outcome nevertheless if its run ends by itself first.
        """
        run = self._runs.get(task_id)
        if run is None:
            return False
        run.stop(StopReason.DRAIN)
        return True

    @property
    def stopping(self) -> bool:
        """Whether the drain has begun."""
        return self._stopping

    @property
    def consuming(self) -> bool:
        """Whether tasks are received from the queue now."""
        return self._consumer is not None and not self._stopping

    @property
    def hindrance(self) -> str | None:
        """Why a task that is received could not be brought to its end now, although the servers are connected.

        The store accepts no changes, or the broker no messages: neither retries nor dead letters. See
        `hub.ports.result_store.StoreStatistics.refusal` and `hub.ports.broker.BrokerStatistics.blocked`.
        """
        refusal, blocked = self._store.statistics().refusal, self._broker.statistics().blocked
        if refusal is not None:
            return f"the result store accepts no changes: {refusal}"
        return None if blocked is None else f"the broker accepts no messages: {blocked}"

    def on_consuming(self, callback: Callable[[bool], None]) -> None:
        """Registers a callback for changes of `consuming`, and calls it once now, with its value."""
        self._on_consuming = callback
        callback(self.consuming)

    def statistics(self) -> WorkerStatistics:
        return self._counters.snapshot(
            consuming=self.consuming,
            in_flight=len(self._runs),
            saving=len(self._writer),
            unacked=0 if self._consumer is None else self._consumer.unsettled,
            busy_seconds=0.0 if self._loop is None else self._loop.busy_seconds(),
            batches=self._runner.batch_statistics(),
            chunks=0 if self._chunks is None else self._chunks.stored,
        )

    async def _handle(self, run: TaskRun, start: Start | None) -> None:
        """One task: its code is run, its outcome is stored, and then its message is acknowledged.

        If a server stays away for too long, the message goes back to the queue. If this coroutine is cancelled, as at the end
        of a drain, the message stays with the broker, which delivers it again once the connection is closed.

        Args:
            run: The task, with its deliveries.
            start: What the store answered to its start; `None` if it was not started, because it cannot run here.
        """
        bind_contextvars(task=run.task.id, model=self._queue, instance=self._instance)
        try:
            result = await self._result(run, start)
            run.conclude()
            match result:
                case Outcome() as outcome:
                    first = await self._writer.finish(outcome)
                    self._counters.stored_outcome(outcome.state, first=first)
                    if not first and outcome.chunks is not None:
                        return await self._overtaken(run)
                    if outcome.state is TaskState.DEAD and outcome.failure is not None:
                        # Also if another outcome was first: it may be the same one, of an instance that died before this step.
                        await self._writer.dead_letter(run, outcome.failure)
                    await self._abandoned_calls(run)
                    run.ack()
                case Failure() as failure:
                    await self._writer.dead_letter(run, failure)
                    run.ack()
                case RetryAfter(delay):
                    await self._retry(run, delay)
                case StopReason.ENDED:
                    await self._abandoned_calls(run)
                    run.ack()
                case StopReason.OVERTAKEN:
                    await self._overtaken(run)
                case StopReason.DRAIN:
                    await self._hand_back(run, started=start is not None)
        except (NotTaken, ProcessDied):
            self._counters.requeued += 1
            run.reject()
        finally:
            run.stop_following()
            self._runs.remove(run)

    async def _retry(self, run: TaskRun, delay: float) -> None:
        if await self._writer.retry(run, delay):
            self._counters.retried += 1
            run.ack()
        else:  # its next delivery shows why
            run.requeue()

    async def _hand_back(self, run: TaskRun, *, started: bool) -> None:
        if started:
            await self._writer.release(run)
        self._counters.requeued += 1
        run.requeue()

    async def _overtaken(self, run: TaskRun) -> None:
        """Ends a streaming run whose chunks or outcome the store does not take.

        If its task has ended, or another run of it has begun, that is all. Otherwise the store has lost chunks of it, and the
        task is run again.
        """
        waits = await self._writer.release(run)
        await self._abandoned_calls(run)
        if waits:
            self._counters.requeued += 1
            run.requeue()
        else:
            self._counters.stopped += 1
            run.ack()

    async def _result(  # noqa: PLR0911 - one for each answer of the store
        self, run: TaskRun, start: Start | None
    ) -> RunResult | Failure:
        """Runs a task, or says why it is not run. A `Failure`: it is dead already, but its dead letter may be missing."""
        if start is None:
            return await self._refuse(run)
        run.attempt, run.retries = start.attempt, start.retries
        match start.state:
            case TaskState.RUNNING if run.stopped is None:
                if is_late(run.task, self._clock()):  # since the store was asked
                    useless: Outcome | None = outcomes.expired(run, instance=self._instance, now=self._clock())
                else:
                    useless = await self._parents.ended(run)
                if useless is not None:
                    return useless
                run.started_at = now = self._clock()
                self._counters.run_started(created_at=run.task.created_at, now=now, first=run.attempt == 1)
                self._parents.follow(run, self._tasks)
                result = await self._runner.run(run)
                if isinstance(result, Outcome):
                    self._counters.run_time[result.state].observe(result.finished_at - now)
                elif result is StopReason.ENDED:
                    self._counters.stopped += 1
                return result
            case TaskState.RUNNING if run.stopped is StopReason.DRAIN:  # before its run began
                return StopReason.DRAIN
            case TaskState.QUEUED:
                return self._attempts_exhausted(run)
            case TaskState.DEAD:
                return _DEAD_BEFORE
            case _:  # it has ended, or was withdrawn
                self._counters.skipped += 1
                return StopReason.ENDED

    async def _refuse(self, run: TaskRun) -> Outcome | StopReason:
        """The outcome of a task that cannot be run here, once that is certain; until then a stop of the worker requeues it."""
        if self._contracts.can_run(run.task) and is_late(run.task, self._clock()):
            return outcomes.expired(run, instance=self._instance, now=self._clock())
        reason: str | None = None
        with self._until_stop():
            reason = await self._contracts.reason(run.task)
        if reason is None:
            return StopReason.DRAIN
        return outcomes.dead(run, code="wrong_contract", message=reason, instance=self._instance, now=self._clock())

    async def _abandoned_calls(self, run: TaskRun) -> None:
        """Waits for calls of the model that a cancellation could not interrupt; a stop of the worker does not wait.

        Until they have ended the task counts as in flight, and the broker delivers no other one in its place.
        """
        if run.abandoned:
            with self._until_stop():
                for ended in run.abandoned:
                    await ended.wait()

    async def _receive(self, consumer: Consumer) -> None:
        """Starts the tasks that `consumer` receives, as many as there is room for. Those that are not started are requeued.

        Raises:
            ConnectionLost: The connection of the consumer is lost.
        """
        while True:
            received = self._starter.sort(consumer, await consumer.receive())
            for delivery, failure in received.malformed:
                self._tasks.start_soon(
                    self._dead_letter_malformed, consumer, delivery, failure, name=f"hub.dead letter {self._instance}"
                )
            for run in received.not_startable:
                self._start_handling(run, None)
            waiting = received.startable
            try:
                while waiting:
                    batch = waiting[: await self._runs.wait_for_capacity()]
                    for run, start in zip(batch, await self._starter.start(batch), strict=True):
                        self._start_handling(run, start)
                    del waiting[: len(batch)]
            except (HubError, TimeoutError):
                pass  # the store was away for `store_timeout`, and the log says so
            finally:
                for run in waiting:
                    run.requeue()

    def _start_handling(self, run: TaskRun, start: Start | None) -> None:
        self._tasks.start_soon(self._handle, run, start, name=f"hub.task {run.task.id}")

    async def _dead_letter_malformed(self, consumer: Consumer, delivery: Delivery, failure: Failure) -> None:
        try:
            await self._writer.dead_letter_malformed(delivery, failure)
        except NotTaken:
            consumer.reject([delivery], requeue=True)
        else:
            consumer.ack([delivery])

    def _attempts_exhausted(self, run: TaskRun) -> Outcome:
        runs = "its only run was" if run.attempt == 1 else f"{run.attempt} runs of it were"
        message = (
            f"{runs} cut short: its instance died, or lost its store, each time. Find out what it does to an instance; then "
            "send the request again as a new task, or have an operator put this one back with `hub dead replay`"
        )
        return outcomes.dead(
            run, code="attempts_exhausted", message=message, instance=self._instance, now=self._clock()
        )

    @property
    def _tasks(self) -> TaskGroup:
        assert self._group is not None  # noqa: S101 - set before the first task is received
        return self._group

    async def _work(self, *, task_status: TaskStatus[None]) -> None:
        # Until the first connection works there is nothing to drain, and a cancellation may end it all at once.
        with collapse_exception_group(), CancelScope() as scope:

            def on_ready() -> None:
                if not scope.shield:
                    scope.shield = True
                    task_status.started()

            async with self._runner, create_task_group() as tg:
                self._group = tg
                await tg.start(self._children.run, name=f"hub.calls {self._instance}")
                tg.start_soon(self._writer.run, name=f"hub.writer {self._instance}")
                tg.start_soon(self._progress.work, name=f"hub.progress {self._instance}")
                tg.start_soon(self._stop_ended_runs, name=f"hub.ended {self._instance}")
                if self._chunks is not None:
                    tg.start_soon(self._chunks.work, name=f"hub.chunks {self._instance}")
                await self._consume(on_ready)
                await self._drain()
                tg.cancel_scope.cancel("drained")

    async def _consume(self, on_ready: Callable[[], None]) -> None:
        """Receives tasks until the worker stops, over one connection after the other."""

        async def session(connected: Callable[[], None]) -> None:
            def on_connected() -> None:
                connected()
                on_ready()

            if not self._stopping:
                await self._session(on_connected)

        with self._connecting:
            await run_reconnecting(session, name=f"queue {self._queue}", retry_for=self._options.start_timeout)

    async def _session(self, on_connected: Callable[[], None]) -> None:
        """One connection: receives tasks until it is lost, or until the worker stops and has drained."""
        async with self._broker.consume(self._queue, prefetch=self._places) as consumer:
            self._consumer = consumer
            on_connected()
            self._on_consuming(self.consuming)
            try:
                with self._until_stop() as self._receiving:
                    await self._receive(consumer)
                if not self._stopping:
                    raise ConnectionLost(f"queue {self._queue}", "asked to subscribe again")
                with move_on_after(STOP_GRACE):
                    await consumer.stop()
                await self._drain()  # in here, so that what finishes can still be acked
            finally:
                self._consumer = self._receiving = None
                self._on_consuming(self.consuming)

    async def _stop_ended_runs(self) -> None:
        """Stops the runs of tasks that have ended elsewhere: cancelled, expired, or finished by another instance."""
        while True:  # the store logs that it is away
            ended = await retrying(on=ConnectionLost).call(partial(self._store.next_ended, self._instance))
            for run in map(self._runs.get, ended):
                if run is not None:
                    run.stop(StopReason.ENDED)

    async def _drain(self) -> None:
        """Waits for the runs in flight until the grace is over, then requeues the rest. Nothing is in flight after that."""
        left = self._drain_until - current_time()
        if self._runs and left > 0:
            names = [str(run.task.id) for run in self._runs]
            _log.info(
                "waiting for running tasks to finish",
                model=self._queue,
                tasks=len(names),
                first=names[:NAMED],
                seconds=round(left, 1),
            )
        with CancelScope(deadline=self._drain_until):
            await self._runs.wait_empty()
        if self._runs:
            _log.warning("the grace is over, tasks go back to the queue", model=self._queue, tasks=len(self._runs))
        for run in self._runs:
            run.stop(StopReason.DRAIN)
        with move_on_after(SAVE_GRACE):
            await self._runs.wait_empty()
        for run in self._runs:
            self._counters.requeued += 1
            run.reject()
            self._runs.remove(run)

    @contextmanager
    def _until_stop(self) -> Generator[CancelScope]:
        """Cancels the block when the worker stops."""
        with CancelScope() as scope:
            self._ended_by_stop.add(scope)
            if self._stopping:
                scope.cancel("the worker stops")
            try:
                yield scope
            finally:
                self._ended_by_stop.discard(scope)
