"""From the bytes of a request to the bytes of a response, through a model."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from inspect import isawaitable, iscoroutinefunction
from typing import Any, Self, cast, final

from anyio import AsyncContextManagerMixin, CapacityLimiter
from anyio.to_thread import run_sync
from typing_extensions import override

from hub.model.children import Children
from hub.model.messages import Messages
from hub.model.model import Model


@final
class Processor(AsyncContextManagerMixin):
    """Calls `process_request` of one model: awaits it, or runs it in a thread of the model's own, or in a process.

    A plain `process_request` has as many threads as the model has `concurrency`. When its caller is cancelled the
    thread goes on and its answer is dropped; it keeps its place among the threads until it has ended.

    A model with `run_in_process` has its processes while the block runs; see `Children` for what the block raises. Other
    models need no block.
    """

    def __init__(self, model: Model[Any, Any]) -> None:
        self._model = model
        self._messages = Messages(model)
        self._in_thread = not iscoroutinefunction(model.process_request)
        self._threads = CapacityLimiter(model.concurrency)
        self._children = Children(type(model)) if model.run_in_process else None

    @override
    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        if self._children is None:
            yield self
        else:
            async with self._children:
                yield self

    async def __call__(self, body: bytes) -> bytes:
        """Processes one serialized request and returns the serialized response.

        Raises:
            Undecodable: `body` is not the request message of the model.
            WrongResponse: The model returned something else than its response message.
            ChildError: What the model raised, if it runs in a process.
            ProcessDied: That process has died of the request.
            Exception: Whatever the model raised, if it runs in this one.
        """
        if self._children is not None:
            return await self._children(body)
        request = self._messages.decode(body)
        if self._in_thread:
            response = await run_sync(
                self._model.process_request, request, abandon_on_cancel=True, limiter=self._threads
            )
            if isawaitable(response):  # a plain def that hands out a coroutine, such as a functools.partial
                response = await response
        else:
            response = await cast("Any", self._model.process_request(request))  # iscoroutinefunction said so
        return self._messages.encode(response)
