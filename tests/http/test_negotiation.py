"""Content negotiation by `Accept` (RFC 9110 section 12.5.1)."""

from __future__ import annotations

import pytest

from hub.http.media_types import JSON, NDJSON_NAMES, PROTOBUF
from hub.http.negotiation import Accept, NotAcceptable, json_or_protobuf, require_acceptable


def headers(accept: str) -> dict[str, str]:
    return {"accept": accept} if accept else {}


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", JSON),
        ("*/*", JSON),
        ("application/*", JSON),
        ("application/json", JSON),
        ("application/x-protobuf", PROTOBUF),
        ("application/protobuf", PROTOBUF),
        ("application/vnd.google.protobuf", PROTOBUF),
        ("Application/X-Protobuf;q=0.2", PROTOBUF),
        ("application/json;q=0.5, application/x-protobuf", PROTOBUF),
        ("application/json, application/x-protobuf", JSON),
        ("application/json;q=0, */*", PROTOBUF),
        ("text/html, application/xhtml+xml, */*;q=0.8", JSON),
    ],
)
def test_the_type_with_the_higher_quality_is_chosen(accept: str, expected: str) -> None:
    assert json_or_protobuf(headers(accept)) == expected


@pytest.mark.parametrize("accept", ["text/html", "application/json;q=0", "application/json;q=x", "image/*"])
def test_a_client_that_accepts_neither_type_gets_an_error(accept: str) -> None:
    with pytest.raises(NotAcceptable, match=PROTOBUF):
        json_or_protobuf(headers(accept))


@pytest.mark.parametrize(
    ("accept", "quality"),
    [
        ("", 1.0),
        ("*/*;q=0.3", 0.3),
        ("*/*;q=0.3, application/*;q=0.2", 0.2),
        ("*/*, application/*, application/jsonl;q=0.1", 0.1),
        ("application/jsonl;q=0.1, application/x-ndjson;q=0.4, application/jsonl;q=0.2", 0.4),
        ("application/x-ndjson;charset=utf-8;q=0.5", 0.5),
        ("text/*", 0.0),
        (",;q=1,", 0.0),
    ],
)
def test_the_most_specific_range_gives_the_quality_of_a_type_with_several_names(accept: str, quality: float) -> None:
    assert Accept(headers(accept)).quality(*NDJSON_NAMES) == quality


def test_a_type_that_is_not_accepted_is_named_in_the_error() -> None:
    require_acceptable(headers("application/*"), NDJSON_NAMES, "the reply comes as lines")
    with pytest.raises(NotAcceptable, match="Accept is 'text/html'; the reply comes as lines"):
        require_acceptable(headers("text/html"), NDJSON_NAMES, "the reply comes as lines")
