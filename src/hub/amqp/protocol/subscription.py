"""What one consumer was handed and has not settled."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from struct import Struct
from typing import Final, final

from pamqp import commands, constants

from hub.amqp.message import Received
from hub.amqp.protocol.framing import FRAME_OVERHEAD

_SETTLE: Final = Struct(">BHIIQBB")
"""A whole `basic.ack`, `basic.nack` or `basic.reject` frame: they differ in the method's index and the last bits."""

_SETTLE_SIZE: Final = _SETTLE.size - FRAME_OVERHEAD
_NACK_REQUEUE: Final = 0b10
_REJECT_REQUEUE: Final = 0b1


@final
class Subscription:
    """The client's side of one consumer: deliveries not received yet, and tags not settled yet.

    Attributes:
        tag: The consumer tag, chosen by us, so that deliveries can be placed from the first one on.
        active: The server may send deliveries. Once it is false, those that still come are handed back.
        ended: Why nothing comes any more, for an end that was not asked for.
        on_change: Called when the first delivery arrived, and at the end.
        oversize: Deliveries that were dead-lettered because of their size.
    """

    __slots__ = ("_arrived", "_unsettled", "active", "ended", "on_change", "oversize", "queue", "tag")

    def __init__(self, tag: str, queue: str) -> None:
        self.tag = tag
        self.queue = queue
        self.active = True
        self.ended: Exception | None = None
        self.on_change: Callable[[], None] | None = None
        self.oversize = 0
        self._arrived: list[Received] = []
        self._unsettled: set[int] = set()

    @property
    def unsettled(self) -> int:
        return len(self._unsettled)

    @property
    def arrived(self) -> bool:
        return bool(self._arrived)

    def deliver(self, message: Received) -> None:
        self._unsettled.add(message.tag)
        self._arrived.append(message)
        if len(self._arrived) == 1 and self.on_change is not None:
            self.on_change()

    def take(self) -> list[Received]:
        """All that has arrived since the last call."""
        taken, self._arrived = self._arrived, []
        return taken

    def settled(self, tags: Iterable[int]) -> list[int]:
        """Marks tags as settled, and returns those that were not: the server closes a channel that settles twice."""
        fresh: list[int] = []
        for tag in tags:
            if tag in self._unsettled:
                self._unsettled.remove(tag)
                fresh.append(tag)
        return fresh

    def end(self, error: Exception) -> None:
        """The server has put everything unsettled back, or forgets it with the queue."""
        self.active = False
        self.ended = self.ended or error
        self._arrived.clear()
        self._unsettled.clear()
        if self.on_change is not None:
            self.on_change()


def ack_frames(channel: int, tags: Iterable[int]) -> bytes:
    """One `basic.ack` for each tag. Never `multiple`: that would settle whatever else has a lower tag."""
    return _settle_frames(channel, commands.Basic.Ack.index, tags, 0)


def nack_frames(channel: int, tags: Iterable[int]) -> bytes:
    """`basic.nack` with `requeue`: handed back unused."""
    return _settle_frames(channel, commands.Basic.Nack.index, tags, _NACK_REQUEUE)


def reject_frames(channel: int, tags: Iterable[int], *, requeue: bool) -> bytes:
    """`basic.reject`: tried and failed. RabbitMQ counts it against the message from 4.3 on, unlike `basic.nack`."""
    return _settle_frames(channel, commands.Basic.Reject.index, tags, _REJECT_REQUEUE if requeue else 0)


def _settle_frames(channel: int, index: int, tags: Iterable[int], bits: int) -> bytes:
    pack = _SETTLE.pack
    return b"".join(
        [pack(constants.FRAME_METHOD, channel, _SETTLE_SIZE, index, tag, bits, constants.FRAME_END) for tag in tags]
    )
