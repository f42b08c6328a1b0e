"""Garbage from the server ends the link in one way only, and nobody is left waiting."""

from __future__ import annotations

from hypothesis import given, strategies as st
from pamqp import commands

from hub.amqp import AmqpOptions, Message, Route
from hub.amqp.protocol.confirms import ConfirmBatch
from hub.amqp.protocol.connection import ConnectionState
from hub.amqp.protocol.pending_reply import PendingReply
from hub.errors import ConnectionLost
from tests.amqp.cuts import cut, cuts
from tests.amqp.fake import ADDRESS, START, TUNE, FakeBroker, content, deliver, marshal

VALID = [
    marshal(0, START),
    marshal(0, TUNE),
    marshal(0, commands.Connection.OpenOk()),
    marshal(0, commands.Connection.Blocked(reason="low on memory")),
    marshal(0, commands.Connection.Unblocked()),
    marshal(0, commands.Connection.CloseOk()),
    marshal(1, commands.Channel.OpenOk()),
    marshal(1, commands.Channel.CloseOk()),
    marshal(1, commands.Channel.Close(reply_code=404, reply_text="", class_id=0, method_id=0)),
    marshal(1, commands.Channel.Flow(active=False)),
    marshal(1, commands.Basic.ConsumeOk(consumer_tag="hub.1")),
    marshal(1, commands.Basic.Cancel(consumer_tag="hub.1")),
    marshal(1, commands.Basic.Ack(delivery_tag=1)),
    marshal(1, commands.Basic.Nack(delivery_tag=2, multiple=True)),
    marshal(1, commands.Queue.DeclareOk(queue="q", message_count=0, consumer_count=0)),
    deliver(1, b"x"),
    deliver(2, b"y" * 300),
    content(1, commands.Basic.Return(reply_code=312, reply_text="", exchange="", routing_key="q"), b"x"),
    b"\x08\x00\x00\x00\x00\x00\x00\xce",
]

frames = st.builds(
    lambda kind, channel, payload: (
        bytes([kind]) + channel.to_bytes(2, "big") + len(payload).to_bytes(4, "big") + payload + b"\xce"
    ),
    st.sampled_from([1, 2, 3, 8]),
    st.integers(0, 3),
    st.binary(max_size=40),
)
"""Frames that are well formed, and nothing inside them is."""


def marshal_method(channel: int, index: int, arguments: bytes) -> bytes:
    payload = index.to_bytes(4, "big") + arguments
    return b"\x01" + channel.to_bytes(2, "big") + len(payload).to_bytes(4, "big") + payload + b"\xce"


methods = st.builds(
    marshal_method,
    st.integers(0, 2),
    st.sampled_from(sorted(commands.INDEX_MAPPING)),
    st.binary(max_size=40),
)
"""Methods that exist, with arguments that make no sense."""


@st.composite
def flipped(draw: st.DrawFn) -> bytes:
    """A frame that is right but for one byte."""
    data = bytearray(draw(st.sampled_from(VALID)))
    data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data)


garbage = st.lists(st.sampled_from(VALID) | frames | methods | flipped() | st.binary(max_size=30), max_size=12)


@given(garbage, cuts)
def test_garbage_during_the_handshake_is_a_lost_link_or_nothing(said: list[bytes], lengths: list[int]) -> None:
    state = ConnectionState(ADDRESS, AmqpOptions())
    state.start_handshake()
    for piece in cut(b"".join(said), lengths):
        state.receive(piece)
    state.lost(ConnectionLost("fake", "the end"))
    assert state.opened.settled
    assert isinstance(state.closed, ConnectionLost)


@given(garbage, cuts)
def test_garbage_on_an_open_connection_leaves_nobody_waiting(said: list[bytes], lengths: list[int]) -> None:
    state = ConnectionState(ADDRESS, AmqpOptions())
    broker = FakeBroker()
    state.start_handshake()
    while data := state.output.take():
        state.receive(broker.receive(data))
    channel = state.new_channel()
    opened = channel.open()
    subscription, started = channel.subscribe("q")
    while data := state.output.take():
        state.receive(broker.receive(data))
    ended: list[bool] = []
    channel.on_closed = lambda: ended.append(True)
    message = Message(route=Route(routing_key="q"), body=b"x", message_id="m", timestamp=0)
    batch = ConfirmBatch([message, message, message])
    channel.publish(batch, high_water=1 << 20)
    asked = channel.call(commands.Queue.Declare(queue="q"), commands.Queue.DeclareOk)
    other = state.new_channel()
    replies: list[PendingReply[commands.Channel.OpenOk] | PendingReply[commands.Queue.DeclareOk]] = [
        opened,
        asked,
        other.open(),
    ]
    for piece in cut(b"".join(said), lengths):
        state.receive(piece)
    state.lost(ConnectionLost("fake", "the end"))
    assert all(reply.settled for reply in replies)
    assert started.settled
    assert batch.reply.settled
    assert subscription.ended is not None
    assert ended == [True]
    assert (channel.unanswered, channel.unconfirmed, channel.consumers, state.channels) == (0, 0, 0, 0)
