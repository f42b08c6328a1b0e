"""RenewingPublisher over one channel, which is given up when the broker refuses messages on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Generic, Never, Protocol, TypeVar, final

from anyio import CancelScope, current_time

from hub.errors import ConnectionLost, PublishRefused, QueueFull

FIRST_RENEWAL: Final = 1.0
LAST_RENEWAL: Final = 60.0
"""Seconds that a channel is kept at least; doubled while channels are given up one after the other, so that a queue that is
really full costs next to nothing."""

T_contra = TypeVar("T_contra", contravariant=True)


class ConfirmingPublisher(Protocol[T_contra]):
    """A channel in confirm mode."""

    @property
    def usable(self) -> bool: ...

    async def publish(self, messages: Sequence[T_contra], /) -> Sequence[PublishRefused | None]: ...

    async def lost(self) -> Never: ...


@final
class RenewingPublisher(Generic[T_contra]):
    """A publisher that ends by itself after a `basic.nack`, once nothing is in flight on it; its connection opens another one.

    RabbitMQ (seen with 3.10.8) answers `basic.nack` for ever on a channel whose first message for a quorum queue came
    while the queue had lost its leader: the channel keeps asking the node that is gone. A channel that is opened after
    the election knows the new leader. A nack from a queue that is full is the same frame.

    Args:
        publisher: Open for as long as this is used.
        server: For the reason of the end.
        keep: Seconds during which a nack changes nothing.
    """

    def __init__(self, publisher: ConfirmingPublisher[T_contra], *, server: str, keep: float = FIRST_RENEWAL) -> None:
        self._publisher = publisher
        self._server = server
        self._keep = keep
        self._keep_until = current_time() + keep
        self._in_flight = 0
        self._retired = False
        self._waiting = CancelScope()

    @property
    def next_keep(self) -> float:
        """What `keep` is to be for the next one."""
        return min(2 * self._keep, LAST_RENEWAL) if self._retired else FIRST_RENEWAL

    @property
    def usable(self) -> bool:
        return not self._retired and self._publisher.usable

    async def publish(self, messages: Sequence[T_contra]) -> Sequence[PublishRefused | None]:
        """Publishes, and raises what the publisher does."""
        self._in_flight += 1
        try:
            answers = await self._publisher.publish(messages)
            nacked = any(isinstance(answer, QueueFull) for answer in answers)
            self._retired |= nacked and current_time() >= self._keep_until
        finally:
            self._in_flight -= 1
            if self._retired and self._in_flight == 0:
                self._waiting.cancel("the channel is given up")
        return answers

    async def lost(self) -> Never:
        """Waits for the end.

        Raises:
            ConnectionLost: Always.
        """
        with self._waiting:
            await self._publisher.lost()
        raise ConnectionLost(self._server, "the broker refused messages (basic.nack), trying another channel")
