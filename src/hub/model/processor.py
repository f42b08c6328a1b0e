"""From the bytes of a request to the bytes of a response, through a model."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from inspect import isawaitable, iscoroutinefunction
from typing import Any, Self, cast, final

from anyio import (
    AsyncContextManagerMixin,
    CapacityLimiter,
    Event,
    RunFinishedError,
    from_thread,
    get_cancelled_exc_class,
)
from anyio.lowlevel import current_token
from anyio.to_thread import run_sync
from typing_extensions import override

from hub.model.children import Children
from hub.model.messages import Messages
from hub.model.model import Model


@final
class Processor(AsyncContextManagerMixin):
    """Calls `process_request` of one model: awaits it, or runs it in a thread of the model's own, or in a process.

    A plain `process_request` has as many threads as the model has `concurrency`. When its caller is cancelled the
    thread goes on and its answer is dropped; it keeps its place among the threads until it has ended, and
    `on_abandoned` says when that is.

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

    async def __call__(self, body: bytes, on_abandoned: Callable[[Event], None] = lambda _ended: None) -> bytes:
        """Processes one serialized request and returns the serialized response.

        Args:
            body: The request.
            on_abandoned: Called on cancellation when a thread is still at it, with what is set when the thread ends.

        Raises:
            Undecodable: `body` is not the request message of the model.
            WrongResponse: The model returned something else than its response message.
            UnreadableResponse: The model returned a message that no reader takes.
            ChildError: What the model raised, if it runs in a process.
            ProcessDied: That process has died of the request.
            Exception: Whatever the model raised, if it runs in this one.
        """
        if self._children is not None:
            return await self._children(body)
        request = self._messages.decode(body)
        if self._in_thread:
            response = await self._in_a_thread(request, on_abandoned)
            if isawaitable(response):  # a plain def that hands out a coroutine, such as a functools.partial
                response = await response
        else:
            response = await cast("Any", self._model.process_request(request))  # iscoroutinefunction said so
        return self._messages.encode(response)

    async def _in_a_thread(self, request: object, on_abandoned: Callable[[Event], None]) -> object:
        thread = _Thread(partial(self._model.process_request, request))
        try:
            return await run_sync(thread, abandon_on_cancel=True, limiter=self._threads)
        except get_cancelled_exc_class():
            if thread.began and not thread.ended:
                on_abandoned(thread.abandon())
            raise


class _Thread:
    """A call in a worker thread, and word of its end for somebody who could not wait for it."""

    def __init__(self, call: Callable[[], object]) -> None:
        self._call = call
        self._token = current_token()
        self._gone: Event | None = None
        self.began = False
        self.ended = False

    def __call__(self) -> object:
        self.began = True
        try:
            return self._call()
        finally:
            self.ended = (
                True  # before the look at `_gone`: `abandon` does it the other way round, so one sees the other
            )
            if self._gone is not None:
                with suppress(RunFinishedError):
                    from_thread.run_sync(self._gone.set, token=self._token)

    def abandon(self) -> Event:
        self._gone = Event()
        if self.ended:
            self._gone.set()
        return self._gone
