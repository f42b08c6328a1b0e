"""Takes a model's tasks from its queue, runs them, and brings their outcomes into the store."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from math import inf
from typing import Any, Final, Self, final

import structlog
from anyio import (
    AsyncContextManagerMixin,
    CancelScope,
    CapacityLimiter,
    Event,
    create_task_group,
    current_time,
    move_on_after,
    sleep,
)
from anyio.abc import TaskGroup, TaskStatus
from structlog.contextvars import bound_contextvars
from structlog.typing import FilteringBoundLogger
from typing_extensions import override

from hub.concurrency.exceptions import collapse_exception_group
from hub.concurrency.reconnect import run_reconnecting
from hub.concurrency.retrying import ExponentialBackoff
from hub.contract import Contract
from hub.errors import ConnectionLost
from hub.histogram import SECONDS
from hub.model.current import CurrentTask, TaskControl, processing
from hub.model.errors import ProcessDied
from hub.model.execution.error_text import read_texts
from hub.model.execution.executor import Executor
from hub.model.execution.exits import exits_fail
from hub.model.execution.own_loop import OwnLoop
from hub.model.model import Model
from hub.model.worker import outcomes
from hub.model.worker.contract_mismatch import ContractCompatibility, ContractMismatchHandler, SingleContract
from hub.model.worker.intake import Intake
from hub.model.worker.outbox import Outbox
from hub.model.worker.progress import ProgressReports
from hub.model.worker.run import StopReason, TaskRun
from hub.model.worker.runs import RunTable
from hub.model.worker.spans import run_span
from hub.model.worker.statistics import WorkerCounters, WorkerStatistics
from hub.ports.broker import Broker, Consumer
from hub.ports.result_store import ResultStore
from hub.task import Outcome
from hub.types import InstanceId, WallClock, model_name, wall_clock

STOP_GRACE: Final = 2.0
"""Seconds for the broker to confirm that it delivers nothing more; after that we drain all the same."""

NAMED: Final = 5
"""Tasks that are named when a drain waits for them."""

SAVE_GRACE: Final = 5.0
"""Seconds that the store gets, after the drain, for outcomes that are ready: a slow round trip, not an outage."""

_log: FilteringBoundLogger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """Times in seconds.

    Attributes:
        start_timeout: To try for the first link to the broker.
        store_timeout: That a delivery or an outcome waits for a store that is out of reach.
        drain_grace: That running tasks have to finish once the worker stops.
        attempt_limit: RunTable of one task that may be cut short by the end of their instance.
        run_limit: Seconds that one run may take, whatever the deadline of its task: below the time after which the
            broker takes a silent consumer for dead and hands the task to another instance.
        result_limit: Bytes of a serialized response at most; 0: any size that the store takes.
        buckets: Upper bounds of the buckets in which times are counted.
        debug: Store tracebacks of failed tasks.
    """

    start_timeout: float = 60.0
    store_timeout: float = 60.0
    drain_grace: float = 30.0
    attempt_limit: int = 5
    run_limit: float = inf
    result_limit: int = 0
    buckets: tuple[float, ...] = SECONDS
    debug: bool = False


@dataclass(frozen=True, slots=True)
class _Again:
    """The run has failed, and the model wants another one in `delay` seconds."""

    delay: float


@final
class Worker(AsyncContextManagerMixin):
    """Works for one instance of a model while its block runs; the block begins when the first link to the broker works.

    Leaving the block drains: no new tasks, running ones may finish for `drain_grace` seconds, the rest goes back to the
    queue. The drain is shielded, so cancelling the block starts it too. If the worker dies, the block is cancelled and
    the error leaves in an `ExceptionGroup`.

    A lost link is entered again. RunTable outlive it: when the broker delivers their tasks again, here or elsewhere, the
    first outcome wins in the store.

    Args:
        model: What runs the tasks; its `setup` is done.
        contract: The model's.
        instance: Who we are.
        broker: Brings tasks.
        store: Counts attempts and takes outcomes.
        options: Times, and whether to store tracebacks.
        others: What is known of other contracts of the model, for tasks that were written for one of them.
        loop: Where coroutines of the model run; `None` for the event loop of the worker.
        clock: Tells Unix time.

    Raises:
        ConnectionLost: On entry, in an `ExceptionGroup`: no link to the broker within `start_timeout`.
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
        clock: WallClock = wall_clock,
    ) -> None:
        self._options = options or WorkerOptions()
        self._queue = model_name(model.name)
        self._concurrency = model.concurrency
        self._text_threads = CapacityLimiter(model.concurrency)
        self._processor = Executor(model, loop)
        self._instance = instance
        self._broker = broker
        self._store = store
        self._retry = model.retry
        others = others or SingleContract()
        self._clock = clock
        self._tally = WorkerCounters(self._options.buckets)
        self._runs = RunTable(model.concurrency)
        self._outbox = Outbox(
            store,
            broker,
            model=self._queue,
            instance=instance,
            timeout=self._options.store_timeout,
            tally=self._tally,
            on_settled=self._settled,
            clock=clock,
        )
        self._refuse = ContractMismatchHandler(
            model=self._queue,
            contract=contract,
            instance=instance,
            others=others,
            outbox=self._outbox,
            tally=self._tally,
            on_settled=self._settled,
            clock=clock,
        )
        self._progress = ProgressReports(store, clock)
        self._intake = Intake(
            model=self._queue,
            contract=contract,
            instance=instance,
            store=store,
            attempts=self._options.attempt_limit,
            timeout=self._options.store_timeout,
            runs=self._runs,
            outbox=self._outbox,
            tally=self._tally,
            clock=clock,
            launch=self._launch,
            reads=others.reads,
            refuse=self._launch_refusal,
        )
        self._consumer: Consumer | None = None
        self._link: CancelScope | None = None
        self._asked = False
        self._told: Callable[[bool], None] = lambda _consuming: None
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
            self._refuse.drain()

    def resubscribe(self) -> bool:
        """Leaves the link to the broker and enters it anew: who asks has reason to think that the link is deaf.

        RunTable go on. Returns whether there is a link to leave; without one, a new one is on its way, or we stop.
        """
        if not self.consuming or self._link is None:
            return False
        self._asked = True
        self._link.cancel("asked to subscribe again")
        return True

    @property
    def stopping(self) -> bool:
        """Whether no new tasks are taken for good: the drain has begun."""
        return self._stopping.is_set()

    @property
    def consuming(self) -> bool:
        """Whether tasks are taken from the queue now."""
        return self._consumer is not None and not self._stopping.is_set()

    @property
    def hindrance(self) -> str | None:
        """Why a task that is taken could not be brought to its end now, although the servers are in reach.

        The store takes no changes, or the broker no messages: neither retries nor dead letters. See
        `hub.ports.result_store.StoreStatistics.refusal` and `hub.ports.broker.BrokerStatistics.blocked`.
        """
        refusal, blocked = self._store.statistics().refusal, self._broker.statistics().blocked
        if refusal is not None:
            return f"the result store takes no changes: {refusal}"
        return None if blocked is None else f"the broker takes no messages: {blocked}"

    def tell(self, told: Callable[[bool], None]) -> None:
        """Has `told` called from now on whenever `consuming` may have changed, with what it is; at once, too."""
        self._told = told
        told(self.consuming)

    def statistics(self) -> WorkerStatistics:
        tally = self._tally
        return WorkerStatistics(
            consuming=self.consuming,
            in_flight=len(self._runs),
            saving=len(self._outbox),
            unacked=0 if self._consumer is None else self._consumer.unsettled,
            attempts=tally.attempts,
            stored=dict(tally.stored),
            waited=tally.waited.snapshot(),
            ran={state: times.snapshot() for state, times in tally.ran.items()},
            newest=tally.newest,
            dropped=tally.dropped,
            skipped=tally.skipped,
            undecodable=tally.undecodable,
            requeued=tally.requeued,
            retried=tally.retried,
            stopped=tally.stopped,
        )

    async def _work(self, *, task_status: TaskStatus[None]) -> None:
        # Until the first link stands there is nothing to drain, and a cancellation may end it all at once.
        with collapse_exception_group(), CancelScope() as scope:

            def up() -> None:
                if not scope.shield:
                    scope.shield = True
                    task_status.started()

            async with self._processor, create_task_group() as tg:
                self._group = tg
                tg.start_soon(self._outbox.work, name=f"hub.outbox {self._instance}")
                tg.start_soon(self._progress.work, name=f"hub.progress {self._instance}")
                tg.start_soon(self._watch_for_endings, name=f"hub.endings {self._instance}")
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
            await run_reconnecting(session, name=f"queue {self._queue}", give_up_after=self._options.start_timeout)
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
            self._told(self.consuming)
            try:
                async with create_task_group() as tg:
                    self._link = tg.cancel_scope
                    tg.start_soon(self._end_intake, tg.cancel_scope, name=f"hub.intake stop {self._instance}")
                    await self._intake.take_in(consumer)
                self._link = None
                if self._asked and not self._stopping.is_set():
                    raise ConnectionLost(f"queue {self._queue}", "asked to subscribe again")
                with move_on_after(STOP_GRACE):
                    await consumer.stop()
                await self._drain()  # in here, so that what finishes can still be acked
            finally:
                self._consumer, self._link, self._asked = None, None, False
                self._told(self.consuming)

    async def _end_intake(self, scope: CancelScope) -> None:
        await self._stopping.wait()
        scope.cancel("the worker stops")

    async def _drain(self) -> None:
        """Waits for what is in flight until the grace is over, then hands it back. Nothing is in flight after that."""
        for run in self._runs:
            if run.settled:
                self._settled(run)
        self._name_what_runs()
        with CancelScope(deadline=self._drain_until):
            await self._runs.idle()
        if self._runs:
            _log.warning("the grace is over, handing tasks back", model=self._queue, tasks=len(self._runs))
        for run in self._runs:
            run.stop(StopReason.DRAIN)
        with move_on_after(SAVE_GRACE):
            await self._runs.idle()
        self._outbox.give_up()

    def _name_what_runs(self) -> None:
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

    def _launch(self, run: TaskRun) -> None:
        self._start(self._run, run, f"hub.task {run.task.id}")

    def _launch_refusal(self, run: TaskRun) -> None:
        self._start(self._refuse, run, f"hub.refusal {run.task.id}")

    def _start(self, work: Callable[[TaskRun], Coroutine[Any, Any, None]], run: TaskRun, name: str) -> None:
        assert self._group is not None  # noqa: S101 - the intake runs inside it
        self._group.start_soon(work, run, name=name)

    async def _watch_for_endings(self) -> None:
        """Stops the runs of tasks that have ended elsewhere: cancelled, expired, or finished by another instance."""
        delays = ExponentialBackoff().intervals()
        while True:
            try:
                for task_id in await self._store.ended(self._instance):
                    run = self._runs.get(task_id)
                    if run is not None:
                        run.stop(StopReason.ENDED)
                delays = ExponentialBackoff().intervals()
            except ConnectionLost:  # the store itself says so in its log
                await sleep(next(delays))

    async def _run(self, run: TaskRun) -> None:
        control = TaskControl(partial(self._progress.tell, run))
        result: Outcome | _Again | ProcessDied | None = None
        left: list[Event] = []
        with bound_contextvars(task=run.task.id, model=self._queue, instance=self._instance):
            with run.scope:
                run.scope.deadline = self._deadline(run)
                result = await self._process(run, control, left)
            control.cancelled = run.scope.cancel_called
            run.busy = bool(left)
            self._leave(run, result)
        for thread_ended in left:
            await thread_ended.wait()
            run.free()
            if run.settled:
                self._runs.remove(run)

    def _settled(self, run: TaskRun) -> None:
        """A run is off our hands, but for a thread that may still be at it; a drain does not wait for that."""
        run.settled = True
        if self._stopping.is_set():
            run.free()
        if not run.busy:
            self._runs.remove(run)

    def _leave(self, run: TaskRun, result: Outcome | _Again | ProcessDied | None) -> None:
        """Sends a run the way that it has to go, now that nothing of it runs here any more."""
        if run.stopped is StopReason.ENDED:
            self._tally.stopped += 1
            run.ack()
            self._settled(run)
            return
        match result:
            case Outcome(failure=None) if run.stopped is StopReason.DRAIN:
                self._finish(run, result)
            case _ if run.stopped is StopReason.DRAIN:  # a failure may just be how the model takes a cancellation
                self._outbox.release(run)
            case _ if run.scope.cancel_called:
                self._finish(run, self._overdue(run))
            case Outcome():
                self._finish(run, result)
            case _Again(delay=delay):
                self._outbox.retry(run, delay)
            case ProcessDied():
                _log.error("its process died, the task goes back to the queue", reason=str(result), attempt=run.attempt)
                self._tally.requeued += 1
                run.reject()
                self._settled(run)
            case None:
                raise AssertionError("a run ended without an outcome, and nobody had stopped it")

    def _finish(self, run: TaskRun, outcome: Outcome) -> None:
        if run.started_at is not None:
            self._tally.ran[outcome.state].observe(outcome.finished_at - run.started_at)
        self._outbox.finish(run, outcome)

    def _deadline(self, run: TaskRun) -> float:
        """When the run has to be over, on the clock of `anyio.current_time`."""
        limit = current_time() + self._options.run_limit
        if run.task.deadline is None:
            return limit
        return min(limit, current_time() + run.task.deadline - self._clock())

    def _overdue(self, run: TaskRun) -> Outcome:
        now = self._clock()
        deadline = run.task.deadline
        if deadline is not None and (run.started_at or now) + self._options.run_limit >= deadline:
            return outcomes.expired(run, instance=self._instance, now=now)
        return outcomes.ran_too_long(run, self._options.run_limit, instance=self._instance, now=now)

    async def _process(self, run: TaskRun, control: TaskControl, left: list[Event]) -> Outcome | _Again | ProcessDied:
        current = CurrentTask(
            id=run.task.id,
            attempt=run.attempt,
            deadline=run.task.deadline,
            model=self._queue,
            instance=self._instance,
            control=control,
        )
        try:
            with (
                run_span(run.task, attempt=run.attempt, instance=self._instance),
                processing(current),
                collapse_exception_group(),
            ):
                body = await self._read_texts_of(self._processor(run.task.body, left.append))
        except ProcessDied as error:
            return error
        except Exception as error:  # noqa: BLE001 - whatever a model raises is the outcome of its task
            return self._failure(run, error)
        limit = self._options.result_limit
        if limit and len(body) > limit:
            _log.warning("response too large", bytes=len(body), result_limit=limit, attempt=run.attempt)
            return outcomes.too_large(run, len(body), limit, instance=self._instance, now=self._clock())
        return outcomes.success(run, body, instance=self._instance, now=self._clock())

    async def _read_texts_of(self, processing: Coroutine[Any, Any, bytes]) -> bytes:
        """Has the texts of errors ready before the span, the log and the outcome ask for them."""
        try:
            return await processing
        except Exception as error:
            await read_texts(error, self._text_threads)  # noqa: ASYNC120 - a cancelled run has no use for its error
            raise

    def _failure(self, run: TaskRun, error: Exception) -> Outcome | _Again:
        delay = self._retry_delay(run, error)
        shown = {"attempt": run.attempt, "retry_in": delay and round(delay, 2)}
        try:
            with exits_fail("__str__"):
                _log.warning("run failed", exc_info=error, **shown)
        except Exception as broken:  # noqa: BLE001 - where structlog is not set up by hub it runs `str()` of the error itself
            _log.warning("run failed, and its error cannot be shown", reason=type(broken).__qualname__, **shown)
        if delay is not None:
            return _Again(delay)
        return outcomes.failure(run, error, instance=self._instance, now=self._clock(), debug=self._options.debug)

    def _retry_delay(self, run: TaskRun, error: Exception) -> float | None:
        delay = None
        if self._retry is not None:
            try:
                with exits_fail("retry"):  # `isinstance` may be code of the model's, as its __str__ may
                    delay = self._retry.delay(error, run.retries)
            except Exception as broken:  # noqa: BLE001 - the task fails with its own error then
                _log.error("retry of the model failed, so the task is not tried again", exc_info=broken)
        deadline = run.task.deadline
        if delay is None or (deadline is not None and self._clock() + delay >= deadline):
            return None
        return delay
