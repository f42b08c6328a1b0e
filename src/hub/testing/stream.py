"""The chunks of a streaming model, as a test reads them."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import TYPE_CHECKING, Final, Generic, Self, TypeVar, final

from anyio import move_on_after
from google.protobuf.message import Message

from hub.client.errors import StreamRestarted
from hub.ports.result_store import Chunk, ChunkPage, ChunkPosition, Missing
from hub.stores.memory.store import MemoryStore

if TYPE_CHECKING:
    from hub.testing.task import LocalTask

Resp = TypeVar("Resp", bound=Message)

CANCEL_GRACE: Final = 2.0
"""Seconds to cancel the task of a call whose caller has left; the store is in memory, and may be stalled."""


@final
class LocalStream(Generic[Resp]):
    """Yields the chunks of a task as they are stored. An async iterator, and an async context manager.

    It ends when the task has succeeded, and raises `TaskUnsuccessful` when it ends otherwise. When another attempt begins
    the chunks so far are void: `on_restart` is called before the first chunk of the new one; without it the stream raises
    `StreamRestarted`, unless no chunk was read.

    Leave it before its end with `async with`, or `aclose()`: for the stream of a call that cancels the task.

    Attributes:
        attempt: The attempt that the last chunk belongs to; 0 before the first one.
        number: The number of the last chunk in its attempt, from 1.
    """

    def __init__(
        self,
        begin: Callable[[], Awaitable[LocalTask[Resp]]],
        store: MemoryStore,
        *,
        cancels: bool,
        on_restart: Callable[[int], None] | None,
    ) -> None:
        self.attempt = 0
        self.number = 0
        self._begin = begin
        self._store = store
        self._cancels = cancels
        self._on_restart = on_restart
        self._task: LocalTask[Resp] | None = None
        self._chunks: deque[Chunk] = deque()
        self._page: ChunkPage | None = None
        self._closed = False

    @property
    def task(self) -> str:
        """Id of the task; empty before the first chunk of a call."""
        return "" if self._task is None else self._task.id

    def __aiter__(self) -> Self:
        return self

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def __anext__(self) -> Resp:
        if self._closed:
            raise StopAsyncIteration
        try:
            chunk = await self._next()
        except BaseException:  # cancellation too: all of them end the stream
            await self.aclose()
            raise
        if chunk is None:
            self._closed = True
            raise StopAsyncIteration
        return chunk

    async def aclose(self) -> None:
        """Ends the stream before its end. Cancels the task of a call that has not ended; shielded, and bounded."""
        closed, self._closed = self._closed, True
        if not closed and self._cancels and self._task is not None:
            with move_on_after(CANCEL_GRACE, shield=True):
                await self._task.cancel()

    async def _next(self) -> Resp | None:
        if self._task is None:
            self._task = await self._begin()
        while not self._chunks:
            page = self._page
            if page is not None and page.complete:
                if self._task.error is not None:
                    raise self._task.error
                return None
            await self._read(self._task)
        chunk = self._chunks.popleft()
        self._check_attempt(chunk.position.attempt)
        self.number = chunk.position.number
        return self._task.decode(chunk.body)

    async def _read(self, task: LocalTask[Resp]) -> None:
        after: ChunkPosition | None = None
        beyond = 0
        if self._page is not None:
            after, beyond = self._page.last, self._page.revision
        page: ChunkPage | Missing | None = None
        with move_on_after(task.seconds_left):
            page = await self._store.chunks(task.id, after, beyond=beyond)
        if page is None:
            await task.end_if_late()
        elif isinstance(page, ChunkPage):
            self._page = page
            self._chunks.extend(page.chunks)

    def _check_attempt(self, attempt: int) -> None:
        if attempt == self.attempt:
            return
        read, self.attempt, self.number = self.number, attempt, 0
        if read:
            if self._on_restart is None:
                raise StreamRestarted(self.task, attempt)
            self._on_restart(attempt)
