"""The instance's side of one process of a model; the other side is `hub.model.execution.process.main`."""

from __future__ import annotations

import signal
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final, Self, final

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
from hub.model.execution.chunk_window import ChunkWindow
from hub.model.execution.process.frames import (
    FROM_PROCESS,
    BatchFrame,
    ContinueFrame,
    InitFrame,
    PipeFrameReader,
    RequestFrame,
    encode,
)
from hub.model.execution.process.pending_call import OnProgress, PendingCall, WorkerDiedIdle
from hub.model.execution.process.spawn import KILL_TIMEOUT, kill_group, open_worker_process, send_signal
from hub.model.model import AnyModel
from hub.observability.logs import configured

FINAL_READ_TIMEOUT: Final = 1.0
"""Seconds to read the last output of a process that has ended, because another process may still hold its pipe open."""


@final
class ProcessWorker(AsyncContextManagerMixin):
    """A process that runs a model while the block runs; the block begins when the model is set up there.

    Leaving the block ends the process, see `open_worker_process`; on SIGTERM it calls the model's `teardown`.

    Args:
        model: The class.
        target: Its name, `pkg.module:Class`.

    Raises:
        ChildError: On entry, in an `ExceptionGroup`: the model could not be imported, created or set up.
        ProcessDied: In the same way: the process died meanwhile.
    """

    def __init__(self, model: type[AnyModel], target: str) -> None:
        self._name = model.name
        self._kill_grace = model.kill_grace
        self._target = target
        self._process: Process | None = None
        self._pending: PendingCall | None = None
        self._outgoing, self._frames = create_memory_object_stream[bytes](1)
        self._calls = 0
        self._killed = False
        self._end = ""
        self._exited = Event()

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
                    tg.start_soon(self._write, process, name=f"hub.process write {self._name} {process.pid}")
                    tg.start_soon(self._watch, process, name=f"hub.process watch {self._name} {process.pid}")
                    await self._initialize()
                    yield self
                    tg.cancel_scope.cancel("the process is not needed any more")
        finally:
            self._mark_exited("it was ended")

    @property
    def pid(self) -> int | None:
        """Id of the process and of the process group that it leads."""
        return None if self._process is None else self._process.pid

    @property
    def available(self) -> bool:
        """Whether it can receive a request now."""
        return self._pending is None and not self._killed and not self._exited.is_set()

    @property
    def calls(self) -> int:
        """Number of requests so far."""
        return self._calls

    async def wait_exit(self) -> str:
        """Waits until the process has ended; returns how it ended."""
        await self._exited.wait()
        return self._end

    async def call(self, request: RequestFrame, on_progress: OnProgress, window: ChunkWindow | None = None) -> bytes:
        """Processes one request; one at a time.

        On cancellation the process gets SIGINT, and SIGKILL if it has not answered `kill_grace` seconds later. When this
        ends the process is either ready for the next request or dead.

        Args:
            request: The frame with the serialized message.
            on_progress: Called with the progress of the task.
            window: Where the chunks of a streaming model go, whose response is empty.

        Raises:
            ChildError: The model raised an error.
            WorkerDiedIdle: The process died before the model received the request; the request may be repeated.
            ProcessDied: The process died during the request.
            FrameTooLarge: The request is too large; it was not sent.
            Undecodable: It is not the request message of the model.
            WrongResponse: The model did not return its response message.
            UnreadableResponse: The model returned a message that cannot be parsed.
        """
        pending = self._send(encode(request), on_progress, window=window)
        await self._wait(pending, window)
        return pending.result(self._name, self._end)

    async def call_batch(
        self, requests: Sequence[RequestFrame], on_progress: Sequence[OnProgress]
    ) -> Sequence[bytes | Exception]:
        """Processes the requests of one batch together; like `call` otherwise.

        Returns:
            The response to each, or what `call` would have raised for it.

        Raises:
            WorkerDiedIdle: The process died before the model received the requests; they may be repeated.
            FrameTooLarge: A request is too large; none was sent.
        """
        frames = [encode(BatchFrame(len(requests))), *map(encode, requests)]
        pending = self._send(b"".join(frames), *on_progress)
        await self._wait(pending)
        results = pending.results(self._name, self._end)
        if isinstance(results[0], WorkerDiedIdle):
            raise results[0]
        return results

    async def _wait(self, pending: PendingCall, window: ChunkWindow | None = None) -> None:
        self._calls += 1
        try:
            if window is None:
                await pending.done.wait()
            else:
                await self._wait_for_chunks(pending, window)
        except get_cancelled_exc_class():
            with move_on_after(self._kill_grace + KILL_TIMEOUT, shield=True):
                await self._interrupt(pending)
            raise
        finally:
            self._pending = None

    async def _wait_for_chunks(self, pending: PendingCall, window: ChunkWindow) -> None:
        async with create_task_group() as tg:
            tg.start_soon(self._let_continue, pending, window, name=f"hub.process window {self._name}")
            await pending.done.wait()
            tg.cancel_scope.cancel("the stream has ended")

    async def _let_continue(self, pending: PendingCall, window: ChunkWindow) -> None:
        """Answers each question of the process whether more chunks are wanted, once there is room for them."""
        while True:
            await pending.asked()
            await window.wait_for_room()
            if not pending.done.is_set():
                self._outgoing.send_nowait(encode(ContinueFrame()))

    async def _initialize(self) -> None:
        init = InitFrame(self._target, sys.path, current_async_library(), *configured())
        pending = self._send(encode(init), lambda _fraction, _message: None)
        await pending.done.wait()
        self._pending = None
        pending.result(self._name, self._end)

    def _send(self, frames: bytes, *on_progress: OnProgress, window: ChunkWindow | None = None) -> PendingCall:
        if self._exited.is_set():
            raise WorkerDiedIdle(self._name, self._end)
        self._pending = PendingCall(*on_progress, window=window)
        self._outgoing.send_nowait(frames)
        return self._pending

    async def _interrupt(self, pending: PendingCall) -> None:
        assert self._process is not None  # noqa: S101 - it has received a request
        with move_on_after(self._kill_grace):
            await pending.accepted.wait()
            send_signal(self._process, signal.SIGINT)
            await pending.done.wait()
        if not pending.done.is_set():
            self._kill(self._process, f"it was killed: a cancelled request went on for {self._kill_grace:g} s")
            await pending.done.wait()

    def _kill(self, process: Process, reason: str) -> None:
        if process.returncode is None:
            self._killed = True
            self._end = self._end or reason
        kill_group(process)

    async def _write(self, process: Process) -> None:
        assert process.stdin is not None  # noqa: S101 - see open_worker_process
        with suppress(BrokenResourceError, ClosedResourceError, OSError):  # it has ended, which _watch reports
            async for frame in self._frames:
                await process.stdin.send(frame)

    async def _watch(self, process: Process) -> None:
        """Reads its frames until it has ended."""
        async with create_task_group() as tg:
            tg.start_soon(self._read, process, name=f"hub.process read {self._name} {process.pid}")
            await process.wait()
            tg.cancel_scope.deadline = current_time() + FINAL_READ_TIMEOUT
        self._mark_exited(_describe_exit(process.returncode))

    async def _read(self, process: Process) -> None:
        assert process.stdout is not None  # noqa: S101 - see open_worker_process
        reader = PipeFrameReader(FROM_PROCESS)
        try:
            while True:
                for message in reader.feed(await process.stdout.receive()):
                    if self._pending is not None:  # otherwise it is progress from a thread that the model left behind
                        self._pending.receive(message)
        except EndOfStream:
            with move_on_after(FINAL_READ_TIMEOUT):
                await process.wait()  # its exit code says more
            self._kill(process, "it was killed: it closed its output")
        except MalformedFrame as error:
            if self._pending is not None:
                self._pending.accept()  # its StartedFrame may be part of the malformed bytes
            self._kill(process, f"it was killed: its output was {error}")

    def _mark_exited(self, end: str) -> None:
        self._end = self._end or end
        self._exited.set()
        if self._pending is not None:
            self._pending.died()


def _describe_exit(returncode: int | None) -> str:
    if returncode is None or returncode >= 0:
        return f"exit code {returncode}"
    try:
        name = signal.Signals(-returncode).name
    except ValueError:
        name = f"signal {-returncode}"
    return f"{name} (out of memory, perhaps)" if -returncode == signal.SIGKILL else name
