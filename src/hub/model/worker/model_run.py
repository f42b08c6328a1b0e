"""Runs the model's code for one task, within its limits."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Self, TypeAlias, TypeVar, final

import structlog
from anyio import AsyncContextManagerMixin, CapacityLimiter, create_task_group, current_time
from structlog.typing import FilteringBoundLogger
from typing_extensions import override

from hub.concurrency.exceptions import collapse_exception_group
from hub.model.current import CurrentTask, TaskControl, processing
from hub.model.errors import ChunkTooLarge, ProcessDied, StreamTooLarge
from hub.model.execution.dynamic_batcher import BatchStatistics
from hub.model.execution.error_text import read_texts
from hub.model.execution.executor import Executor
from hub.model.execution.exits import exits_as_errors
from hub.model.execution.own_loop import OwnLoop
from hub.model.model import Model
from hub.model.worker import outcomes
from hub.model.worker.calls.child_tasks import ChildTasks
from hub.model.worker.calls.run_calls import RunCalls
from hub.model.worker.chunk_writer import NOT_WRITTEN, ChunksRefused, ChunkWriter
from hub.model.worker.options import WorkerOptions
from hub.model.worker.progress import ProgressReports
from hub.model.worker.retrying_batcher import NotTaken
from hub.model.worker.run import StopReason, TaskRun
from hub.model.worker.spans import run_span
from hub.task import Outcome
from hub.types import InstanceId, WallClock, model_name

T = TypeVar("T")

_log: FilteringBoundLogger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class RetryAfter:
    """The run has failed, and the model asks for another one in `delay` seconds."""

    delay: float


RunResult: TypeAlias = Outcome | RetryAfter | StopReason
"""How a run ended; a `StopReason` if it was stopped before it had an outcome that counts."""


@final
class ModelRunner(AsyncContextManagerMixin):
    """Calls `process_request` or `process_batch` of a model and turns what it returns or raises into a result. Used as a context manager.

    Args:
        model: The model; its `setup` has been called.
        instance: Id of the instance.
        options: Limits.
        progress: Where progress reports go.
        children: Makes the tasks that the model calls other models with.
        chunks: Stores the chunks of a streaming model; `None` for any other.
        loop: Where the model's coroutines run; `None` for the event loop of the caller.
        clock: Returns Unix time.
    """

    def __init__(
        self,
        model: Model[Any, Any],
        *,
        instance: InstanceId,
        options: WorkerOptions,
        progress: ProgressReports,
        children: ChildTasks,
        chunks: ChunkWriter | None,
        loop: OwnLoop | None,
        clock: WallClock,
    ) -> None:
        self._name = model_name(model.name)
        self._retry = model.retry
        self._in_process = model.run_in_process
        self._executor = Executor(model, loop)
        self._text_threads = CapacityLimiter(model.concurrency)
        self._instance = instance
        self._options = options
        self._progress = progress
        self._children = children
        self._chunks = chunks
        self._clock = clock

    @override
    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        async with self._executor:
            yield self

    def flush(self) -> None:
        """From now on batches do not wait to be filled."""
        self._executor.flush()

    def batch_statistics(self) -> BatchStatistics | None:
        """`None` if the model has no `process_batch`."""
        return self._executor.batch_statistics()

    async def run(self, run: TaskRun) -> RunResult:
        """Runs a task until it ends by itself, at its deadline, or by `TaskRun.stop`.

        What the model raises is an `Outcome`, or a `RetryAfter`.

        Raises:
            ProcessDied: A process of the model died while it ran the task.
            NotTaken: The store was away for too long to take the chunks of a streaming run.
        """
        calls = RunCalls(self._children, run)
        control = TaskControl(partial(self._progress.tell, run), None if self._in_process else calls)
        result: RunResult | ProcessDied | NotTaken | None = None
        try:
            with run.scope:
                run.scope.deadline = self._deadline(run)
                result = await self._process(run, control)
        finally:
            calls.close()
        control.cancelled = control.cancelled or run.scope.cancel_called
        if run.stopped is StopReason.ENDED:
            return run.stopped
        if run.stopped is StopReason.DRAIN and not (isinstance(result, Outcome) and result.failure is None):
            return run.stopped  # a failure may just be how the model reacts to the cancellation
        if run.stopped is None and run.scope.cancel_called:
            return self._overdue(run)
        if isinstance(result, ProcessDied):
            _log.error("its process died, the task goes back to the queue", reason=str(result), attempt=run.attempt)
            raise result
        if isinstance(result, NotTaken):
            raise result
        assert result is not None, "a run ended without a result, and had not been stopped"  # noqa: S101
        return result

    def _deadline(self, run: TaskRun) -> float:
        """When the run has to end, on the clock of `anyio.current_time`."""
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

    async def _process(self, run: TaskRun, control: TaskControl) -> RunResult | ProcessDied | NotTaken:
        current = CurrentTask(
            id=run.task.id,
            attempt=run.attempt,
            deadline=run.task.deadline,
            model=self._name,
            instance=self._instance,
            control=control,
        )
        try:
            with (
                run_span(run.task, attempt=run.attempt, instance=self._instance),
                processing(current),
                collapse_exception_group(),
            ):
                if self._chunks is not None:
                    body = await self._stream(run, self._chunks, control)
                else:
                    body = await self._call(
                        self._executor.execute(run.task.body, run.abandoned.append, alone=run.was_interrupted)
                    )
        except (ProcessDied, NotTaken) as error:
            return error
        except ChunksRefused:
            return StopReason.OVERTAKEN
        except (StreamTooLarge, ChunkTooLarge) as error:  # another run would come to the same
            _log.warning("stream too large", reason=str(error), attempt=run.attempt)
            return outcomes.failure(run, error, instance=self._instance, now=self._clock())
        except Exception as error:  # noqa: BLE001 - whatever a model raises is the outcome of its task
            return self._failure(run, error)
        limit = self._options.result_limit
        if limit and len(body) > limit:
            _log.warning("response too large", bytes=len(body), result_limit=limit, attempt=run.attempt)
            return outcomes.too_large(run, len(body), limit, instance=self._instance, now=self._clock())
        return outcomes.success(run, body, instance=self._instance, now=self._clock())

    async def _stream(self, run: TaskRun, chunks: ChunkWriter, control: TaskControl) -> bytes:
        """Runs a streaming model while its chunks are stored. Its generator has been left when this ends, however it ends."""
        run.chunks = 0
        window = chunks.window()
        failed: Exception | None = None
        try:
            async with create_task_group() as tg:

                async def write() -> None:
                    nonlocal failed
                    try:
                        await chunks.write(run, window)
                    except NOT_WRITTEN as error:  # not raised here: in a group it could be beside a cancellation
                        failed, control.cancelled = error, True
                        tg.cancel_scope.cancel("its chunks are not stored")

                tg.start_soon(write, name=f"hub.chunks {run.task.id}")
                try:
                    await self._call(self._executor.stream(run.task.body, window, run.abandoned.append))
                except Exception as error:  # noqa: BLE001 - raised below, when the chunks before it are stored
                    failed = failed or error
                window.end()
        finally:
            window.close()
        if failed is not None:
            raise failed
        return b""

    async def _call(self, execution: Awaitable[T]) -> T:
        try:
            return await execution
        except Exception as error:  # the span, the log and the outcome need its text
            await read_texts(error, self._text_threads)  # noqa: ASYNC120 - a cancelled run has no use for its error
            raise

    def _failure(self, run: TaskRun, error: Exception) -> Outcome | RetryAfter:
        delay = self._retry_delay(run, error)
        shown = {"attempt": run.attempt, "retry_in": delay and round(delay, 2)}
        try:
            with exits_as_errors("__str__"):
                _log.warning("run failed", exc_info=error, **shown)
        except Exception as broken:  # noqa: BLE001 - where structlog is not set up by hub it calls `str()` of the error itself
            _log.warning("run failed, and its error cannot be shown", reason=type(broken).__qualname__, **shown)
        if delay is not None:
            return RetryAfter(delay)
        return outcomes.failure(run, error, instance=self._instance, now=self._clock(), debug=self._options.debug)

    def _retry_delay(self, run: TaskRun, error: Exception) -> float | None:
        delay = None
        if self._retry is not None:
            try:
                with exits_as_errors("retry"):  # `isinstance` may be code of the model's, as its __str__ may
                    delay = self._retry.delay(error, run.retries)
            except Exception as broken:  # noqa: BLE001 - the task fails with its own error then
                _log.error("retry of the model failed, so the task is not tried again", exc_info=broken)
        deadline = run.task.deadline
        if delay is None or (deadline is not None and self._clock() + delay >= deadline):
            return None
        return delay
