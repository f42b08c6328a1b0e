"""Request headers that more than one server reads."""

from __future__ import annotations

import re
from math import inf
from typing import Final

MAX_WAIT: Final = 60.0
"""Seconds that a request may be held back at most: proxies commonly cut idle connections after a minute."""

MAX_DIGITS: Final = 18
"""Digits of a whole number in a header or query at most: those of every number that fits in 64 bits."""

_SECONDS: Final = re.compile(r"\d+(\.\d+)?([eE][+-]?\d+)?", re.ASCII)


def prefer_wait(prefer: str | None) -> float | None:
    """The seconds of `Prefer: wait=N` (RFC 7240 section 4.3), at most `MAX_WAIT`; `None` if it is absent or malformed.

    A preference never causes an error: by RFC 7240 section 2 servers ignore those that they do not understand.
    """
    for preference in (prefer or "").split(","):
        name, _, value = preference.partition(";")[0].partition("=")
        if name.strip().lower() == "wait":
            text = value.strip().strip('"')
            if text.isascii() and text.isdigit():
                return min(float(text), MAX_WAIT)
    return None


def preference_applied(seconds: float) -> dict[str, str]:
    """The reply header that confirms `Prefer: wait=N`, with the seconds that were applied (RFC 7240 section 3)."""
    return {"Preference-Applied": f"wait={seconds:.0f}"}


def whole_number(text: str) -> int | None:
    """A number of at most `MAX_DIGITS` ASCII digits; `None` for anything else. (`int` refuses some with 4,301.)"""
    return int(text) if len(text) <= MAX_DIGITS and text.isascii() and text.isdigit() else None


def positive_seconds(text: str) -> float | None:
    """A duration such as `30` or `2.5`, in seconds; `None` unless `text` is a finite JSON number above 0."""
    seconds = seconds_of(text)
    return seconds if seconds is not None and 0 < seconds < inf else None


def seconds_of(text: str) -> float | None:
    """A duration such as `0`, `30` or `2.5e1`, in seconds, perhaps infinite; `None` unless `text` is a number from 0 on."""
    text = text.strip()
    return float(text) if _SECONDS.fullmatch(text) else None


def etag_matches(if_none_match: str | None, etag: str) -> bool:
    """Whether `If-None-Match` names `etag` (with its quotes), by the weak comparison of RFC 9110 section 8.8.3.2."""
    if if_none_match is None:
        return False
    candidates = [candidate.strip().removeprefix("W/") for candidate in if_none_match.split(",")]
    return "*" in candidates or etag.removeprefix("W/") in candidates
