"""A session with the broker that comes back by itself."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from copy import copy
from typing import Generic, Never, Protocol, Self, TypeVar, final

from anyio import AsyncContextManagerMixin, Event, create_task_group
from anyio.lowlevel import checkpoint
from typing_extensions import override

from hub.concurrency.notify import Notifier
from hub.concurrency.reconnect import run_reconnecting
from hub.errors import ConnectionLost


class Session(Protocol):
    """What hangs on one connection: a `Connection` itself, or a `Publisher`."""

    @property
    def usable(self) -> bool: ...

    async def lost(self) -> Never: ...


S = TypeVar("S", bound=Session)


@final
class ReconnectingSession(AsyncContextManagerMixin, Generic[S]):
    """Keeps one session open while the block runs: each loss tears it down and enters it anew, with backoff.

    A bug in `enter` ends the block, inside an `ExceptionGroup`, and so does a first session that is refused
    (`ConnectionRefused`), unless the connection is lazy.

    Args:
        enter: Opens a session, and raises `ConnectionLost` when it cannot.
        name: For task names and the log.
        lazy: Connect when the session is asked for the first time, or `want` is called, and not before.
    """

    def __init__(self, enter: Callable[[], AbstractAsyncContextManager[S]], *, name: str, lazy: bool = False) -> None:
        self._enter = enter
        self._name = name
        self._lazy = lazy
        self._wanted = Event()
        self._changed = Notifier()
        self._session: S | None = None
        self._failure: ConnectionLost | None = None  # why the last try failed, while none has succeeded since
        self._sessions = 0
        if not lazy:
            self._wanted.set()

    @property
    def connected(self) -> bool:
        return self._session is not None and self._session.usable

    def want(self) -> None:
        """Makes a lazy session connect now, without waiting for it."""
        self._wanted.set()

    @property
    def reconnects(self) -> int:
        return max(0, self._sessions - 1)

    async def acquire_or_wait(self) -> S:
        """Returns the session; waits for it without a limit."""
        return await self._usable(wait=True)

    async def acquire(self) -> S:
        """Returns the session; waits for the first attempt after a loss, but not for more.

        Raises:
            ConnectionLost: The last attempt failed, with its reason.
        """
        return await self._usable(wait=False)

    @override
    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        async with create_task_group() as tg:
            tg.start_soon(self._keep, name=f"hub.amqp connection {self._name}")
            yield self
            tg.cancel_scope.cancel("connection closed")

    async def _usable(self, *, wait: bool) -> S:
        self._wanted.set()
        await checkpoint()
        while True:
            session = self._session
            if session is not None and session.usable:
                return session
            if self._failure is not None and not wait:
                raise copy(self._failure)
            await self._changed.wait()

    async def _keep(self) -> None:
        await self._wanted.wait()
        # A lazy connection is not the first one to its server: another one has worked already, or has failed for good.
        await run_reconnecting(self._use, name=self._name, retry_refusals=self._lazy)

    async def _use(self, connected: Callable[[], None]) -> None:
        try:
            async with self._enter() as session:
                connected()
                self._session = session
                self._failure = None
                self._sessions += 1
                self._changed.notify()
                await session.lost()
        except ConnectionLost as lost:
            if self._session is None:
                self._failure = lost
            raise
        finally:
            self._session = None
            self._changed.notify()
