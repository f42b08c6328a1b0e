"""An event loop in a thread of its own, for code that has none or may not block its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, ExitStack, suppress
from typing import Final, Generic, TypeVar, final
from weakref import finalize

from anyio import CancelScope
from anyio.from_thread import BlockingPortal, start_blocking_portal

from hub.concurrency.threads import new_lock
from hub.types import Backend

R = TypeVar("R")
T = TypeVar("T")


CLEANUP: Final = 5.0
"""Seconds for what a call does after it was interrupted: more than the cancellation of its task takes."""


class Interrupted(Exception):
    """The end of a call whose caller was interrupted, which does not wait for it."""


@final
class _Cancellable(Generic[T]):
    """A call in the event loop that another thread can cancel; before it has started, too."""

    def __init__(self, function: Callable[[], Awaitable[T]]) -> None:
        self._function = function
        self._scope: CancelScope | None = None
        self._cancelled = False

    async def run(self) -> T:
        with CancelScope() as self._scope:
            if self._cancelled:
                self._scope.cancel("interrupted")
            return await self._function()
        raise Interrupted

    def cancel(self) -> None:
        """Call it in the thread of the loop."""
        self._cancelled = True
        if self._scope is not None:
            self._scope.cancel("interrupted")


def _nothing() -> None: ...


@final
class LoopThread(Generic[R]):
    """A resource in an event loop of its own, which starts with the first use and ends with `close` or the process.

    Its methods may be called from any thread, also from one with a running event loop, which they block.

    Args:
        resource: Held open in that loop.
        backend: The event loop.
    """

    def __init__(self, resource: Callable[[], AbstractAsyncContextManager[R]], *, backend: Backend) -> None:
        self._factory: Final = resource
        self._backend = backend
        self._lock = new_lock()
        self._closing: Callable[[], object] = _nothing
        self._opened: tuple[BlockingPortal, R] | None = None

    def resource(self) -> R:
        """The open resource."""
        return self._open()[1]

    def run(self, function: Callable[[], Awaitable[T]]) -> T:
        """Calls and awaits `function` in the loop, and returns its result.

        A KeyboardInterrupt meanwhile cancels it there, and is raised after its cleanup, `CLEANUP` seconds later at most.
        """
        portal, _ = self._open()
        work = _Cancellable(function)
        future = portal.start_task_soon(work.run)
        try:
            return future.result()
        except BaseException:
            if not future.done():  # it is the caller that was interrupted
                portal.call(work.cancel)
                with suppress(Exception):
                    future.result(CLEANUP)
            raise

    def close(self) -> None:
        """Closes the resource and ends the thread; the next use starts them anew."""
        with self._lock:
            closing, self._closing, self._opened = self._closing, _nothing, None
        closing()

    def _open(self) -> tuple[BlockingPortal, R]:
        with self._lock:
            if self._opened is None:
                with ExitStack() as stack:
                    portal = stack.enter_context(start_blocking_portal(self._backend, name="hub.client"))
                    opened = stack.enter_context(portal.wrap_async_context_manager(self._factory()))
                    self._opened = (portal, opened)
                    # At the end of the process too, while the thread of the loop can still run.
                    self._closing = finalize(self, stack.pop_all().close)
            return self._opened
