"""The fast parser reads what the other parsers read, or nothing; and it reads what most clients send."""

from __future__ import annotations

import json

import pytest
from google.protobuf.message_factory import GetMessageClass
from hypothesis import given, note, strategies as st

from benchmarks.transcoder import SHAPES, messages as benchmark_messages
from hub.contract import Transcoder
from hub.contract.errors import InvalidDocument, MalformedJson
from hub.contract.protojson.generated.typed_parser import UNREAD, TypedParser
from hub.contract.protojson.parser import MessageParsers
from tests.contract.bounded import bounded
from tests.contract.random_descriptors import descriptors
from tests.contract.random_values import damaged, messages


class _Both:
    """The fast parser of a message, and a transcoder without one."""

    def __init__(self, transcoder: Transcoder) -> None:
        descriptor = transcoder.descriptor
        parsers = MessageParsers({}, validate=False)
        parsers.compile(descriptor)
        self.fast = TypedParser(descriptor, parsers.field_parser)
        self.other = Transcoder(descriptor)

        def unread(_text: bytes) -> None:
            raise ValueError

        vars(self.other)["_parse_typed"] = unread  # where a cached property keeps its value


@bounded
@given(st.data())
def test_the_fast_parser_reads_what_the_other_parsers_read(data: st.DataObject) -> None:
    descriptor = data.draw(descriptors())
    transcoder = Transcoder(descriptor)
    text = transcoder.encode_json(data.draw(messages(descriptor)), including_defaults=data.draw(st.booleans()))
    if data.draw(st.booleans()):
        text = json.dumps(data.draw(damaged(json.loads(text), descriptor))).encode()
    note(text.decode())
    both = _Both(transcoder)
    try:
        fast = both.fast.read(text)
    except UNREAD:
        return
    own = GetMessageClass(descriptor)
    assert own.SerializeToString(fast, deterministic=True) == both.other.decode_json(text)


@pytest.mark.parametrize("shape", SHAPES)
def test_usual_documents_are_read_by_the_fast_parser(shape: str) -> None:
    name, document = SHAPES[shape]
    descriptor = benchmark_messages().FindMessageTypeByName(f"bench.v1.{name}")
    both = _Both(Transcoder(descriptor))
    text = json.dumps(document).encode()
    assert GetMessageClass(descriptor).SerializeToString(both.fast.read(text), deterministic=True) == (
        both.other.decode_json(text)
    )


@pytest.mark.parametrize(
    "text",
    [
        b'{"text":"a","text":"b"}',
        b'{"text":"a:","text":"b"}',
        b'{"text":"a","other":1}',
        b'{"items":[{"name":"a","name":"b"}]}',
        b'{"items":[{"name":"a"},{"nme":"b"}]}',
        b'{"inner":[{"items":[{"score":1,"score":2}]}]}',
        b'{"text":1}',
        b'{"topK":2147483648}',
        b'{"topK":true}',
        b'{"mode":"MODE_UNKNOWN"}',
        b'{"text":"a","topK":}',
        b'{"text":"\xff"}',
        b"[]",
        b"",
    ],
)
def test_wrong_documents_are_left_to_the_other_parsers(text: bytes) -> None:
    transcoder = Transcoder(benchmark_messages().FindMessageTypeByName("bench.v1.Nested"))
    with pytest.raises(UNREAD):
        _Both(transcoder).fast.read(text)
    with pytest.raises((InvalidDocument, MalformedJson)):
        transcoder.decode_json(text)
