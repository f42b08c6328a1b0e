"""One process of a model, as its instance sees it; what runs in there is `hub.model.execution.process.main`."""

from __future__ import annotations

import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, Self, final

from anyio import (
    AsyncContextManagerMixin,
    BrokenResourceError,
    ClosedResourceError,
    EndOfStream,
    Event,
    create_memory_object_stream,
    create_task_group,
    current_time,
    get_cancelled_exc_class,
    move_on_after,
)
from anyio.abc import Process
from sniffio import current_async_library
from typing_extensions import override

from hub.model.errors import MalformedFrame
from hub.model.execution.process.frames import FROM_PROCESS, InitFrame, PipeFrameReader, RequestFrame, encode
from hub.model.execution.process.pending_call import PendingCall, Tell, WorkerDiedIdle
from hub.model.execution.process.spawn import KILL_TIMEOUT, kill_group, open_worker_process, send_signal
from hub.model.model import Model
from hub.observability.logs import configured

LAST_WORDS: Final = 1.0
"""Seconds to read what a process wrote before it ended, in case that somebody else still holds its pipe open."""


@final
class ProcessWorker(AsyncContextManagerMixin):
    """A process that runs a model while the block runs; the block begins when the model is set up there.

    Leaving the block ends it, see `open_worker_process`; SIGTERM has the model's `teardown` called.

    Args:
        model: The class.
        target: Its name, `pkg.module:Class`.

    Raises:
        ChildError: On entry, in an `ExceptionGroup`: the model could not be imported, made or set up.
        ProcessDied: Likewise: the process died meanwhile.
    """

    def __init__(self, model: type[Model[Any, Any]], target: str) -> None:
        self._name = model.name
        self._kill_grace = model.kill_grace
        self._target = target
        self._process: Process | None = None
        self._exchange: PendingCall | None = None
        self._outgoing, self._frames = create_memory_object_stream[bytes](1)
        self._asked = 0
        self._killed = False
        self._end = ""
        self._gone = Event()

    @override
    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        try:
            with self._outgoing, self._frames:
                async with (
                    open_worker_process("hub.model.execution.process.main", self._target) as process,
                    create_task_group() as tg,
                ):
                    self._process = process
                    tg.start_soon(self._write, process, name=f"hub.child.write {self._name} {process.pid}")
                    tg.start_soon(self._follow, process, name=f"hub.child.follow {self._name} {process.pid}")
                    await self._load()
                    yield self
                    tg.cancel_scope.cancel("the process is not needed any more")
        finally:
            self._lost("it was ended")

    @property
    def pid(self) -> int | None:
        """Of the process and of the process group that it leads."""
        return None if self._process is None else self._process.pid

    @property
    def usable(self) -> bool:
        """Whether it may be asked now."""
        return self._exchange is None and not self._killed and not self._gone.is_set()

    @property
    def asked(self) -> int:
        """Requests that it was given so far."""
        return self._asked

    async def gone(self) -> str:
        """Waits until the process has ended; returns how."""
        await self._gone.wait()
        return self._end

    async def ask(self, request: RequestFrame, tell: Tell) -> bytes:
        """Has one request answered; there may be one at a time.

        When it is cancelled the process gets SIGINT, and `kill_grace` seconds later, if it has not answered by then,
        SIGKILL. In any case the process is ready for the next request, or dead, when this ends.

        Args:
            request: With a serialized message.
            tell: Takes the progress of the task.

        Raises:
            ChildError: The model raised something.
            WorkerDiedIdle: The process had died before the model saw the request; another one may be asked.
            ProcessDied: It has died of the request, or during it.
            FrameTooLarge: The request is too large; nobody was asked.
            Undecodable: It is not the request message of the model.
            WrongResponse: The model returned something else than its response message.
            UnreadableResponse: The model returned a message that no reader takes.
        """
        exchange = self._open(request, tell)
        self._asked += 1
        try:
            await exchange.over.wait()
        except get_cancelled_exc_class():
            with move_on_after(self._kill_grace + KILL_TIMEOUT, shield=True):
                await self._interrupt(exchange)
            raise
        finally:
            self._exchange = None
        return exchange.result(self._name, self._end)

    async def _load(self) -> None:
        exchange = self._open(
            InitFrame(self._target, sys.path, current_async_library(), *configured()), lambda _fraction, _message: None
        )
        await exchange.over.wait()
        self._exchange = None
        exchange.result(self._name, self._end)

    def _open(self, message: InitFrame | RequestFrame, tell: Tell) -> PendingCall:
        frame = encode(message)
        if self._gone.is_set():
            raise WorkerDiedIdle(self._name, self._end)
        self._exchange = PendingCall(tell)
        self._outgoing.send_nowait(frame)
        return self._exchange

    async def _interrupt(self, exchange: PendingCall) -> None:
        assert self._process is not None  # noqa: S101 - it was sent a request
        with move_on_after(self._kill_grace):
            await exchange.moved.wait()
            send_signal(self._process, signal.SIGINT)
            await exchange.over.wait()
        if not exchange.over.is_set():
            self._kill(self._process, f"it was killed: a cancelled request went on for {self._kill_grace:g} s")
            await exchange.over.wait()

    def _kill(self, process: Process, why: str) -> None:
        if process.returncode is None:
            self._killed = True
            self._end = self._end or why
        kill_group(process)

    async def _write(self, process: Process) -> None:
        assert process.stdin is not None  # noqa: S101 - see open_worker_process
        with suppress(BrokenResourceError, ClosedResourceError, OSError):  # it has ended, and _follow knows
            async for frame in self._frames:
                await process.stdin.send(frame)

    async def _follow(self, process: Process) -> None:
        """Until it has ended: hears what it says."""
        async with create_task_group() as tg:
            tg.start_soon(self._read, process, name=f"hub.child.read {self._name} {process.pid}")
            await process.wait()
            tg.cancel_scope.deadline = current_time() + LAST_WORDS
        self._lost(_described(process.returncode))

    async def _read(self, process: Process) -> None:
        assert process.stdout is not None  # noqa: S101 - see open_worker_process
        reader = PipeFrameReader(FROM_PROCESS)
        try:
            while True:
                for message in reader.feed(await process.stdout.receive()):
                    if self._exchange is not None:  # or else a thread that the model left behind still has progress
                        self._exchange.hear(message)
        except EndOfStream:
            with move_on_after(LAST_WORDS):
                await process.wait()  # its exit code tells more than we know
            self._kill(process, "it was killed: nothing could be heard from it any more")
        except MalformedFrame as error:
            if self._exchange is not None:
                self._exchange.begin()  # it may have said so, right before
            self._kill(process, f"it was killed: what it sent was {error}")

    def _lost(self, end: str) -> None:
        self._end = self._end or end
        self._gone.set()
        if self._exchange is not None:
            self._exchange.end()


def _described(returncode: int | None) -> str:
    if returncode is None or returncode >= 0:
        return f"exit code {returncode}"
    try:
        name = signal.Signals(-returncode).name
    except ValueError:
        name = f"signal {-returncode}"
    return f"{name} (out of memory, perhaps)" if -returncode == signal.SIGKILL else name
