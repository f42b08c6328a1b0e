"""Every problem can be encoded, whatever is in its texts."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, strategies as st

from hub.contract import InvalidDocument, Problem
from hub.http.problem_document import encoded_members, problem_dict
from hub.http.problems import problem_response

TEXT = st.text(st.characters(exclude_categories=()))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(TEXT, VALUES, max_size=4))
def test_members_of_any_kind_can_be_encoded(members: dict[str, object]) -> None:
    assert isinstance(msgspec.json.decode(encoded_members(members)), dict)


@pytest.mark.parametrize(
    "odd",
    [{10**5000: 2}, [object()], [10**5000], {"a": {"b": [10**30, "\ud800"]}}],
    ids=["keys", "objects", "digits", "texts"],
)
def test_what_json_cannot_express_does_not_make_a_problem_fail(odd: Any) -> None:
    decoded = msgspec.json.decode(encoded_members({"status": 400, "odd": odd, "detail": "a \udfff b"}))
    assert (decoded["status"], "odd" in decoded) == (400, True)
    assert decoded["detail"].isprintable()


def test_a_problem_with_a_lone_surrogate_has_a_question_mark_in_its_place() -> None:
    error = InvalidDocument("a.B", [Problem("/\ud800", "no such field")])
    assert msgspec.json.decode(problem_response(error).content)["errors"] == [
        {"pointer": "/?", "message": "no such field"}
    ]
    assert encoded_members(problem_dict(error)).decode()
