from __future__ import annotations

import pytest

from hub.http.headers import MAX_WAIT, etag_matches, prefer_wait


@pytest.mark.parametrize(
    ("prefer", "seconds"),
    [
        (None, None),
        ("", None),
        ("wait=5", 5),
        ("respond-async, wait=10", 10),
        ('Wait="7"; x=y', 7),
        ("wait=99999", MAX_WAIT),
        ("wait", None),
        ("wait=", None),
        ("wait=-1", None),
        ("wait=1.5", None),
        ("wait=²", None),
    ],
)
def test_a_wait_preference_is_parsed_and_never_an_error(prefer: str | None, seconds: float | None) -> None:
    assert prefer_wait(prefer) == seconds


@pytest.mark.parametrize(
    ("header", "matches"),
    [
        (None, False),
        ('"7"', True),
        ('"6", "7"', True),
        ('W/"7"', True),
        ("*", True),
        ('"8"', False),
        ("7", False),
    ],
)
def test_if_none_match_uses_the_weak_comparison(header: str | None, *, matches: bool) -> None:
    assert etag_matches(header, '"7"') is matches
