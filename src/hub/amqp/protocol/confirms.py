"""Publisher confirms: which messages the server has not answered for yet.

https://www.rabbitmq.com/docs/confirms#publisher-confirms
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import final

from hub.amqp.errors import ProtocolViolation
from hub.amqp.message import Message
from hub.amqp.protocol.pending_reply import PendingReply
from hub.errors import PublishRefused, QueueFull, Unroutable


@final
class ConfirmBatch:
    """Messages that were published in one call. Their caller waits once, for `reply`.

    Attributes:
        sent: Messages that are on their way, counted from the first; the rest waits for room in the output.
        reply: One entry for each message: `None` if the server took it, or why it did not.
    """

    __slots__ = ("_open", "_outcomes", "messages", "reply", "sent")

    def __init__(self, messages: Sequence[Message]) -> None:
        self.messages = messages
        self.sent = 0
        self.reply = PendingReply[Sequence[PublishRefused | None]]()
        self._outcomes: list[PublishRefused | None] = [None] * len(messages)
        self._open = len(messages)
        if not messages:
            self.reply.succeed(())

    def refuse(self, index: int, refusal: PublishRefused) -> None:
        """Notes why a message is not taken. The first reason stays."""
        if self._outcomes[index] is None:
            self._outcomes[index] = refusal

    def refused(self, index: int) -> bool:
        return self._outcomes[index] is not None

    def close_one(self) -> None:
        """Marks one message as answered. Called once per message."""
        self._open -= 1
        if not self._open:
            self.reply.succeed(self._outcomes)


@final
class Confirms:
    """The table of unconfirmed messages of one channel, by publish sequence number."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._open: dict[int, tuple[ConfirmBatch, int]] = {}
        self._last = 0  # highest number in use
        self._low = 1  # no number below it is open
        self._search_from = 1  # returns come in the order of publishing

    def __len__(self) -> int:
        return len(self._open)

    def sent(self, batch: ConfirmBatch, index: int) -> None:
        """Gives the next number to a message: every `basic.publish` on the channel has to pass here, in order."""
        self._last += 1
        self._open[self._last] = (batch, index)

    def answered(self, tag: int, *, multiple: bool, taken: bool) -> None:
        """Handles `basic.ack` and `basic.nack`.

        Raises:
            ProtocolViolation: The number was never used.
        """
        if tag > self._last or (tag == 0 and not multiple):
            raise ProtocolViolation(self._server, f"a confirm for message {tag}, of {self._last} published")
        if not multiple:
            self._close(tag, taken=taken)
            return
        last = tag or self._last  # 0 means all
        for number in range(self._low, last + 1):
            self._close(number, taken=taken)

    def returned(self, message_id: str, routing_key: str, reason: str) -> None:
        """Handles `basic.return`, which has no delivery tag; the confirm of the message follows."""
        search_from = max(self._search_from, self._low)
        for number in chain(range(search_from, self._last + 1), range(self._low, search_from)):
            batch, index = self._open.get(number, (None, 0))
            if batch is None or batch.refused(index):
                continue
            message = batch.messages[index]
            if message.message_id == message_id and message.route.routing_key == routing_key:
                batch.refuse(index, Unroutable(routing_key, reason))
                self._search_from = number + 1
                return

    def fail(self, error: Exception) -> None:
        for batch, _ in self._open.values():
            batch.reply.fail(error)
        self._open.clear()

    def _close(self, number: int, *, taken: bool) -> None:
        batch, index = self._open.pop(number, (None, 0))
        if batch is None:
            return
        while self._low <= self._last and self._low not in self._open:
            self._low += 1
        if not taken:
            queue = batch.messages[index].route.routing_key
            batch.refuse(index, QueueFull(queue, "the broker answered basic.nack: it is at its maximum length"))
        batch.close_one()
