"""Models that raise, on request, errors that are not an `Exception` or have a meaning for event loops."""

from __future__ import annotations

import asyncio
import concurrent.futures
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ClassVar, Final, NoReturn

import anyio
from typing_extensions import override

import hub
from examples.model_a.v1.model_a_pb2 import ModelARequest, ModelAResponse


class Own(BaseException):
    """An author's own."""


class MuteExit(BaseException):
    @override
    def __str__(self) -> str:
        raise SystemExit(9)


class MuteError(Exception):
    @override
    def __str__(self) -> str:
        raise KeyboardInterrupt


def _raises(error: BaseException) -> Callable[[], NoReturn]:
    def act() -> NoReturn:
        raise error

    return act


EXITS: Final[Mapping[str, tuple[Callable[[], NoReturn], str]]] = {
    "exit": (lambda: sys.exit(3), "SystemExit"),
    "exit with a text": (lambda: sys.exit("no weights"), "SystemExit"),
    "interrupt": (_raises(KeyboardInterrupt()), "KeyboardInterrupt"),
    "generator exit": (_raises(GeneratorExit()), "GeneratorExit"),
    "own": (_raises(Own("mine")), "tests.model.exit_models.Own"),
    "mute": (_raises(MuteExit()), "tests.model.exit_models.MuteExit"),
    "group of one": (_raises(BaseExceptionGroup("one", [SystemExit(1)])), "SystemExit"),
    "group": (_raises(BaseExceptionGroup("two", [SystemExit(1), ValueError("x")])), "BaseExceptionGroup"),
}
"""By name: the action, and the class of the failure. All have the code `model_exit`."""

ERRORS: Final[Mapping[str, tuple[Callable[[], NoReturn], str]]] = {
    "timeout": (_raises(TimeoutError("slow")), "TimeoutError"),
    "future cancelled": (_raises(concurrent.futures.CancelledError()), "concurrent.futures._base.CancelledError"),
    "mute error": (_raises(MuteError()), "tests.model.exit_models.MuteError"),
}
"""Errors like any other, with the code `model_error`."""

STOPS: Final[Mapping[str, Callable[[], NoReturn]]] = {
    "stop": _raises(StopIteration(1)),
    "stop async": _raises(StopAsyncIteration()),
}
"""Errors like any other, of which Python makes a `RuntimeError` where they leave a coroutine."""

CANCELLATION: Final = "cancellation"
"""asyncio's, raised by hand."""


def act(word: str) -> str:
    """Raises the named error, or runs the named action in a forked child, or returns the text."""
    if word == CANCELLATION:
        raise asyncio.CancelledError
    if word in STOPS:
        STOPS[word]()
    if word in EXITS or word in ERRORS:
        {**EXITS, **ERRORS}[word][0]()
    children: Mapping[str, Callable[[], str]] = {"terminate": _stopped, "interrupt child": _interrupted}
    return children[word]() if word in children else word


def _stopped(number: signal.Signals = signal.SIGTERM) -> str:
    """The exit code of a forked child that was sent a signal, as the workers of a data loader are."""
    context = multiprocessing.get_context("fork")
    began = context.Event()

    def work() -> None:
        began.set()
        while True:  # a signal just before the system call of a sleep does not interrupt it
            time.sleep(0.01)

    child = context.Process(target=work)
    child.start()
    assert child.pid is not None
    began.wait()
    os.kill(child.pid, number)
    child.join()
    return str(child.exitcode)


def _interrupted() -> str:
    return _stopped(signal.SIGINT)


FORKS: Final = ("leaves", "returns", "raises")


def fork(word: str) -> str | None:
    """Forks, and returns the exit code of the child; `None` in the child, which then runs the named action."""
    pid = os.fork()
    if pid == 0:
        if word == "leaves":
            sys.exit(7)
        if word == "raises":
            raise ValueError("in the child")
        return None
    _, status = os.waitpid(pid, 0)
    return str(os.waitstatus_to_exitcode(status))


def answer(request: ModelARequest) -> ModelAResponse:
    word = request.messages
    return ModelAResponse(reply=(fork(word) or "child") if word in FORKS else act(word))


class Exits(hub.Model[ModelARequest, ModelAResponse]):
    concurrency: ClassVar[int] = 4

    @override
    async def process_request(self, request: ModelARequest) -> ModelAResponse:
        if request.messages == "subtask":
            async with anyio.create_task_group() as tg:
                tg.start_soon(self._exit)
                await anyio.sleep_forever()
        if request.messages == "callback":
            asyncio.get_running_loop().call_soon(sys.exit, 5)
            await anyio.sleep(0.01)
        if request.messages == "wait":
            await anyio.sleep_forever()
        return answer(request)

    async def _exit(self) -> None:
        sys.exit(4)


class ExitsInThread(hub.Model[ModelARequest, ModelAResponse]):
    concurrency: ClassVar[int] = 4

    @override
    def process_request(self, request: ModelARequest) -> ModelAResponse:
        return answer(request)


class ExitsWhenAwaited(hub.Model[ModelARequest, ModelAResponse]):
    """A plain `def` that returns an awaitable, as a decorated `async def` does."""

    concurrency: ClassVar[int] = 4

    @override
    def process_request(self, request: ModelARequest) -> Awaitable[ModelAResponse]:
        async def later() -> ModelAResponse:
            return answer(request)

        return later()


class ExitsInProcess(hub.Model[ModelARequest, ModelAResponse]):
    run_in_process: ClassVar[bool] = True

    @override
    def process_request(self, request: ModelARequest) -> ModelAResponse:
        return answer(request)


IN_THIS_PROCESS: Final[tuple[type[hub.Model[Any, Any]], ...]] = (Exits, ExitsInThread, ExitsWhenAwaited)
ALL: Final[tuple[type[hub.Model[Any, Any]], ...]] = (*IN_THIS_PROCESS, ExitsInProcess)
