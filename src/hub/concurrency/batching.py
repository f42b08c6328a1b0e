"""Many concurrent calls, one round trip."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, Generic, Self, TypeVar, final

from anyio import AsyncContextManagerMixin, ClosedResourceError, Event, create_task_group
from typing_extensions import override

from hub.errors import HubError

T = TypeVar("T")
R = TypeVar("R")

DEFAULT_LIMIT: Final = 256
"""Calls in one group: enough that the round trip is spread thin, few enough that nobody waits long behind others."""


@dataclass(frozen=True, slots=True)
class BatcherStatistics:
    waiting: int
    groups: int
    calls: int


class _PendingCall(Generic[T, R]):
    __slots__ = ("abandoned", "done", "error", "item", "result")

    def __init__(self, item: T) -> None:
        self.item = item
        self.done = Event()
        self.abandoned = False
        self.error: HubError | None = None
        self.result: R | None = None


@final
class Batcher(AsyncContextManagerMixin, Generic[T, R]):
    """Carries out concurrent single calls in groups.

    While one group is under way the next one gathers; an idle `Batcher` starts at once, so a lone call waits for
    nobody. Use it as an async context manager; a call is valid inside the block.

    A `HubError` of `flush` is raised in each caller of that group. Any other error is a bug: it ends the block, inside
    an `ExceptionGroup`. A caller that is cancelled before its group started takes its item back; afterwards the item
    is carried out, and the result is dropped.

    Args:
        flush: Carries out one group; returns one result for each item, in order.
        name: For task names.
        limit: Items in one group at most.
        lanes: Groups that may be under way at once.
    """

    def __init__(
        self,
        flush: Callable[[Sequence[T]], Awaitable[Sequence[R]]],
        *,
        name: str,
        limit: int = DEFAULT_LIMIT,
        lanes: int = 1,
    ) -> None:
        self._flush = flush
        self._name = name
        self._limit = limit
        self._lanes = lanes
        self._calls: deque[_PendingCall[T, R]] = deque()
        self._work = Event()
        self._open = False
        self._group_count = 0
        self._call_count = 0

    def statistics(self) -> BatcherStatistics:
        return BatcherStatistics(waiting=len(self._calls), groups=self._group_count, calls=self._call_count)

    async def __call__(self, item: T) -> R:
        if not self._open:
            raise ClosedResourceError
        call = _PendingCall[T, R](item)
        self._calls.append(call)
        self._work.set()
        try:
            await call.done.wait()
        except BaseException:
            call.abandoned = True
            raise
        if call.error is not None:
            raise call.error
        return call.result  # type: ignore[return-value]  # set beside `done`, unless `error` is

    @override
    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        async with create_task_group() as tg:
            self._open = True
            for lane in range(self._lanes):
                tg.start_soon(self._carry_out, name=f"hub.grouped {self._name} {lane}")
            try:
                yield self
            finally:
                self._open = False
                tg.cancel_scope.cancel("grouped calls closed")

    async def _carry_out(self) -> None:
        while True:
            await self._work.wait()
            group: list[_PendingCall[T, R]] = []
            while self._calls and len(group) < self._limit:
                call = self._calls.popleft()
                if not call.abandoned:
                    group.append(call)
            if not self._calls:
                self._work = Event()
            if group:
                await self._settle(group)

    async def _settle(self, group: Sequence[_PendingCall[T, R]]) -> None:
        self._group_count += 1
        self._call_count += len(group)
        try:
            results = await self._flush([call.item for call in group])
        except HubError as error:
            for call in group:
                call.error = type(error)(*error.args)  # one instance each: a traceback belongs to one raise
                call.error.__cause__ = error
                call.done.set()
        else:
            for call, result in zip(group, results, strict=True):
                call.result = result
                call.done.set()
