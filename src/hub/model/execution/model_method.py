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
    """One method of a model, as a coroutine.

    An `async def` is awaited in the model's own event loop, or where it is called if there is none. A plain `def` runs in
    a worker thread; if that returns an awaitable (a decorated `async def`, a `functools.partial`), it is awaited too.

    Args:
        model: Whose.
        name: Of the method.
        threads: How many calls of a plain `def` may run at once; others wait for their turn.
        loop: The event loop of the model's own.
    """

    def __init__(self, model: AnyModel, name: str, *, threads: int = 1, loop: OwnLoop | None = None) -> None:
        self._model = model
        self._name = name
        self._method: Callable[..., Any] = getattr(model, name)
        self._in_thread = not iscoroutinefunction(self._method)
        self._places = CapacityLimiter(threads)
        self._threads = CapacityLimiter(inf)
        self._left: list[ThreadCall] = []
        self._loop = loop

    async def call(self, *arguments: object, on_abandoned: Callable[[Event], None] = lambda _ended: None) -> Any:
        """Calls it once and returns what it returned.

        A cancellation that hub asked for is always passed on. A thread goes on when its caller is cancelled, and what it
        returns or raises is dropped; it keeps its place among the `threads` until it has ended. So does a coroutine that
        computes in the model's own event loop; see `OwnLoop.call`.

        Args:
            arguments: For the method.
            on_abandoned: Called on cancellation when the method is still at it, with what is set when it ends.

        Raises:
            Exception: Whatever the method raised.
            ModelExit: It raised something that is no `Exception`, such as `SystemExit`.
            UnexpectedCancellation: It ended with a cancellation that hub had not asked for.
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
        """Awaits code of the model. An event loop goes on whatever that raises, and no forked child goes on in the loop."""
        began = forking.generation()
        try:
            result = await start()
        except BaseException as error:
            if forking.generation() != began:
                forking.leave_child(error)
            if isinstance(error, Exception):
                raise
            raise await self._meaning(error) from None  # noqa: ASYNC102, ASYNC104 - a cancellation of ours leaves from there
        if forking.generation() != began:
            forking.leave_child(None)
        return result

    async def _meaning(self, error: BaseException) -> Exception:
        """What `error`, which is no `Exception`, means to hub. Raises the cancellation of ours that it is, or that it holds."""
        if any(isinstance(leaf, get_cancelled_exc_class()) for leaf in iterate_exceptions(error)):
            # Ours is delivered at every checkpoint (again), whatever the model made of it: grouped it with an error of
            # its own, or raised one by hand just before. Else nobody has cancelled us: passed on, it would end a task of
            # ours without an outcome and without an error.
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
            await self._left_enough()
            await run_sync(thread.run, abandon_on_cancel=True, limiter=self._threads)
        except get_cancelled_exc_class():
            if thread.began and not thread.ended:
                self._left.append(thread)
                on_abandoned(thread.abandon())
            raise
        finally:
            self._places.release_on_behalf_of(thread)
        return thread.result()

    async def _left_enough(self) -> None:
        """Waits until threads that nobody waits for any more have left a place: no event loop counts them on asyncio."""
        while len(self._left) >= self._places.total_tokens:
            await self._left[0].abandon().wait()
            self._left = [thread for thread in self._left if not thread.ended]


class ThreadCall:
    """A call in a worker thread, and word of its end for somebody who could not wait for it."""

    def __init__(
        self, model: AnyModel, name: str, method: Callable[..., Any], arguments: tuple[object, ...]
    ) -> None:
        self.model = model
        self.name = name
        self._method = method
        self._arguments = arguments
        self._token = current_token()
        self._gone: Event | None = None
        self._result: object = None
        self._error: Exception | None = None
        self.began = False
        self.ended = False

    def run(self) -> None:
        """Never raises: event loops have ideas of their own on errors like `StopIteration` or a cancellation."""
        self.began = True
        running_threads.add(self)
        before = rename(f"{FOREIGN}{type(self.model).__qualname__}.{self.name}")
        try:
            with exits_as_errors(self.name):
                self._result = self._method(*self._arguments)
        except Exception as error:  # noqa: BLE001 - raised again where the call is awaited
            self._error = error
        finally:
            rename(before)
            running_threads.discard(self)
        # Before the look at `_gone`: `abandon` does it the other way round, so one of them sees the other.
        self.ended = True
        if self._gone is not None:
            with suppress(RunFinishedError):
                from_thread.run_sync(self._gone.set, token=self._token)

    def result(self) -> object:
        error, self._error = self._error, None  # or else it and this frame would keep each other
        if error is not None:
            raise error
        return self._result

    def abandon(self) -> Event:
        """What is set when it has ended. To be called in the event loop that the call came from."""
        self._gone = gone = self._gone or Event()
        if self.ended:
            gone.set()
        return gone
