"""The protocol as a value, in conversation with a fake broker."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from pamqp import commands

from hub.amqp import (
    AmqpOptions,
    ChannelClosed,
    ConnectionClosed,
    ConsumerCancelled,
    Message,
    MessageTooLarge,
    ProtocolViolation,
    Route,
    TooManyChannels,
)
from hub.amqp.protocol.channel import ChannelState
from hub.amqp.protocol.confirms import ConfirmBatch
from hub.amqp.protocol.connection import ConnectionState
from hub.errors import ConnectionLost, QueueFull, Unroutable
from tests.amqp.cuts import cut, cuts
from tests.amqp.fake import ADDRESS, CLOSE, FakeBroker, content, deliver, marshal

HIGH_WATER = 1 << 20


class Talk:
    """A connection and a fake broker, with nothing between them but the way in which bytes are cut."""

    def __init__(
        self, lengths: list[int] | None = None, options: AmqpOptions | None = None, broker: FakeBroker | None = None
    ) -> None:
        self.broker = broker or FakeBroker()
        self.state = ConnectionState(ADDRESS, options or AmqpOptions())
        self._lengths = lengths or [HIGH_WATER]
        self.state.start_handshake()
        self.go_on()

    def go_on(self) -> None:
        """Carries bytes to and fro until nobody has anything to say."""
        while data := self.state.output.take():
            self.say(self.broker.receive(data))

    def say(self, data: bytes) -> None:
        for piece in cut(data, self._lengths):
            self.state.receive(piece)

    def channel(self) -> ChannelState:
        channel = self.state.new_channel()
        opened = channel.open()
        self.go_on()
        opened.result()
        return channel


def publish(channel: ChannelState, *messages: tuple[str, bytes]) -> ConfirmBatch:
    batch = ConfirmBatch(
        [
            Message(route=Route(routing_key=key), body=body, message_id=f"m{number}", timestamp=0)
            for number, (key, body) in enumerate(messages)
        ]
    )
    channel.publish(batch, high_water=HIGH_WATER)
    return batch


def conversation(talk: Talk) -> list[object]:
    """Everything that the driver does, once; returns all that came of it."""
    channel = talk.channel()
    declared = channel.call(commands.Queue.Declare(queue="q"), commands.Queue.DeclareOk)
    batch = publish(channel, ("q", b"one"), ("missing", b"two"), ("q", b""), ("full", b"x" * 200_000))
    talk.broker.queue_length = 3
    subscription, started = channel.subscribe("q")
    talk.go_on()
    received = subscription.take()
    channel.ack(subscription, [received[0].tag])
    channel.nack(subscription, [received[1].tag])
    channel.reject(subscription, [received[2].tag], requeue=False)
    stopped = channel.unsubscribe(subscription)
    talk.go_on()
    other = talk.channel()
    closed = other.close()
    talk.go_on()
    talk.state.close()
    talk.go_on()
    assert stopped is not None
    assert closed is not None
    return [
        declared.result().message_count,
        [type(each) for each in batch.reply.result()],
        started.result().consumer_tag,
        received,
        talk.broker.published,
        talk.broker.settled,
        talk.broker.asked,
        talk.broker.violations,
        stopped.settled,
        closed.settled,
        str(talk.state.closed),
    ]


@given(cuts)
def test_a_conversation_is_the_same_however_its_bytes_are_cut(lengths: list[int]) -> None:
    assert conversation(Talk(lengths)) == conversation(Talk())


def test_a_conversation_is_the_same_byte_by_byte() -> None:
    together = conversation(Talk())
    assert conversation(Talk([1])) == together
    assert together[1] == [type(None), Unroutable, type(None), QueueFull]
    assert together[7] == []


def test_replies_come_to_those_who_asked_when_one_of_them_has_gone_away() -> None:
    talk = Talk()
    channel = talk.channel()
    first = channel.call(commands.Queue.Declare(queue="a"), commands.Queue.DeclareOk)
    second = channel.call(commands.Queue.Declare(queue="b"), commands.Queue.DeclareOk)
    first.cancel()
    talk.go_on()
    assert second.result().queue == "b"
    assert channel.unanswered == 0


def test_a_channel_whose_opener_went_away_is_closed_again() -> None:
    talk = Talk()
    for abandon_first in (True, False):
        opened = talk.state.new_channel().open()
        if abandon_first:
            opened.cancel()
            talk.go_on()
        else:
            talk.go_on()
            opened.cancel()
            talk.go_on()
        assert talk.broker.channels == set()
        assert talk.state.channels == 0


def test_a_consumer_whose_caller_went_away_is_cancelled_and_its_messages_are_handed_back() -> None:
    for abandon_first in (True, False):
        talk = Talk(broker=FakeBroker(queue_length=2))
        channel = talk.channel()
        _, started = channel.subscribe("q")
        if abandon_first:
            started.cancel()
            talk.go_on()
        else:
            talk.go_on()
            started.cancel()
            talk.go_on()
        assert talk.broker.consumers == set()
        assert sorted(talk.broker.settled) == [("Basic.Nack", 1), ("Basic.Nack", 2)]
        assert channel.consumers == 0
        assert talk.broker.violations == []


def test_stopping_hands_back_what_was_not_taken_and_what_still_comes() -> None:
    talk = Talk(broker=FakeBroker(queue_length=3))
    channel = talk.channel()
    subscription, _ = channel.subscribe("q")
    talk.go_on()
    talk.broker.unacked.add((1, 4))
    stopped = channel.unsubscribe(subscription)
    talk.say(deliver(4, b"late"))
    talk.go_on()
    assert stopped is not None
    assert stopped.settled
    assert sorted(talk.broker.settled) == [("Basic.Nack", tag) for tag in (1, 2, 3, 4)]
    assert subscription.unsettled == 0
    assert channel.unsubscribe(subscription) is None


def test_nothing_is_settled_twice() -> None:
    talk = Talk(broker=FakeBroker(queue_length=2))
    channel = talk.channel()
    subscription, _ = channel.subscribe("q")
    talk.go_on()
    tags = [each.tag for each in subscription.take()]
    channel.ack(subscription, tags)
    channel.ack(subscription, tags)
    channel.reject(subscription, [*tags, 99], requeue=True)
    talk.go_on()
    assert talk.broker.settled == [("Basic.Ack", 1), ("Basic.Ack", 2)]


def test_every_message_is_acked_by_itself() -> None:
    talk = Talk(broker=FakeBroker(queue_length=3))
    channel = talk.channel()
    subscription, _ = channel.subscribe("q")
    talk.go_on()
    channel.ack(subscription, [3])
    talk.go_on()
    assert talk.broker.unacked == {(1, 1), (1, 2)}


def test_a_delivery_over_the_limit_is_dead_lettered_unread_and_the_next_one_arrives() -> None:
    talk = Talk(options=AmqpOptions(body_limit=10))
    channel = talk.channel()
    subscription, _ = channel.subscribe("q")
    talk.go_on()
    talk.broker.unacked.update({(1, 1), (1, 2)})
    talk.say(deliver(1, b"x" * 300_000) + deliver(2, b"x" * 10))
    talk.go_on()
    assert talk.broker.settled == [("Basic.Reject", 1)]
    assert subscription.oversize == 1
    assert [each.tag for each in subscription.take()] == [2]


def test_a_message_over_the_limit_is_refused_and_its_neighbours_are_published() -> None:
    talk = Talk(options=AmqpOptions(body_limit=3))
    batch = publish(talk.channel(), ("q", b"abc"), ("q", b"abcd"), ("q", b""))
    talk.go_on()
    refused = batch.reply.result()[1]
    assert isinstance(refused, MessageTooLarge)
    assert (refused.size, refused.limit) == (4, 3)
    assert talk.broker.published == [b"abc", b""]


def test_publishing_stops_at_the_high_water_mark_and_goes_on_from_there() -> None:
    talk = Talk()
    channel = talk.channel()
    messages = [
        Message(route=Route(routing_key="q"), body=b"%d" % each, message_id="", timestamp=0) for each in range(9)
    ]
    batch = ConfirmBatch(messages)
    rounds = 0
    while batch.sent < len(messages):
        channel.publish(batch, high_water=200)
        assert 200 <= talk.state.output.size < 400 or batch.sent == len(messages)
        talk.go_on()
        rounds += 1
    assert rounds > 1
    assert talk.broker.published == [b"%d" % each for each in range(9)]
    assert batch.reply.settled


def test_a_refusal_of_the_server_closes_one_channel_with_its_reason_and_no_other() -> None:
    talk = Talk(broker=FakeBroker(answers={commands.Queue.Bind: lambda channel, _: marshal(channel, CLOSE)}))
    channel, other = talk.channel(), talk.channel()
    subscription, _ = channel.subscribe("q")
    talk.go_on()
    asked = channel.call(commands.Queue.Bind(queue="q", exchange="x", routing_key="k"), commands.Queue.BindOk)
    waiting = channel.call(commands.Queue.Declare(queue="q"), commands.Queue.DeclareOk)
    talk.go_on()
    for reply in (asked, waiting):
        with pytest.raises(ChannelClosed, match="404 NOT_FOUND") as caught:
            reply.result()
        assert caught.value.reply_code == 404
    assert isinstance(subscription.ended, ChannelClosed)
    with pytest.raises(ChannelClosed):
        channel.call(commands.Queue.Declare(queue="q"), commands.Queue.DeclareOk)
    on_other = other.call(commands.Queue.Declare(queue="q"), commands.Queue.DeclareOk)
    talk.go_on()
    assert on_other.result().queue == "q"
    assert talk.state.channels == 1
    assert talk.channel().number == 1


def test_both_sides_may_close_a_channel_at_once() -> None:
    talk = Talk()
    channel = talk.channel()
    talk.broker.held = []
    closing = channel.close()
    talk.go_on()
    late = talk.broker.release()
    talk.say(marshal(1, CLOSE))
    assert talk.state.channels == 1, "the number is not free before the answer to our own close"
    talk.say(late)
    assert closing is not None
    assert closing.settled
    assert talk.state.channels == 0
    assert talk.state.closed is None


def test_close_ok_may_overtake_the_answers_before_it() -> None:
    talk = Talk(broker=FakeBroker(answers={commands.Basic.Consume: lambda _channel, _method: b""}))
    channel = talk.channel()
    _, started = channel.subscribe("q")
    closing = channel.close()
    talk.go_on()
    assert closing is not None
    closing.result()
    with pytest.raises(ConnectionLost):
        started.result()
    assert talk.state.closed is None


def test_nothing_is_sent_on_a_channel_that_is_closing() -> None:
    talk = Talk(broker=FakeBroker(queue_length=1))
    channel = talk.channel()
    subscription, _ = channel.subscribe("q")
    talk.go_on()
    talk.broker.held = []
    channel.drop()
    channel.drop()
    channel.ack(subscription, [1])
    with pytest.raises(ConnectionLost, match="closing"):
        publish(channel, ("q", b""))
    talk.say(marshal(1, commands.Channel.Flow(active=True)) + deliver(2, b"late"))
    talk.go_on()
    talk.say(talk.broker.release())
    assert talk.broker.violations == []
    assert talk.state.channels == 0


def test_a_consumer_that_the_server_cancels_ends_with_a_lost_link() -> None:
    talk = Talk(broker=FakeBroker(queue_length=1))
    channel = talk.channel()
    subscription, _ = channel.subscribe("q")
    talk.go_on()
    talk.say(marshal(1, commands.Basic.Cancel(consumer_tag=subscription.tag, nowait=True)))
    assert isinstance(subscription.ended, ConsumerCancelled)
    assert subscription.take() == []
    assert channel.consumers == 0
    assert channel.closed is None


def test_channel_numbers_are_used_again_and_run_out_at_the_agreed_limit() -> None:
    few = marshal(0, commands.Connection.Tune(channel_max=2, frame_max=131072, heartbeat=0))
    talk = Talk(broker=FakeBroker(answers={commands.Connection.StartOk: lambda _channel, _method: few}))
    first, second = talk.channel(), talk.channel()
    with pytest.raises(TooManyChannels, match="all 2 channels"):
        talk.state.new_channel()
    first.drop()
    talk.go_on()
    assert talk.channel().number == first.number
    assert second.number == 2


def test_the_server_may_close_the_connection_and_everybody_hears_why() -> None:
    talk = Talk()
    channel = talk.channel()
    talk.broker.held = []
    asked = channel.call(commands.Queue.Declare(queue="q"), commands.Queue.DeclareOk)
    batch = publish(channel, ("q", b""))
    subscription, started = channel.subscribe("q")
    closing = commands.Connection.Close(reply_code=320, reply_text="CONNECTION_FORCED", class_id=0, method_id=0)
    talk.say(marshal(0, closing))
    for reply in (asked, batch.reply, started):
        with pytest.raises(ConnectionClosed, match="320 CONNECTION_FORCED"):
            reply.result()
    assert isinstance(subscription.ended, ConnectionClosed)
    assert talk.state.output.take().endswith(marshal(0, commands.Connection.CloseOk()))
    with pytest.raises(ConnectionClosed):
        talk.state.new_channel()


def test_a_blocked_server_says_so_and_takes_it_back() -> None:
    heard: list[str | None] = []
    state = ConnectionState(ADDRESS, AmqpOptions(), on_blocked=lambda: heard.append(state.blocked))
    state.start_handshake()
    broker = FakeBroker()
    while data := state.output.take():
        state.receive(broker.receive(data))
    state.receive(marshal(0, commands.Connection.Blocked(reason="low on memory")))
    state.receive(marshal(0, commands.Connection.Unblocked()))
    assert heard == ["low on memory", None]


DELIVER = commands.Basic.Deliver(consumer_tag="hub.1", delivery_tag=1, redelivered=False, exchange="", routing_key="q")
RETURN = commands.Basic.Return(reply_code=312, reply_text="NO_ROUTE", exchange="", routing_key="q")

VIOLATIONS: dict[str, bytes] = {
    "a header without a method": content(1, DELIVER, b"")[len(marshal(1, DELIVER)) :],
    "a body without a header": marshal(1, DELIVER) + b"\x03\x00\x01\x00\x00\x00\x01x\xce",
    "a method inside a message": marshal(1, DELIVER) + marshal(1, commands.Basic.QosOk()),
    "a delivery inside a message": marshal(1, DELIVER) * 2,
    "a return inside a message": marshal(1, RETURN) * 2,
    "two headers": marshal(1, DELIVER) + content(1, DELIVER, b"x")[len(marshal(1, DELIVER)) : -9] * 2,
    "a body that is too long": deliver(1, b"ab")[:-10] + b"\x03\x00\x01\x00\x00\x00\x03abc\xce",
    "an answer that nobody asked for": marshal(1, commands.Basic.QosOk()),
    "a channel that nobody closes": marshal(1, commands.Channel.CloseOk()),
    "a confirm of nothing": marshal(1, commands.Basic.Ack(delivery_tag=1)),
    "a message on channel 0": b"\x03\x00\x00\x00\x00\x00\x01x\xce",
    "a second start": marshal(0, commands.Connection.OpenOk()),
    "a goodbye that nobody said": marshal(0, commands.Connection.CloseOk()),
    "an unknown method": b"\x01\x00\x01\x00\x00\x00\x04\x00\x63\x00\x63\xce",
}


@pytest.mark.parametrize("said", VIOLATIONS.values(), ids=VIOLATIONS.keys())
def test_what_makes_no_sense_ends_the_connection_and_fails_whoever_waits(said: bytes) -> None:
    talk = Talk()
    channel = talk.channel()
    subscription, _ = channel.subscribe("q")
    talk.go_on()
    talk.say(said)
    assert isinstance(talk.state.closed, ProtocolViolation)
    assert isinstance(subscription.ended, ProtocolViolation)
    talk.say(marshal(1, commands.Basic.QosOk()))  # nothing is read any more


def test_an_answer_of_the_wrong_kind_ends_the_connection() -> None:
    talk = Talk(
        broker=FakeBroker(answers={commands.Basic.Qos: lambda channel, _: marshal(channel, commands.Queue.BindOk())})
    )
    asked = talk.channel().call(commands.Basic.Qos(prefetch_count=1), commands.Basic.QosOk)
    talk.go_on()
    with pytest.raises(ProtocolViolation):
        asked.result()
    assert isinstance(talk.state.closed, ProtocolViolation)


def test_frames_of_a_channel_that_is_gone_are_passed_over() -> None:
    talk = Talk()
    channel = talk.channel()
    channel.drop()
    talk.go_on()
    talk.say(deliver(1, b"late") + marshal(1, commands.Basic.ConsumeOk(consumer_tag="hub.1")))
    assert talk.state.closed is None


def test_messages_of_two_channels_may_be_interleaved() -> None:
    talk = Talk()
    subscriptions = [talk.channel().subscribe("q")[0] for _ in range(2)]
    talk.go_on()
    frames = [
        (deliver(1, body, channel=number)[: len(marshal(number, DELIVER))], deliver(1, body, channel=number))
        for number, body in ((1, b"one"), (2, b"two"))
    ]
    talk.say(b"".join(method for method, _ in frames))
    talk.say(b"".join(whole[len(method) :] for method, whole in frames))
    assert [each.body for subscription in subscriptions for each in subscription.take()] == [b"one", b"two"]


def test_the_writer_is_woken_once_for_many_frames_and_receivers_once_for_many_deliveries() -> None:
    woken: list[str] = []
    state = ConnectionState(ADDRESS, AmqpOptions(), on_output=lambda: woken.append("writer"))
    broker = FakeBroker()

    def go_on() -> None:
        while data := state.output.take():
            state.receive(broker.receive(data))

    state.start_handshake()
    go_on()
    channel = state.new_channel()
    channel.open()
    go_on()
    subscription, _ = channel.subscribe("q")
    go_on()
    woken.clear()
    publish(channel, *(("q", b"x") for _ in range(50)))
    wake: Callable[[], None] = lambda: woken.append("receiver")  # noqa: E731 - a name for the type
    subscription.on_change = wake
    state.receive(b"".join(deliver(tag, b"x") for tag in range(1, 51)))
    assert woken == ["writer", "receiver"]
