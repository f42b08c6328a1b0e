"""Calls the methods of a model, plain or async. All code of a model that runs in an event loop is called from here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from inspect import isawaitable, iscoroutinefunction
from math import inf
from typing import Any, Final, final

from anyio import CapacityLimiter, Event, RunFinishedError, WouldBlock, from_thread, get_cancelled_exc_class
from anyio.lowlevel import checkpoint_if_cancelled, current_token
from anyio.to_thread import run_sync

from hub.concurrency import forking
from hub.concurrency.exceptions import iterate_exceptions
from hub.concurrency.threads import FOREIGN, rename
from hub.model.errors import UnexpectedCancellation
from hub.model.execution.exits import exits_as_errors, model_exit
from hub.model.execution.own_loop import OwnLoop
from hub.model.model import AnyModel

running_threads: Final[set[ThreadCall]] = set()
"""The calls of methods of models that run in threads now. Its single operations are atomic."""


@final
class ModelMethod:
    """One method of a model, called as a coroutine.

    An `async def` is awaited in the model's own event loop, or where it is called if there is none. A plain `def` runs in
    a worker thread; if that returns an awaitable (a decorated `async def`, a `functools.partial`), it is awaited too.

    Args:
        model: The model.
        name: Name of the method.
        function: What is called in its place; the method itself by default.
        threads: Number of calls of a plain `def` that may run at once; others wait.
        loop: The event loop of the model's own, if it has one.
    """

    def __init__(
        self,
        model: AnyModel,
        name: str,
        *,
        function: Callable[..., Any] | None = None,
        threads: int = 1,
        loop: OwnLoop | None = None,
    ) -> None:
        self._model = model
        self._name = name
        self._method: Callable[..., Any] = function or getattr(model, name)
        self._in_thread = not iscoroutinefunction(self._method)
        self._places = CapacityLimiter(threads)
        self._threads = CapacityLimiter(inf)
        self._abandoned: list[ThreadCall] = []
        self._loop = loop

    async def call(self, *arguments: object, on_abandoned: Callable[[Event], None] = lambda _ended: None) -> Any:
        """Calls the method once and returns its result.

        A cancellation by hub is always passed on. A thread continues if its caller is cancelled, and its result or error is
        discarded; it counts as one of the `threads` until it has ended. The same holds for a coroutine that computes in the
        model's own event loop; see `OwnLoop.call`.

        Args:
            arguments: Arguments of the method.
            on_abandoned: Called on cancellation if the method is still running, with an event that is set when it ends.

        Raises:
            Exception: Whatever the method raised.
            ModelExit: It raised an error that is not an `Exception`, such as `SystemExit`.
            UnexpectedCancellation: It ended with a cancellation that hub did not request.
        """
        if not self._in_thread:
            return await self._await(partial(self._method, *arguments), on_abandoned)
        result = await self._call_in_thread(arguments, on_abandoned)
        if not isawaitable(result):
            return result
        awaitable: Awaitable[Any] = result
        return await self._await(lambda: awaitable, on_abandoned)

    async def _await(self, start: Callable[[], Awaitable[Any]], on_abandoned: Callable[[Event], None]) -> Any:
        if self._loop is None:
            return await self._guarded(start)
        return await self._loop.call(self._guarded, start, on_abandoned=on_abandoned)

    async def _guarded(self, start: Callable[[], Awaitable[Any]]) -> Any:
        """Awaits code of the model. No error of it ends the event loop, and no forked child continues in the loop."""
        began = forking.generation()
        try:
            result = await start()
        except BaseException as error:
            if forking.generation() != began:
                forking.leave_child(error)
            if isinstance(error, Exception):
                raise
            raise await self._translate(error) from None  # noqa: ASYNC102, ASYNC104 - it raises a cancellation by hub
        if forking.generation() != began:
            forking.leave_child(None)
        return result

    async def _translate(self, error: BaseException) -> Exception:
        """Translates an error that is not an `Exception`. Raises the cancellation if hub has cancelled the call."""
        if any(isinstance(leaf, get_cancelled_exc_class()) for leaf in iterate_exceptions(error)):
            # A cancellation by hub is delivered again at every checkpoint, whatever the model did with it. Otherwise the
            # model raised one itself: passed on, it would end a task without an outcome and without an error.
            await checkpoint_if_cancelled()
            if isinstance(error, get_cancelled_exc_class()):
                return UnexpectedCancellation(self._name)
        return model_exit(self._name, error)

    async def _call_in_thread(self, arguments: tuple[object, ...], on_abandoned: Callable[[Event], None]) -> object:
        thread = ThreadCall(self._model, self._name, self._method, arguments)
        try:
            self._places.acquire_on_behalf_of_nowait(thread)
        except WouldBlock:
            await self._places.acquire_on_behalf_of(thread)
        try:
            await self._wait_for_abandoned()
            await run_sync(thread.run, abandon_on_cancel=True, limiter=self._threads)
        except get_cancelled_exc_class():
            if thread.began and not thread.ended:
                self._abandoned.append(thread)
                on_abandoned(thread.abandon())
            raise
        finally:
            self._places.release_on_behalf_of(thread)
        return thread.result()

    async def _wait_for_abandoned(self) -> None:
        """Waits until fewer than `threads` abandoned threads are running: on asyncio the limiter does not count them."""
        while len(self._abandoned) >= self._places.total_tokens:
            await self._abandoned[0].abandon().wait()
            self._abandoned = [thread for thread in self._abandoned if not thread.ended]


class ThreadCall:
    """A call in a worker thread, with an event for its end in case that its caller was cancelled."""

    def __init__(self, model: AnyModel, name: str, method: Callable[..., Any], arguments: tuple[object, ...]) -> None:
        self.model = model
        self.name = name
        self._method = method
        self._arguments = arguments
        self._token = current_token()
        self._end_event: Event | None = None
        self._result: object = None
        self._error: Exception | None = None
        self.began = False
        self.ended = False

    def run(self) -> None:
        """Stores the result or the error. It raises nothing: event loops treat some errors, such as `StopIteration`, specially."""
        self.began = True
        running_threads.add(self)
        before = rename(f"{FOREIGN}{type(self.model).__qualname__}.{self.name}")
        try:
            with exits_as_errors(self.name):
                self._result = self._method(*self._arguments)
        except Exception as error:  # noqa: BLE001 - raised again in `result`
            self._error = error
        finally:
            rename(before)
            running_threads.discard(self)
        # Written before `_end_event` is read; `abandon` uses the other order, so one of the two sees the other.
        self.ended = True
        if self._end_event is not None:
            with suppress(RunFinishedError):
                from_thread.run_sync(self._end_event.set, token=self._token)

    def result(self) -> object:
        error, self._error = self._error, None  # no reference cycle of the error and this frame
        if error is not None:
            raise error
        return self._result

    def abandon(self) -> Event:
        """An event that is set when the thread has ended. Called in the event loop of the caller."""
        self._end_event = event = self._end_event or Event()
        if self.ended:
            event.set()
        return event
