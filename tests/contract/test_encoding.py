"""A document in pieces is the same text as in one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.protobuf import struct_pb2
from hypothesis import given, strategies as st

from hub.contract import Transcoder
from hub.contract.protojson.encoding import CHUNK, encode, encode_in_chunks

VALUES: Any = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text(max_size=3), inner, max_size=20),
    max_leaves=60,
)


@given(VALUES)
def test_any_document_in_chunks_is_the_same_text(document: Any) -> None:
    assert encode_in_chunks(document) == encode(document)


@pytest.mark.parametrize("size", [0, 1, 16, 17, CHUNK, CHUNK + 1, 2 * CHUNK, 2 * CHUNK + 1])
def test_big_lists_and_objects_in_chunks_are_the_same_text(size: int) -> None:
    rows = [{"n": number, "s": str(number)} for number in range(size)]
    names = {f"k{number}": [number] for number in range(size)}
    documents: list[Any] = [rows, names, {"a": {"b": [rows, names]}, "c": rows}, [[[[[rows]]]]]]
    for document in documents:
        assert encode_in_chunks(document) == encode(document)


def test_a_big_message_is_written_whole() -> None:
    document = {"rows": [[i, str(i)] for i in range(3 * CHUNK + 7)], "names": {f"k{i}": i for i in range(CHUNK + 1)}}
    transcoder = Transcoder(struct_pb2.Struct.DESCRIPTOR)
    assert json.loads(transcoder.encode_json(transcoder.decode_json(json.dumps(document).encode()))) == document
