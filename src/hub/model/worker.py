"""Takes a model's tasks from its queue, runs them, and brings their outcomes into the store."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from math import inf
from typing import Any, Final, Self, final

import structlog
from anyio import (
    AsyncContextManagerMixin,
    CancelScope,
    Event,
    create_task_group,
    current_effective_deadline,
    current_time,
    get_cancelled_exc_class,
    move_on_after,
)
from anyio.abc import TaskGroup, TaskStatus
from structlog.typing import FilteringBoundLogger
from typing_extensions import override

from hub.contract import Contract
from hub.model import report
from hub.model.current import CurrentTask, processing
from hub.model.errors import StrayCancellation
from hub.model.intake import Intake
from hub.model.model import Model
from hub.model.outbox import Outbox
from hub.model.processor import Processor
from hub.model.run import Run
from hub.model.runs import Runs
from hub.model.statistics import Tally, WorkerStatistics
from hub.ports import Broker, Consumer, ResultStore
from hub.supervision import keep_linked, unwrapped
from hub.task import Outcome
from hub.vocabulary import InstanceId, TaskState, WallClock, model_name, wall_clock

STOP_GRACE: Final = 2.0
"""Seconds for the broker to confirm that it delivers nothing more; after that we drain all the same."""

SAVE_GRACE: Final = 5.0
"""Seconds that the store gets, after the drain, for outcomes that are ready: a slow round trip, not an outage."""

_log: FilteringBoundLogger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """Times in seconds.

    Attributes:
        start_patience: To try for the first link to the broker.
        store_patience: That a delivery or an outcome waits for a store that is out of reach.
        drain_grace: That running tasks have to finish once the worker stops.
        debug: Store tracebacks of failed tasks.
    """

    start_patience: float = 60.0
    store_patience: float = 60.0
    drain_grace: float = 30.0
    debug: bool = False


@final
class Worker(AsyncContextManagerMixin):
    """Works for one instance of a model while its block runs; the block begins when the first link to the broker works.

    Leaving the block drains: no new tasks, running ones may finish for `drain_grace` seconds, the rest goes back to the
    queue. The drain is shielded, so cancelling the block starts it too. If the worker dies, the block is cancelled and
    the error leaves in an `ExceptionGroup`.

    A lost link is entered again. Runs outlive it: when the broker delivers their tasks again, here or elsewhere, the
    first outcome wins in the store.

    Args:
        model: What runs the tasks; its `setup` is done.
        contract: The model's.
        instance: Who we are.
        broker: Brings tasks.
        store: Counts attempts and takes outcomes.
        options: Times, and whether to store tracebacks.
        observe: Told of each run that has an outcome.
        clock: Tells Unix time.

    Raises:
        LinkLost: On entry, in an `ExceptionGroup`: no link to the broker within `start_patience`.
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
        observe: Callable[[Run, Outcome], None] = lambda _run, _outcome: None,
        clock: WallClock = wall_clock,
    ) -> None:
        self._options = options or WorkerOptions()
        self._queue = model_name(model.name)
        self._concurrency = model.concurrency
        self._processor = Processor(model)
        self._instance = instance
        self._broker = broker
        self._observe = observe
        self._clock = clock
        self._tally = Tally()
        self._runs = Runs(model.concurrency)
        self._outbox = Outbox(
            store, patience=self._options.store_patience, tally=self._tally, on_settled=self._runs.remove
        )
        self._intake = Intake(
            model=self._queue,
            contract=contract,
            instance=instance,
            store=store,
            patience=self._options.store_patience,
            runs=self._runs,
            outbox=self._outbox,
            tally=self._tally,
            clock=clock,
            launch=self._launch,
        )
        self._consumer: Consumer | None = None
        self._stopping = Event()
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
        """Takes no new tasks from now on; the drain begins. Leaving the block waits for its end."""
        if not self._stopping.is_set():
            self._drain_until = current_time() + self._options.drain_grace
            self._stopping.set()

    @property
    def consuming(self) -> bool:
        """Whether tasks are taken from the queue now."""
        return self._consumer is not None and not self._stopping.is_set()

    def statistics(self) -> WorkerStatistics:
        tally = self._tally
        return WorkerStatistics(
            consuming=self.consuming,
            in_flight=len(self._runs),
            saving=len(self._outbox),
            attempts=tally.attempts,
            stored=dict(tally.stored),
            dropped=tally.dropped,
            skipped=tally.skipped,
            undecodable=tally.undecodable,
            requeued=tally.requeued,
        )

    async def _work(self, *, task_status: TaskStatus[None]) -> None:
        # Until the first link stands there is nothing to drain, and a cancellation may end it all at once.
        with unwrapped(), CancelScope() as scope:

            def up() -> None:
                if not scope.shield:
                    scope.shield = True
                    task_status.started()

            async with create_task_group() as tg:
                self._group = tg
                tg.start_soon(self._outbox.write, name=f"hub.outbox {self._instance}")
                await self._supervise(up)
                await self._drain()
                tg.cancel_scope.cancel("drained")

    async def _supervise(self, up: Callable[[], None]) -> None:
        async def session(linked: Callable[[], None]) -> None:
            def stands() -> None:
                linked()
                up()

            if not self._stopping.is_set():
                await self._session(stands)

        async with create_task_group() as tg:
            tg.start_soon(self._quit_when_unlinked, tg.cancel_scope, name=f"hub.worker stop {self._instance}")
            await keep_linked(session, name=f"queue {self._queue}", give_up_after=self._options.start_patience)
            tg.cancel_scope.cancel("stopped")

    async def _quit_when_unlinked(self, scope: CancelScope) -> None:
        await self._stopping.wait()
        if self._consumer is None:
            scope.cancel("stopped while there was no link")

    async def _session(self, linked: Callable[[], None]) -> None:
        """One link: takes tasks in until it is lost, or until we stop and have drained."""
        async with self._broker.consume(self._queue, prefetch=self._concurrency) as consumer:
            self._consumer = consumer
            linked()
            try:
                async with create_task_group() as tg:
                    tg.start_soon(self._end_intake, tg.cancel_scope, name=f"hub.intake stop {self._instance}")
                    await self._intake.take_in(consumer)
                with move_on_after(STOP_GRACE):
                    await consumer.stop()
                await self._drain()  # in here, so that what finishes can still be acked
            finally:
                self._consumer = None

    async def _end_intake(self, scope: CancelScope) -> None:
        await self._stopping.wait()
        scope.cancel("the worker stops")

    async def _drain(self) -> None:
        """Waits for what is in flight until the grace is over, then hands it back. Nothing is in flight after that."""
        with CancelScope(deadline=self._drain_until):
            await self._runs.idle()
        for run in self._runs:
            run.scope.cancel("drain")  # has no effect on one whose outcome waits for the store
        with move_on_after(SAVE_GRACE):
            await self._runs.idle()
        self._outbox.give_up()

    def _launch(self, run: Run) -> None:
        assert self._group is not None  # noqa: S101 - the intake runs inside it
        self._group.start_soon(self._run, run, name=f"hub.task {run.task.id}")

    async def _run(self, run: Run) -> None:
        outcome: Outcome | None = None
        with run.scope:
            outcome = await self._process(run)
        if outcome is None:
            self._tally.requeued += 1
            run.requeue()
            self._runs.remove(run)
        else:
            self._observe(run, outcome)
            self._outbox.put(run, outcome, dead_letter=outcome.state is TaskState.DEAD)

    async def _process(self, run: Run) -> Outcome:
        current = CurrentTask(
            id=run.task.id,
            attempt=run.attempt,
            deadline=run.task.deadline,
            model=self._queue,
            instance=self._instance,
        )
        try:
            with processing(current), unwrapped():
                body = await self._processor(run.task.body)
        except get_cancelled_exc_class():  # noqa: ASYNC103 - passed on when it is ours
            if current_effective_deadline() == -inf:
                raise
            # Nobody cancelled this task: the model let the cancellation of something of its own escape. Passed on, it
            # would end this task without an outcome and without an error.
            return self._failure(run, StrayCancellation())  # noqa: ASYNC104
        except Exception as error:  # noqa: BLE001 - whatever a model raises is the outcome of its task
            return self._failure(run, error)
        return report.success(run, body, instance=self._instance, now=self._clock())

    def _failure(self, run: Run, error: Exception) -> Outcome:
        _log.warning("task failed", task=run.task.id, attempt=run.attempt, exc_info=error)
        return report.failure(run, error, instance=self._instance, now=self._clock(), debug=self._options.debug)
