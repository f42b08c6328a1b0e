"""An event loop in a thread of its own, for code that has none or may not block its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, ExitStack
from typing import Final, Generic, TypeVar, final

from anyio.from_thread import BlockingPortal, start_blocking_portal

from hub.concurrency.threads import new_lock
from hub.types import Backend

R = TypeVar("R")
T = TypeVar("T")


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
        self._stack: ExitStack | None = None
        self._opened: tuple[BlockingPortal, R] | None = None

    def resource(self) -> R:
        """The open resource."""
        return self._open()[1]

    def run(self, function: Callable[[], Awaitable[T]]) -> T:
        """Calls and awaits `function` in the loop, and returns its result.

        A KeyboardInterrupt meanwhile cancels it there, with all of its cleanup.
        """
        future = self._open()[0].start_task_soon(function)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """Closes the resource and ends the thread; the next use starts them anew."""
        with self._lock:
            stack, self._stack, self._opened = self._stack, None, None
        if stack is not None:
            stack.close()

    def _open(self) -> tuple[BlockingPortal, R]:
        with self._lock:
            if self._opened is None:
                with ExitStack() as stack:
                    portal = stack.enter_context(start_blocking_portal(self._backend, name="hub.client"))
                    opened = stack.enter_context(portal.wrap_async_context_manager(self._factory()))
                    self._stack, self._opened = stack.pop_all(), (portal, opened)
            return self._opened
