from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime

import pytest
from hypothesis import given, strategies as st
from pamqp import body, commands, header

from hub.amqp import Message, ProtocolViolation, Route
from hub.amqp.protocol.content import ContentAssembler
from hub.amqp.protocol.decoder import DELIVER, DeliverMethod, decode_deliver, decode_head
from hub.amqp.protocol.encoder import MessageEncoder
from tests.amqp.fakes import marshal, unmarshal_all

FRAME_MAX = 4096

short = st.text(max_size=60)
names = st.from_regex(r"[A-Za-z0-9_.\-]{1,40}", fullmatch=True)
routes = st.builds(
    Route,
    routing_key=names,
    exchange=st.just("") | names,
    mandatory=st.booleans(),
    persistent=st.booleans(),
    content_type=short,
    type=short,
    app_id=short,
)
headers = st.dictionaries(
    st.text(min_size=1, max_size=20).filter(lambda key: len(key.encode()) <= 100),
    st.text(max_size=40) | st.integers(-(2**63), 2**63 - 1),
    max_size=4,
)
messages = st.builds(
    Message,
    route=routes,
    body=st.binary(max_size=100),
    message_id=short.filter(bool),
    timestamp=st.integers(0, 2**32 - 1),
    headers=headers,
    expiration=st.just(0) | st.integers(1, 2**32 - 1),
)


@given(st.lists(messages, max_size=6), st.integers(1, 2047))
def test_an_encoded_message_is_what_pamqp_reads_from_it(batch: list[Message], channel: int) -> None:
    encoder = MessageEncoder(channel, FRAME_MAX)  # one for all: what it keeps of a route must not leak into another
    for message in batch:
        frames = unmarshal_all(b"".join(encoder.encode(message)))
        assert {number for number, _ in frames} == {channel}
        (_, publish), (_, head), *bodies = frames
        assert isinstance(publish, commands.Basic.Publish)
        assert (publish.exchange, publish.routing_key) == (message.route.exchange, message.route.routing_key)
        assert (publish.mandatory, publish.immediate) == (message.route.mandatory, False)
        assert isinstance(head, header.ContentHeader)
        assert head.body_size == len(message.body)
        assert head.properties == commands.Basic.Properties(
            content_type=message.route.content_type or None,
            headers=dict(message.headers) or None,
            delivery_mode=2 if message.route.persistent else 1,
            expiration=str(message.expiration) if message.expiration else None,
            message_id=message.message_id,
            timestamp=datetime.fromtimestamp(message.timestamp, UTC),
            message_type=message.route.type or None,
            app_id=message.route.app_id or None,
        )
        data = b"".join(piece.value for _, piece in bodies if isinstance(piece, body.ContentBody))
        assert data == message.body


@pytest.mark.parametrize("size", [0, 1, FRAME_MAX - 9, FRAME_MAX - 8, FRAME_MAX - 7, 3 * FRAME_MAX])
def test_a_body_is_cut_into_frames_that_fit_and_an_empty_one_has_none(size: int) -> None:
    message = Message(route=Route(routing_key="q"), body=b"x" * size, message_id="m", timestamp=0)
    _, _, *bodies = unmarshal_all(b"".join(MessageEncoder(1, FRAME_MAX).encode(message)))
    sizes = [len(piece.value) for _, piece in bodies if isinstance(piece, body.ContentBody)]
    assert sum(sizes) == size
    assert all(0 < each <= FRAME_MAX - 8 for each in sizes)
    assert len(sizes) == -(-size // (FRAME_MAX - 8))


properties = st.builds(
    commands.Basic.Properties,
    content_type=st.none() | short.filter(bool),
    content_encoding=st.none() | short.filter(bool),
    headers=st.none() | headers,
    delivery_mode=st.sampled_from([None, 1, 2]),
    priority=st.none() | st.integers(1, 255),
    correlation_id=st.none() | short.filter(bool),
    reply_to=st.none() | short.filter(bool),
    expiration=st.none() | short.filter(bool),
    message_id=st.none() | short.filter(bool),
    timestamp=st.none() | st.just(datetime(2026, 1, 1, tzinfo=UTC)),
    message_type=st.none() | short.filter(bool),
    user_id=st.none() | short.filter(bool),
    app_id=st.none() | short.filter(bool),
)


@given(properties, st.integers(0, 2**64 - 1))
def test_a_content_header_is_read_as_pamqp_writes_it(given_properties: commands.Basic.Properties, size: int) -> None:
    head = decode_head("broker", header.ContentHeader(0, size, given_properties).marshal())
    assert head.body_size == size
    assert head.message_id == (given_properties.message_id or "")
    assert head.headers == (given_properties.headers or {})


@given(st.binary(max_size=80))
def test_a_content_header_is_read_or_a_violation_and_nothing_else(payload: bytes) -> None:
    with suppress(ProtocolViolation):
        decode_head("broker", payload)


@given(properties, st.data())
def test_a_content_header_that_is_cut_short_never_gives_half_a_message_id(
    given_properties: commands.Basic.Properties, data: st.DataObject
) -> None:
    whole = header.ContentHeader(0, 1, given_properties).marshal()
    part = whole[: data.draw(st.integers(0, len(whole) - 1))]
    try:
        head = decode_head("broker", part)
    except ProtocolViolation:
        return
    assert head.message_id == (given_properties.message_id or "")


def test_a_foreign_message_with_unreadable_properties_does_not_break_the_connection() -> None:
    table = b"\x01k" + b"T" + (2**63).to_bytes(8, "big")  # a timestamp that no calendar has
    payload = (
        b"\x00\x3c\x00\x00"
        + (5).to_bytes(8, "big")
        + b"\x20\x80"
        + len(table).to_bytes(4, "big")
        + table
        + b"\x02\xff\xfe"
    )
    head = decode_head("broker", payload)
    assert (head.body_size, head.message_id, head.headers) == (5, "��", {})


def test_more_property_flags_than_amqp_has_are_passed_over() -> None:
    payload = b"\x00\x3c\x00\x00" + (5).to_bytes(8, "big") + b"\x00\x81\x00\x00" + b"\x02id"
    assert decode_head("broker", payload).message_id == "id"


@given(names, st.integers(0, 2**63 - 1), st.booleans(), names, names)
def test_a_delivery_is_read_as_pamqp_writes_it(
    consumer: str, tag: int, redelivered: bool, exchange: str, key: str
) -> None:
    method = commands.Basic.Deliver(
        consumer_tag=consumer, delivery_tag=tag, redelivered=redelivered, exchange=exchange, routing_key=key
    )
    payload = marshal(1, method)[7:-1]
    assert payload.startswith(DELIVER)
    assert decode_deliver("broker", payload) == (consumer.encode(), tag, redelivered)


@given(st.integers(0, 30))
def test_a_delivery_that_is_cut_short_is_a_violation(length: int) -> None:
    method = commands.Basic.Deliver(
        consumer_tag="c" * 20, delivery_tag=1, redelivered=False, exchange="", routing_key=""
    )
    payload = marshal(1, method)[7:-1]
    with pytest.raises(ProtocolViolation):
        decode_deliver("broker", payload[: len(DELIVER) + min(length, 29)])


@pytest.mark.parametrize(("size", "oversize"), [(0, False), (9, False), (10, True), (300, True)])
def test_a_body_over_the_limit_is_counted_and_not_kept(size: int, oversize: bool) -> None:
    contents = ContentAssembler("broker", body_limit=9)
    contents.begin(DeliverMethod(b"c", 1, redelivered=False))
    content = contents.header(header.ContentHeader(0, size).marshal())
    for at in range(size):
        assert content is None
        content = contents.body(b"%d" % (at % 10))
    assert content is not None
    assert content.oversize is oversize
    assert content.body == (b"" if oversize else b"0123456789"[:size])
    assert not contents.under_way
