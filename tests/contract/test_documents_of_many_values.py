"""Documents that would take many times their size in memory are refused before anything is built of them."""

from __future__ import annotations

import json

import pytest
from google.protobuf import struct_pb2

from hub.contract import InvalidDocument, Transcoder, compile_contract
from hub.contract.protojson.json_text import is_searchable
from tests.gateway.test_hostile_documents import rich

VALUE = Transcoder(struct_pb2.Value.DESCRIPTOR)
RICH = compile_contract(rich()).request_transcoder


def refusal(transcoder: Transcoder, text: bytes) -> InvalidDocument:
    with pytest.raises(InvalidDocument) as caught:
        transcoder.decode_json(text)
    return caught.value


@pytest.mark.parametrize(
    "text",
    [
        b'{"v":[{"b":1},{"a":1,"a":2}]}',
        b'{"v":{"b":[{"a":1,"a":2}]}}',
        b'{"text":"x","text":"y","v":{"b":[{}]}}',
    ],
)
def test_no_message_is_built_from_a_document_with_duplicate_names(text: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[object] = []
    monkeypatch.setattr("hub.contract.protojson.well_known_parser._build_list", lambda *_: built.append("list"))
    monkeypatch.setattr("hub.contract.protojson.well_known_parser._build_struct", lambda *_: built.append("struct"))
    transcoder = compile_contract(rich()).request_transcoder
    assert refusal(transcoder, text).problems[0].message == "given more than once"
    assert built == []
    transcoder.decode_json(b'{"v":{"b":[{}]}}')
    assert built == ["struct"]


@pytest.mark.parametrize("count", [100_000, 250_000])
def test_duplicates_are_searched_in_documents_of_bounded_size(count: int) -> None:
    text = b'{"zz":1,"v":[' + b"[]," * count + b'{"a":1,"a":1}]}'
    error = refusal(RICH, text)
    found = [problem.pointer for problem in error.problems]
    if is_searchable(text):
        assert (found, error.more) == (["/zz", f"/v/{count}/a"], False)
    else:
        assert (found, error.more) == (["/zz"], True)
        assert str(error).endswith(": the rest of the document was not checked")
    assert is_searchable(text) == (count < 200_000)


def test_a_duplicate_name_in_a_very_large_document_is_refused_without_its_path() -> None:
    error = refusal(VALUE, b"[" + b"[]," * 250_000 + b'{"a":1,"a":1}]')
    assert [problem.pointer for problem in error.problems] == [""]
    assert "given more than once" in error.problems[0].message
    assert error.extensions["errors_complete"] is False


def test_values_within_any_and_lists_and_maps_are_complete() -> None:
    document = {
        "text": "x",
        "v": [1, None, "s", True, {"a": [{}], "b": {"c": [[]]}}],
        "child": {"v": {"deep": [1.5]}, "child": {"v": None}},
    }
    assert json.loads(RICH.encode_json(RICH.decode_json(json.dumps(document).encode()))) == document
