"""Publishing over one connection, on a fresh channel once the broker has refused a message."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final, Generic, Never, Protocol, Self, TypeVar, final

from anyio import TASK_STATUS_IGNORED, AsyncContextManagerMixin, Event, create_task_group, current_time
from anyio.abc import TaskStatus
from typing_extensions import override

from hub.errors import PublishRefused, QueueFull
from hub.supervision import unwrapped

RENEWAL: Final = 1.0
"""Seconds that a channel is kept at least: a queue that is really full costs one channel a second."""

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)


class Publisher(Protocol[T_contra]):
    """A channel in confirm mode."""

    @property
    def usable(self) -> bool: ...

    async def publish(self, messages: Sequence[T_contra], /) -> Sequence[PublishRefused | None]: ...

    async def lost(self) -> Never: ...


class _Channel(Generic[T]):
    def __init__(self, publisher: Publisher[T]) -> None:
        self.publisher = publisher
        self.opened_at = current_time()
        self.in_flight = 0
        self.replaced = False
        self.idle = Event()


@final
class Publishing(AsyncContextManagerMixin, Generic[T]):
    """Publishes, and opens another channel after a `basic.nack`.

    RabbitMQ (seen with 3.10.8) answers `basic.nack` for ever on a channel whose first message for a quorum queue came
    while the queue's leader was gone: the channel keeps asking the dead leader. A channel that is opened after the
    election knows the new one. A nack from a queue that is full looks the same, so the refusal stands and the next
    messages go over the new channel; what is in flight on the old one is waited for.

    Args:
        open_channel: Opens a channel in confirm mode on the connection.

    Raises:
        LinkLost: On entry, or later: the connection broke.
    """

    def __init__(self, open_channel: Callable[[], AbstractAsyncContextManager[Publisher[T]]]) -> None:
        self._open = open_channel
        self._current: _Channel[T] | None = None
        self._refused = Event()

    @property
    def usable(self) -> bool:
        return self._current is not None and self._current.publisher.usable

    async def publish(self, messages: Sequence[T]) -> Sequence[PublishRefused | None]:
        """Publishes on the newest channel. Raises what that raises."""
        channel = self._current
        if channel is None:
            raise AssertionError("used outside of its block")
        channel.in_flight += 1
        try:
            answers = await channel.publisher.publish(messages)
        finally:
            channel.in_flight -= 1
            if channel.replaced and channel.in_flight == 0:
                channel.idle.set()
        nacked = any(isinstance(answer, QueueFull) for answer in answers)
        if nacked and channel is self._current and current_time() - channel.opened_at >= RENEWAL:
            self._refused.set()
        return answers

    async def lost(self) -> Never:
        """Waits for the end of the channel in use.

        Raises:
            LinkLost: Always.
        """
        while True:
            channel = self._current
            if channel is None:
                raise AssertionError("used outside of its block")
            with unwrapped():
                async with create_task_group() as tg:
                    tg.start_soon(channel.publisher.lost, name="hub.broker publishing channel")
                    await self._refused.wait()
                    await self._renew()
                    tg.cancel_scope.cancel("another channel is in use")

    @override
    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        with unwrapped():
            async with create_task_group() as tg:
                self._group = tg
                await self._renew()
                yield self
                tg.cancel_scope.cancel("publishing ends")

    async def _renew(self) -> None:
        await self._group.start(self._hold, name="hub.broker publishing channel")
        self._refused = Event()

    async def _hold(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Keeps one channel open until another one has taken its place and nothing is in flight on it."""
        async with self._open() as publisher:
            before, self._current = self._current, (channel := _Channel(publisher))
            if before is not None:
                before.replaced = True
                if before.in_flight == 0:
                    before.idle.set()
            task_status.started()
            await channel.idle.wait()
