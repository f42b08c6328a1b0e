"""Reading `Accept`, as RFC 9110 section 12.5.1 has it."""

from __future__ import annotations

from typing import cast

import pytest
from litestar.testing import RequestFactory

from hub.gateway.errors import NotAcceptable
from hub.gateway.negotiation import JSON, PROTOBUF, HttpRequest, reply_type


def request(accept: str) -> HttpRequest:
    return cast("HttpRequest", RequestFactory().get("/", headers={"Accept": accept} if accept else {}))


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
def test_the_better_liked_type_wins(accept: str, expected: str) -> None:
    assert reply_type(request(accept)) == expected


@pytest.mark.parametrize("accept", ["text/html", "application/json;q=0", "application/json;q=x", "image/*"])
def test_a_client_that_takes_neither_is_told_so(accept: str) -> None:
    with pytest.raises(NotAcceptable):
        reply_type(request(accept))
