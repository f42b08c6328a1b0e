"""A broker without a server: the other side of the protocol, for tests that decide what it says and when."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import anyio
from anyio.abc import ByteStream
from anyio.lowlevel import checkpoint
from pamqp import base, body, commands, frame, header, heartbeat
from typing_extensions import override

from hub.amqp import AmqpAddress

ADDRESS = AmqpAddress(host="fake", port=5672)

START = commands.Connection.Start(
    version_major=0, version_minor=9, server_properties={}, mechanisms="PLAIN EXTERNAL", locales="en_US"
)
TUNE = commands.Connection.Tune(channel_max=2047, frame_max=131072, heartbeat=0)
CLOSE = commands.Channel.Close(reply_code=404, reply_text="NOT_FOUND - no queue", class_id=50, method_id=10)

PROTOCOL_HEADER = header.ProtocolHeader().marshal()


def marshal(channel: int, *frames: frame.FrameTypes) -> bytes:
    return b"".join(frame.marshal(each, channel) for each in frames)


def content(
    channel: int, method: base.Frame, data: bytes, properties: commands.Basic.Properties | None = None
) -> bytes:
    """A method that carries a message, with its header and body frames."""
    pieces = [body.ContentBody(data[at : at + 131064]) for at in range(0, len(data), 131064)]
    return marshal(channel, method, header.ContentHeader(0, len(data), properties), *pieces)


def deliver(tag: int, data: bytes, *, consumer: str = "hub.1", channel: int = 1, redelivered: bool = False) -> bytes:
    method = commands.Basic.Deliver(
        consumer_tag=consumer, delivery_tag=tag, redelivered=redelivered, exchange="", routing_key="q"
    )
    return content(channel, method, data)


def unmarshal_all(data: bytes) -> list[tuple[int, frame.FrameTypes]]:
    """Every frame in `data`, which has to end with a whole one, with its channel."""
    frames: list[tuple[int, frame.FrameTypes]] = []
    while data:
        used, channel, each = frame.unmarshal(data)
        frames.append((channel, each))
        data = data[used:]
    return frames


Answer = Callable[[int, base.Frame], bytes]


@dataclass
class FakeBroker:
    """Answers like RabbitMQ, as far as the driver asks, and keeps what RabbitMQ would keep.

    Attributes:
        answers: Replaces the answer to a type of method; give back the bytes to say.
        held: When a list, answers gather here instead of being said.
        queue_length: Messages that every queue offers to each new consumer.
        channels: Numbers of the channels that are open.
        consumers: Channel and tag of each consumer.
        published: Bodies, in order.
        unacked: Channel and delivery tag of what was handed out.
        settled: Name of the method, and delivery tag, of each settlement.
    """

    answers: dict[type[base.Frame], Answer] = field(default_factory=dict)
    held: list[bytes] | None = None
    queue_length: int = 0
    channels: set[int] = field(default_factory=set)
    consumers: set[tuple[int, str]] = field(default_factory=set)
    published: list[bytes] = field(default_factory=list)
    unacked: set[tuple[int, int]] = field(default_factory=set)
    settled: list[tuple[str, int]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    _buffer: bytes = b""
    _publish_tags: dict[int, int] = field(default_factory=dict)
    _delivery_tags: dict[int, int] = field(default_factory=dict)
    _incoming: dict[int, tuple[commands.Basic.Publish, header.ContentHeader | None, bytes]] = field(
        default_factory=dict
    )

    def receive(self, data: bytes) -> bytes:
        """Takes what the client says; returns what to say to it."""
        self._buffer += data
        said = b""
        while self._buffer:
            if self._buffer.startswith(b"AMQP"):
                used, channel, each = 8, 0, None
                said += self._said(marshal(0, START))
            else:
                try:
                    used, channel, each = frame.unmarshal(self._buffer)
                except Exception:  # noqa: BLE001 - half a frame, in pamqp's ways to say so
                    break
                said += self._said(self._frame(channel, each))
            self._buffer = self._buffer[used:]
        return said

    def release(self) -> bytes:
        """Says what was held, and holds no longer."""
        said, self.held = b"".join(self.held or ()), None
        return said

    def _said(self, said: bytes) -> bytes:
        if self.held is None:
            return said
        self.held.append(said)
        return b""

    def _frame(self, channel: int, each: frame.FrameTypes) -> bytes:
        match each:
            case heartbeat.Heartbeat():
                return b""
            case header.ContentHeader():
                method, _, _ = self._incoming[channel]
                self._incoming[channel] = (method, each, b"")
                return self._published_if_complete(channel)
            case body.ContentBody():
                method, head, data = self._incoming[channel]
                self._incoming[channel] = (method, head, data + each.value)
                return self._published_if_complete(channel)
            case base.Frame():
                return self._method(channel, each)
            case _:
                raise AssertionError(each)

    def _method(self, channel: int, method: base.Frame) -> bytes:
        self.asked.append(method.name)
        if channel and channel not in self.channels and not isinstance(method, commands.Channel.Open):
            self.violations.append(f"{method.name} on closed channel {channel}")
        if isinstance(method, commands.Basic.Publish):
            self._incoming[channel] = (method, None, b"")
            return b""
        changed = self._carry_out(channel, method)
        if type(method) in self.answers:
            return self.answers[type(method)](channel, method)
        return changed

    def _carry_out(self, channel: int, method: base.Frame) -> bytes:  # noqa: C901, PLR0911, PLR0912 - a table
        match method:
            case commands.Connection.StartOk():
                return marshal(0, TUNE)
            case commands.Connection.Open():
                return marshal(0, commands.Connection.OpenOk())
            case commands.Connection.Close():
                return marshal(0, commands.Connection.CloseOk())
            case commands.Channel.Open():
                assert channel not in self.channels, f"channel {channel} is open already"
                self.channels.add(channel)
                self._publish_tags[channel] = 0
                self._delivery_tags[channel] = 0
                return marshal(channel, commands.Channel.OpenOk())
            case commands.Channel.Close():
                self._forget(channel)
                return marshal(channel, commands.Channel.CloseOk())
            case commands.Channel.CloseOk():
                self._forget(channel)
            case commands.Confirm.Select():
                return marshal(channel, commands.Confirm.SelectOk())
            case commands.Basic.Qos():
                return marshal(channel, commands.Basic.QosOk())
            case commands.Queue.Declare():
                return marshal(channel, commands.Queue.DeclareOk(queue=method.queue, message_count=7, consumer_count=3))
            case commands.Queue.Bind():
                return marshal(channel, commands.Queue.BindOk())
            case commands.Queue.Delete():
                return marshal(channel, commands.Queue.DeleteOk(message_count=0))
            case commands.Exchange.Declare():
                return marshal(channel, commands.Exchange.DeclareOk())
            case commands.Basic.Consume():
                return self._consume(channel, method.consumer_tag)
            case commands.Basic.Cancel():
                self.consumers.discard((channel, method.consumer_tag or ""))
                if not method.nowait:
                    return marshal(channel, commands.Basic.CancelOk(consumer_tag=method.consumer_tag))
            case commands.Basic.Ack() | commands.Basic.Nack() | commands.Basic.Reject():
                tag = method.delivery_tag or 0
                self.settled.append((method.name, tag))
                if (channel, tag) not in self.unacked:
                    self.violations.append(f"{method.name} of unknown tag {tag}")
                multiple = not isinstance(method, commands.Basic.Reject) and method.multiple
                lowest = 0 if multiple else tag
                self.unacked = {each for each in self.unacked if each[0] != channel or not lowest <= each[1] <= tag}
            case _:
                pass
        return b""

    def _consume(self, channel: int, tag: str) -> bytes:
        self.consumers.add((channel, tag))
        said = marshal(channel, commands.Basic.ConsumeOk(consumer_tag=tag))
        for _ in range(self.queue_length):
            self._delivery_tags[channel] += 1
            number = self._delivery_tags[channel]
            self.unacked.add((channel, number))
            said += deliver(number, b"work", consumer=tag, channel=channel)
        return said

    def _forget(self, channel: int) -> None:
        self.channels.discard(channel)
        self.consumers = {each for each in self.consumers if each[0] != channel}
        self.unacked = {each for each in self.unacked if each[0] != channel}

    def _published_if_complete(self, channel: int) -> bytes:
        method, head, data = self._incoming[channel]
        assert head is not None
        if len(data) < head.body_size:
            return b""
        del self._incoming[channel]
        self._publish_tags[channel] += 1
        tag = self._publish_tags[channel]
        if method.routing_key == "missing":
            back = commands.Basic.Return(reply_code=312, reply_text="NO_ROUTE", exchange="", routing_key="missing")
            return content(channel, back, data, head.properties) + marshal(
                channel, commands.Basic.Ack(delivery_tag=tag)
            )
        if method.routing_key == "full":
            return marshal(channel, commands.Basic.Nack(delivery_tag=tag))
        self.published.append(data)
        return marshal(channel, commands.Basic.Ack(delivery_tag=tag))


class Wire(ByteStream):
    """A socket to a `FakeBroker`: what is sent is answered at once, in order, without a network or a task."""

    def __init__(self, broker: FakeBroker) -> None:
        self.broker = broker
        self.sent = b""
        self._inbox = b""
        self._news = anyio.Event()
        self._ended = False

    def say(self, data: bytes) -> None:
        """Lets the client read `data`."""
        self._inbox += data
        self._news.set()

    def end(self) -> None:
        """The server closes its side."""
        self._ended = True
        self._news.set()

    @override
    async def receive(self, max_bytes: int = 65536) -> bytes:
        await checkpoint()
        while not self._inbox:
            if self._ended:
                raise anyio.EndOfStream
            self._news = anyio.Event()
            await self._news.wait()
        taken, self._inbox = self._inbox[:max_bytes], self._inbox[max_bytes:]
        return taken

    @override
    async def send(self, item: bytes) -> None:
        await checkpoint()
        if self._ended:
            raise anyio.BrokenResourceError
        self.sent += item
        said = self.broker.receive(item)
        if said:
            self.say(said)
        await checkpoint()

    @override
    async def send_eof(self) -> None:
        await checkpoint()

    @override
    async def aclose(self) -> None:
        self.end()
        await checkpoint()


def methods(frames: Sequence[tuple[int, frame.FrameTypes]]) -> list[str]:
    return [each.name for _, each in frames]
