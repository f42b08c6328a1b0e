"""The pool of processes of a model with `run_in_process`."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial, reduce
from typing import Self, TypeVar, final

import structlog
from anyio import AsyncContextManagerMixin, create_task_group, sleep
from anyio.abc import TaskStatus
from structlog.typing import FilteringBoundLogger
from typing_extensions import override

from hub.concurrency.exceptions import collapse_exception_group
from hub.concurrency.notify import Notifier
from hub.concurrency.retrying import ExponentialBackoff
from hub.model.current import CurrentTask, current_task
from hub.model.errors import InvalidModel, NotInTask
from hub.model.execution.chunk_window import ChunkWindow
from hub.model.execution.process.frames import RequestFrame, TaskInfo
from hub.model.execution.process.pending_call import OnProgress, WorkerDiedIdle
from hub.model.execution.process.worker import ProcessWorker
from hub.model.model import AnyModel

T = TypeVar("T")

_log: FilteringBoundLogger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessPoolStatistics:
    """A snapshot.

    Attributes:
        idle: Process ids of the processes that wait for a request.
        started: Number of processes whose model was set up so far.
        ended: Number of these that have ended: crashed, or killed because a cancelled request did not end.
    """

    idle: tuple[int, ...]
    started: int
    ended: int


@final
class ProcessPool(AsyncContextManagerMixin):
    """Runs `concurrency` processes of a model while its block runs; the block begins when all of them are set up.

    A process that ends is replaced in the background: at once if it had received a request, with growing delays if not.
    A process that cannot be set up again ends the block. Leaving the block ends all processes concurrently.

    Args:
        model: The class. Each process imports it and creates an object of its own.

    Raises:
        InvalidModel: The class cannot be imported by its name.
        ChildError: On entry, or in an `ExceptionGroup` later: the model could not be imported, created or set up.
        ProcessDied: In the same way: a process died before the model was set up.
    """

    def __init__(self, model: type[AnyModel]) -> None:
        self._model = model
        self._target = importable_name(model)
        self._idle: list[ProcessWorker] = []
        self._offered = Notifier()
        self._started = 0
        self._ended = 0
        self._entered = False

    @override
    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        async with create_task_group() as tg:
            with collapse_exception_group():
                async with create_task_group() as starts:
                    for number in range(self._model.concurrency):
                        name = f"hub.process pool {self._model.name} {number}"
                        starts.start_soon(partial(tg.start, self._supervise, name=name), name=f"{name} start")
            self._entered = True
            yield self
            tg.cancel_scope.cancel("the processes are not needed any more")

    def statistics(self) -> ProcessPoolStatistics:
        pids = tuple(process.pid for process in self._idle if process.pid is not None)
        return ProcessPoolStatistics(idle=pids, started=self._started, ended=self._ended)

    async def call(self, body: bytes) -> bytes:
        """Processes a request in the next idle process, and returns the response. See `ProcessWorker.call`."""
        request, on_progress = _request(body, _task_of_caller())
        return await self._call(lambda process: process.call(request, on_progress))

    async def stream(self, body: bytes, window: ChunkWindow) -> None:
        """Processes a request of a streaming model in the next idle process, and puts the chunks into `window`."""
        request, on_progress = _request(body, _task_of_caller())
        await self._call(lambda process: process.call(request, on_progress, window))

    async def call_batch(self, requests: Sequence[tuple[bytes, CurrentTask | None]]) -> Sequence[bytes | Exception]:
        """Processes requests together, in the next idle process. See `ProcessWorker.call_batch`.

        Args:
            requests: Each with its task.
        """
        prepared = [_request(body, task) for body, task in requests]
        frames, on_progress = [each[0] for each in prepared], [each[1] for each in prepared]
        return await self._call(lambda process: process.call_batch(frames, on_progress))

    async def _call(self, call: Callable[[ProcessWorker], Awaitable[T]]) -> T:
        assert self._entered, "requests are processed while the block runs"  # noqa: S101 - it would wait for ever
        try:
            return await self._call_once(call)
        except WorkerDiedIdle as died:
            # Once only: the request itself may kill the process before that reports anything, for example by its size.
            _log.warning("a process of the model died idle, retrying in another one", model=died.model, end=died.end)
            return await self._call_once(call)

    async def _call_once(self, call: Callable[[ProcessWorker], Awaitable[T]]) -> T:
        process = await self._acquire()
        try:
            return await call(process)
        finally:
            self._release(process)

    async def _acquire(self) -> ProcessWorker:
        await self._offered.wait_for(lambda: self._idle)
        return self._idle.pop()

    def _release(self, process: ProcessWorker) -> None:
        if process.available:
            self._idle.append(process)
            self._offered.notify()

    async def _supervise(self, *, task_status: TaskStatus[None]) -> None:
        """Runs one process, and another one whenever it ends."""
        delays = ExponentialBackoff().intervals()
        started: Callable[[], None] | None = task_status.started
        while True:
            process = ProcessWorker(self._model, self._target)
            with collapse_exception_group():
                async with process:
                    self._started += 1
                    self._release(process)
                    if started is not None:
                        started()
                        started = None
                    end = await process.wait_exit()
                    self._ended += 1
                    if process in self._idle:
                        self._idle.remove(process)
            _log.warning("a process of the model has ended, starting another one", model=self._model.name, end=end)
            if process.calls:
                delays = ExponentialBackoff().intervals()
            else:
                await sleep(next(delays))


def importable_name(model: type[AnyModel]) -> str:
    """`pkg.module:Class` of a class that another process can import.

    Raises:
        InvalidModel: No other process can import it.
    """
    module, name = model.__module__, model.__qualname__
    if module == "__main__":
        reason = "it is defined in the main script, which another process cannot import"
    elif "<locals>" in name:
        reason = "it is defined in a function, so another process cannot import it"
    elif _lookup(module, name) is not model:
        reason = f"{module}:{name} is a different object, so another process cannot import it"
    else:
        return f"{module}:{name}"
    raise InvalidModel(
        name, f"run_in_process is set, but {reason}", "Define the class at the top level of a module of its own"
    )


def _lookup(module: str, name: str) -> object:
    try:
        return reduce(getattr, name.split("."), sys.modules[module])
    except (AttributeError, KeyError):
        return None


def _task_of_caller() -> CurrentTask | None:
    try:
        return current_task()
    except NotInTask:
        return None


def _request(body: bytes, task: CurrentTask | None) -> tuple[RequestFrame, OnProgress]:
    if task is None:
        return RequestFrame(body, None), lambda _fraction, _message: None
    return RequestFrame(
        body, TaskInfo(task.id, task.attempt, task.deadline, task.model, task.instance)
    ), task.control.report_progress
