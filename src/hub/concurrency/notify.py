"""Waiting until shared state has changed: a broadcast without a queue.

The problem: a task waits until something that other tasks change fulfils a condition ("an item has arrived", "fewer
than ten runs are left"). An `anyio.Event` cannot be reset, so code that waits more than once replaces it, and then has
to know who may still wait for the old one: replaced too early, a task waits for ever; replaced too late, a loop spins.
`anyio.Condition` needs a lock, and a plain `def` cannot take one.

`Notifier` is a condition variable without the lock, which one event loop does not need: state changes between two
awaits, and no other task runs in between.

    class Inbox:
        def __init__(self) -> None:
            self._items: deque[str] = deque()
            self._changed = Notifier()

        def put(self, item: str) -> None:
            self._items.append(item)
            self._changed.notify()

        async def get(self) -> str:
            await self._changed.wait_for(lambda: self._items)
            return self._items.popleft()  # no await since the check: it is still true

Cancellation: a waiter that is cancelled is forgotten; nothing is lost for the others, because a notification carries
no value and is not used up by the task that it wakes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import final

from anyio import Event
from anyio.lowlevel import checkpoint


@final
class Notifier:
    """Wakes every task that waits at the moment of a notification.

    It keeps no memory: a notification without a waiter has no effect. Whether something has happened shows in the state that
    the notification is about, so change the state first, then notify. Use it in one event loop, from its thread.
    """

    __slots__ = ("_event",)

    def __init__(self) -> None:
        self._event: Event | None = None  # made by the first waiter, so that a notification without waiters is cheap

    def notify(self) -> None:
        """Wakes all tasks that wait now. Those that begin to wait later wait for the next notification."""
        event, self._event = self._event, None
        if event is not None:
            event.set()

    async def wait(self) -> None:
        """Waits for the next notification."""
        if self._event is None:
            self._event = Event()
        await self._event.wait()

    async def wait_for(self, predicate: Callable[[], object]) -> None:
        """Waits until `predicate()` is true; it is called now, and again after each notification.

        No notification is missed between a check and the wait after it, and the predicate holds when this returns:
        the caller may act on it up to its own next await.

        Args:
            predicate: Checks the state, without side effects; any true value will do. An error that it raises is
                raised here.
        """
        if predicate():
            await checkpoint()  # like every async function of anyio; the state may change meanwhile, hence the loop
        while not predicate():
            await self.wait()
