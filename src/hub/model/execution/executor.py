"""From the bytes of a request to the bytes of a response, through a model."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any, Self, final

from anyio import AsyncContextManagerMixin, Event
from typing_extensions import override

from hub.model.execution.codec import MessageCodec
from hub.model.execution.model_method import ModelMethod
from hub.model.execution.own_loop import OwnLoop
from hub.model.execution.process.pool import ProcessPool
from hub.model.model import Model


@final
class Executor(AsyncContextManagerMixin):
    """Calls `process_request` of one model: awaits it in the model's event loop, or runs it in a thread, or in a process.

    A plain `process_request` has as many threads as the model has `concurrency`. When its caller is cancelled the
    thread goes on and its answer is dropped; it keeps its place among the threads until it has ended, and
    `on_abandoned` says when that is. The same holds for an `async def` that computes in an event loop of the model's own.

    A model with `run_in_process` has its processes while the block runs; see `ProcessPool` for what the block raises. Other
    models need no block.

    Args:
        model: The model.
        loop: Where its coroutines run; `None` for the event loop of the caller.
    """

    def __init__(self, model: Model[Any, Any], loop: OwnLoop | None = None) -> None:
        self._messages = MessageCodec(model)
        self._process_request = ModelMethod(model, "process_request", threads=model.concurrency, loop=loop)
        self._children = ProcessPool(type(model)) if model.run_in_process else None

    @override
    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        if self._children is None:
            yield self
        else:
            async with self._children:
                yield self

    async def __call__(self, body: bytes, on_abandoned: Callable[[Event], None] = lambda _ended: None) -> bytes:
        """Processes one serialized request and returns the serialized response.

        Args:
            body: The request.
            on_abandoned: Called on cancellation when the model is still at it, with what is set when that ends.

        Raises:
            Undecodable: `body` is not the request message of the model.
            WrongResponse: The model returned something else than its response message.
            UnreadableResponse: The model returned a message that no reader takes.
            ChildError: What the model raised, if it runs in a process.
            ProcessDied: That process has died of the request.
            Exception: What the model raised, if it runs in this one; see `ModelMethod.call`.
        """
        if self._children is not None:
            return await self._children(body)
        request = self._messages.decode(body)
        response = await self._process_request.call(request, on_abandoned=on_abandoned)
        return self._messages.encode(response)
