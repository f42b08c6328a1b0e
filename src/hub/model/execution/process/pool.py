"""The processes of one instance of a model with `run_in_process`."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any, Self, final

import structlog
from anyio import AsyncContextManagerMixin, Event, create_task_group, sleep
from anyio.abc import TaskStatus
from structlog.typing import FilteringBoundLogger
from typing_extensions import override

from hub.concurrency.exceptions import collapse_exception_group
from hub.concurrency.retrying import ExponentialBackoff
from hub.model.current import current_task
from hub.model.errors import InvalidModel, NotInTask
from hub.model.execution.process.frames import RequestFrame, TaskInfo
from hub.model.execution.process.pending_call import Tell, WorkerDiedIdle
from hub.model.execution.process.worker import ProcessWorker
from hub.model.model import Model

_log: FilteringBoundLogger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessPoolStatistics:
    """A snapshot.

    Attributes:
        idle: Processes that wait for a request, by process id.
        started: Processes that were started and whose model was set up.
        ended: Those of them that are gone: crashed, or killed because a cancelled request did not end.
    """

    idle: tuple[int, ...]
    started: int
    ended: int


@final
class ProcessPool(AsyncContextManagerMixin):
    """Keeps `concurrency` processes of a model while its block runs; the block begins when all of them are set up.

    A process that ends is replaced, in the background: at once if it had been given work, with growing delays if it died
    idle. One that cannot be set up again ends the block. Leaving the block ends all of them, together.

    Args:
        model: The class. Each process imports it and makes an object of its own.

    Raises:
        InvalidModel: The class cannot be imported by its name.
        ChildError: On entry, or in an `ExceptionGroup` later: the model could not be imported, made or set up.
        ProcessDied: Likewise: a process died before the model was set up.
    """

    def __init__(self, model: type[Model[Any, Any]]) -> None:
        self._model = model
        self._target = importable_name(model)
        self._idle: list[ProcessWorker] = []
        self._more = Event()
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
                        name = f"hub.children {self._model.name} {number}"
                        starts.start_soon(partial(tg.start, self._keep, name=name), name=f"{name} start")
            self._entered = True
            yield self
            tg.cancel_scope.cancel("the processes are not needed any more")

    def statistics(self) -> ProcessPoolStatistics:
        pids = tuple(child.pid for child in self._idle if child.pid is not None)
        return ProcessPoolStatistics(idle=pids, started=self._started, ended=self._ended)

    async def __call__(self, body: bytes) -> bytes:
        """Has a request answered by a process that is idle; waits for one. See `ProcessWorker.ask`."""
        assert self._entered, "requests are answered while the block runs"  # noqa: S101 - it would wait for ever
        request, tell = _request(body)
        try:
            return await self._ask(request, tell)
        except WorkerDiedIdle as died:
            # Once: a request that kills its process as soon as it arrives (by its size, perhaps) looks the same.
            _log.warning("a process of the model died idle, asking another one", model=died.model, end=died.end)
            return await self._ask(request, tell)

    async def _ask(self, request: RequestFrame, tell: Tell) -> bytes:
        child = await self._take()
        try:
            return await child.ask(request, tell)
        finally:
            self._offer(child)

    async def _take(self) -> ProcessWorker:
        while not self._idle:
            await self._more.wait()
        return self._idle.pop()

    def _offer(self, child: ProcessWorker) -> None:
        if child.usable:
            self._idle.append(child)
            self._more.set()
            self._more = Event()

    async def _keep(self, *, task_status: TaskStatus[None]) -> None:
        """Keeps one process: starts another one whenever it ends."""
        delays = ExponentialBackoff().intervals()
        started: Callable[[], None] | None = task_status.started
        while True:
            child = ProcessWorker(self._model, self._target)
            with collapse_exception_group():
                async with child:
                    self._started += 1
                    self._offer(child)
                    if started is not None:
                        started()
                        started = None
                    end = await child.gone()
                    self._ended += 1
                    if child in self._idle:
                        self._idle.remove(child)
            _log.warning("a process of the model has ended, starting another one", model=self._model.name, end=end)
            if child.asked:
                delays = ExponentialBackoff().intervals()
            else:
                await sleep(next(delays))


def importable_name(model: type[Model[Any, Any]]) -> str:
    """`pkg.module:Class` of a class that another process can import.

    Raises:
        InvalidModel: It cannot.
    """
    module, name = model.__module__, model.__qualname__
    if module == "__main__":
        reason = "it is defined in the script that was started, which a process of its own cannot import"
    elif "<locals>" in name:
        reason = "it is defined in a function, where a process of its own cannot find it"
    elif _found(module, name) is not model:
        reason = f"{module}:{name} is something else, so a process of its own would not find it"
    else:
        return f"{module}:{name}"
    raise InvalidModel(
        name, f"run_in_process is set, but {reason}", "Define the class at the top level of a module of its own"
    )


def _found(module: str, name: str) -> object:
    try:
        return reduce(getattr, name.split("."), sys.modules[module])
    except (AttributeError, KeyError):
        return None


def _request(body: bytes) -> tuple[RequestFrame, Tell]:
    try:
        task = current_task()
    except NotInTask:
        return RequestFrame(body, None), lambda _fraction, _message: None
    return RequestFrame(
        body, TaskInfo(task.id, task.attempt, task.deadline, task.model, task.instance)
    ), task.control.report_progress
