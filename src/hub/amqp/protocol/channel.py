"""The state of one channel: bytes of its frames in, replies and deliveries out. Nothing awaits."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from copy import copy
from typing import Final, TypeVar, final

from pamqp import base, commands

from hub.amqp.errors import ChannelClosed, ConsumerCancelled, MessageTooLarge, ProtocolViolation
from hub.amqp.message import ReceivedMessage
from hub.amqp.protocol.confirms import ConfirmBatch, Confirms
from hub.amqp.protocol.content import Content, ContentAssembler
from hub.amqp.protocol.decoder import DELIVER, decode_deliver
from hub.amqp.protocol.encoder import MessageEncoder
from hub.amqp.protocol.framing import decode_method
from hub.amqp.protocol.output_buffer import OutputBuffer
from hub.amqp.protocol.pending_reply import PendingReply
from hub.amqp.protocol.requests import PendingRequests
from hub.amqp.protocol.subscription import Subscription, ack_frames, nack_frames, reject_frames
from hub.errors import ConnectionLost

R = TypeVar("R", bound=base.Frame)

_OK: Final = 200


@final
class ChannelState:
    """One channel, from the moment its `channel.open` is on its way.

    Attributes:
        number: The channel's number; free again only when the server has confirmed the close.
        closed: Why the channel can no longer be used.
        on_closed: Called once, when `closed` is set.

    Args:
        number: A number that is not in use.
        server: For error messages.
        output: Of the connection.
        frame_max: Bytes of the largest frame.
        body_limit: Bytes of the largest body, in both directions.
        release: Called with the number when it may be used again.
    """

    def __init__(
        self,
        number: int,
        *,
        server: str,
        output: OutputBuffer,
        frame_max: int,
        body_limit: int,
        release: Callable[[int], None],
    ) -> None:
        self.number = number
        self.closed: ConnectionLost | None = None
        self.on_closed: Callable[[], None] | None = None
        self._server = server
        self._output = output
        self._body_limit = body_limit
        self._release = release
        self._closing = False  # our channel.close is out: anything but close-ok after it is a connection error, 504
        self._calls = PendingRequests(server)
        self._confirms = Confirms(server)
        self._encoder = MessageEncoder(number, frame_max)
        self._subscriptions: dict[bytes, Subscription] = {}
        self._next_subscription = 1
        self._contents = ContentAssembler(server, body_limit)

    @property
    def unanswered(self) -> int:
        """Requests that wait for their answer."""
        return len(self._calls)

    @property
    def unconfirmed(self) -> int:
        """Messages that wait for their confirm."""
        return len(self._confirms)

    @property
    def consumers(self) -> int:
        return len(self._subscriptions)

    # Requests

    def open(self) -> PendingReply[commands.Channel.OpenOk]:
        return self.call(commands.Channel.Open(), commands.Channel.OpenOk, undo=lambda _: self.drop())

    def call(self, request: base.Frame, expected: type[R], undo: Callable[[R], None] | None = None) -> PendingReply[R]:
        """Sends a request.

        Args:
            request: A method that the server answers.
            expected: The type of the answer.
            undo: What takes the request back when its caller has gone away by the time of the answer.

        Raises:
            ConnectionLost: The channel is closed.
        """
        self._check_open()
        self._output.add_method(self.number, request)
        return self._calls.add(expected, undo)

    def publish(self, batch: ConfirmBatch, *, high_water: int) -> None:
        """Sends messages of `batch` until all are sent or `high_water` bytes wait in the output.

        Raises:
            ConnectionLost: The channel is closed.
        """
        self._check_open()
        messages = batch.messages
        while batch.sent < len(messages) and self._output.size < high_water:
            index = batch.sent
            message = messages[index]
            size = len(message.body)
            if size > self._body_limit:
                batch.sent += 1
                batch.refuse(index, MessageTooLarge(message.route.routing_key, size, self._body_limit))
                batch.close_one()
                continue
            self._output.add(*self._encoder.encode(message))
            self._confirms.sent(batch, index)
            batch.sent += 1

    def subscribe(self, queue: str) -> tuple[Subscription, PendingReply[commands.Basic.ConsumeOk]]:
        """Starts a consumer.

        Raises:
            ConnectionLost: The channel is closed.
        """
        subscription = Subscription(f"hub.{self._next_subscription}", queue)
        self._next_subscription += 1
        reply = self.call(
            commands.Basic.Consume(queue=queue, consumer_tag=subscription.tag),
            commands.Basic.ConsumeOk,
            undo=lambda _: self._forget(subscription),
        )
        self._subscriptions[subscription.tag.encode()] = subscription
        return subscription, reply

    def unsubscribe(self, subscription: Subscription) -> PendingReply[commands.Basic.CancelOk] | None:
        """Stops a consumer and hands back what was delivered and not taken; `None` if it has ended already."""
        if not self._deactivate(subscription):
            return None
        self._subscriptions.pop(subscription.tag.encode(), None)
        return self.call(commands.Basic.Cancel(consumer_tag=subscription.tag), commands.Basic.CancelOk)

    def ack(self, subscription: Subscription, tags: Iterable[int]) -> None:
        self._settle(ack_frames(self.number, subscription.settled(tags)))

    def nack(self, subscription: Subscription, tags: Iterable[int]) -> None:
        self._settle(nack_frames(self.number, subscription.settled(tags)))

    def reject(self, subscription: Subscription, tags: Iterable[int], *, requeue: bool) -> None:
        self._settle(reject_frames(self.number, subscription.settled(tags), requeue=requeue))

    def close(self) -> PendingReply[commands.Channel.CloseOk] | None:
        """Closes the channel; `None` if it is closed, or about to be."""
        if self.closed is not None or self._closing:
            return None
        reply = self.call(
            commands.Channel.Close(reply_code=_OK, reply_text="", class_id=0, method_id=0), commands.Channel.CloseOk
        )
        self._closing = True
        return reply

    def drop(self) -> None:
        """Closes the channel without waiting for the reply."""
        reply = self.close()
        if reply is not None:
            reply.cancel()

    # Frames

    def method_frame(self, payload: bytes) -> None:
        """Handles a method frame.

        Raises:
            ProtocolViolation: It makes no sense here.
        """
        if self._contents.under_way:
            raise ProtocolViolation(self._server, "a method in the middle of a message")
        if payload.startswith(DELIVER):
            self._contents.begin(decode_deliver(self._server, payload))
            return
        method = decode_method(self._server, payload)
        match method:
            case commands.Basic.Ack() | commands.Basic.Nack():
                taken = isinstance(method, commands.Basic.Ack)
                self._confirms.answered(method.delivery_tag or 0, multiple=method.multiple, taken=taken)
            case commands.Basic.Return():
                self._contents.begin(method)
            case commands.Basic.Cancel():
                self._cancelled_by_server(method.consumer_tag or "")
            case commands.Channel.Close():
                self._closed_by_server(method)
            case commands.Channel.Flow():
                self._send(commands.Channel.FlowOk(active=method.active))
            case commands.Channel.CloseOk():
                self._calls.answered(method)
                self._end(ConnectionLost(self._server, "the channel is closed"))
                self._release(self.number)
            case _:
                self._calls.answered(method)

    def header_frame(self, payload: bytes) -> None:
        """Handles a content header frame.

        Raises:
            ProtocolViolation: It makes no sense here.
        """
        content = self._contents.header(payload)
        if content is not None:
            self._arrived(content)

    def body_frame(self, payload: bytes) -> None:
        """Handles a body frame.

        Raises:
            ProtocolViolation: It makes no sense here.
        """
        content = self._contents.body(payload)
        if content is not None:
            self._arrived(content)

    def lost(self, error: ConnectionLost) -> None:
        """The connection is gone: every pending reply and subscription fails."""
        self._end(error)

    # Inside

    def _check_open(self) -> None:
        if self.closed is not None:
            raise copy(self.closed)  # a traceback belongs to one raise
        if self._closing:
            raise ConnectionLost(self._server, "the channel is closing")

    def _send(self, method: base.Frame) -> None:
        if not self._closing:
            self._output.add_method(self.number, method)

    def _settle(self, frames: bytes) -> None:
        if self.closed is None and not self._closing:
            self._output.add(frames)

    def _arrived(self, content: Content) -> None:
        carrier, head = content.carrier, content.head
        if isinstance(carrier, commands.Basic.Return):
            reason = f"{carrier.reply_code} {carrier.reply_text}: there is no such queue"
            self._confirms.returned(head.message_id, carrier.routing_key or "", reason)
            return
        tag = carrier.delivery_tag
        subscription = self._subscriptions.get(carrier.consumer_tag)
        if subscription is None or not subscription.active:
            self._settle(nack_frames(self.number, [tag]))
        elif content.oversize:
            subscription.oversize += 1
            self._settle(reject_frames(self.number, [tag], requeue=False))
        else:
            subscription.deliver(ReceivedMessage(tag, content.body, head.message_id, carrier.redelivered, head.headers))

    def _deactivate(self, subscription: Subscription) -> bool:
        if not subscription.active or self.closed is not None or self._closing:
            return False
        subscription.active = False
        self.nack(subscription, [message.tag for message in subscription.take()])
        return True

    def _forget(self, subscription: Subscription) -> None:
        if self._deactivate(subscription):
            del self._subscriptions[subscription.tag.encode()]
            self._send(commands.Basic.Cancel(consumer_tag=subscription.tag, nowait=True))

    def _cancelled_by_server(self, consumer_tag: str) -> None:
        subscription = self._subscriptions.pop(consumer_tag.encode(), None)
        if subscription is not None:
            subscription.end(ConsumerCancelled(self._server, subscription.queue))

    def _closed_by_server(self, method: commands.Channel.Close) -> None:
        self._output.add_method(self.number, commands.Channel.CloseOk())
        error = ChannelClosed(self._server, method.reply_code or 0, method.reply_text)
        if self._closing:  # both closed at once; the server still owes the answer to ours
            self._calls.fail(error, but=commands.Channel.CloseOk)
            return
        self._end(error)
        self._release(self.number)

    def _end(self, error: ConnectionLost) -> None:
        if self.closed is not None:
            return
        self.closed = error
        self._calls.fail(error)
        self._confirms.fail(error)
        for subscription in self._subscriptions.values():
            subscription.end(error)
        self._subscriptions.clear()
        if self.on_closed is not None:
            self.on_closed()
