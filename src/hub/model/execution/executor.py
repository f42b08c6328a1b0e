"""Executes requests of a model: from a serialized request to a serialized response."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Self, final

from anyio import AsyncContextManagerMixin, Event
from typing_extensions import override

from hub.model.execution.batch_executor import BatchExecutor
from hub.model.execution.chunk_producer import ChunkProducer
from hub.model.execution.chunk_window import ChunkWindow
from hub.model.execution.codec import MessageCodec
from hub.model.execution.dynamic_batcher import BatchStatistics
from hub.model.execution.model_method import ModelMethod
from hub.model.execution.own_loop import OwnLoop
from hub.model.execution.process.pool import ProcessPool
from hub.model.model import AnyModel, processes_batches


@final
class Executor(AsyncContextManagerMixin):
    """Calls `process_request` or `process_batch` of one model: in the model's event loop, in a thread, or in a process.

    A plain `process_request` runs in one of `concurrency` threads. If its caller is cancelled the thread continues and its
    result is discarded; it counts as a running thread until it has ended, and `on_abandoned` receives an event for that.
    The same holds for an `async def` that computes in an event loop of the model's own.

    The processes of a model with `run_in_process` run while the block runs, which raises what `ProcessPool` raises; batches
    are gathered while it runs. Other models need no block.

    Args:
        model: The model.
        loop: The event loop of its coroutines; `None` for that of the caller.
    """

    def __init__(self, model: AnyModel, loop: OwnLoop | None = None) -> None:
        self._codec = MessageCodec(model)
        function = ChunkProducer(model, self._codec).produce if model.streaming else None
        self._process_request = ModelMethod(
            model, "process_request", function=function, threads=model.concurrency, loop=loop
        )
        self._pool = ProcessPool(type(model)) if model.run_in_process else None
        self._batches: BatchExecutor | None = None
        if processes_batches(type(model)):
            self._batches = BatchExecutor(model, self._codec, loop=loop, pool=self._pool)

    @override
    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        async with AsyncExitStack() as stack:
            for part in (self._pool, self._batches):
                if part is not None:
                    await stack.enter_async_context(part)
            yield self

    def flush(self) -> None:
        """From now on batches do not wait to be filled."""
        if self._batches is not None:
            self._batches.flush()

    def batch_statistics(self) -> BatchStatistics | None:
        """`None` if the model has no `process_batch`."""
        return None if self._batches is None else self._batches.statistics()

    async def execute(
        self, body: bytes, on_abandoned: Callable[[Event], None] = lambda _ended: None, *, alone: bool = False
    ) -> bytes:
        """Processes one serialized request and returns the serialized response.

        Args:
            body: The request.
            on_abandoned: Called on cancellation if the model is still running, with an event that is set when it ends.
            alone: Not in a batch with others.

        Raises:
            Undecodable: `body` is not the request message of the model.
            WrongResponse: The model did not return its response message.
            UnreadableResponse: The model returned a message that cannot be parsed.
            ChildError: The model raised an error, in its own process.
            ProcessDied: That process died during the request.
            Exception: Whatever the model raised in this process; see `ModelMethod.call`.
        """
        if self._batches is not None:
            return await self._batches.execute(body, on_abandoned, alone=alone)
        if self._pool is not None:
            return await self._pool.call(body)
        request = self._codec.decode(body)
        response = await self._process_request.call(request, on_abandoned=on_abandoned)
        return self._codec.encode(response)

    async def stream(
        self, body: bytes, window: ChunkWindow, on_abandoned: Callable[[Event], None] = lambda _ended: None
    ) -> None:
        """Processes one serialized request of a streaming model, and puts the serialized chunks into `window`.

        The generator is iterated and closed in the model's event loop, in one thread, or in a process. On cancellation it
        is closed; a plain generator that computes meanwhile is closed at its next `yield`.

        Raises:
            Exception: As `execute` does.
        """
        if self._pool is not None:
            await self._pool.stream(body, window)
        else:
            request = self._codec.decode(body)
            await self._process_request.call(request, window, on_abandoned=on_abandoned)
