"""When a model's failed run is worth another one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, strategies as st

from hub import Retry


def highest(_low: float, high: float) -> float:
    return high


def lowest(low: float, _high: float) -> float:
    return low


def test_delays_double_up_to_the_cap() -> None:
    retry = Retry(limit=5, first=2, cap=10, jitter=0)
    assert [retry.delay(ValueError(), retries, highest) for retries in range(6)] == [2, 4, 8, 10, 10, None]


def test_jitter_shortens_a_delay_at_most_by_its_share() -> None:
    assert Retry(first=8, jitter=0.25).delay(ValueError(), 0, lowest) == 6
    assert Retry(first=8, jitter=1).delay(ValueError(), 0, lowest) == 0


def test_only_named_errors_and_their_kinds_are_retried() -> None:
    retry = Retry(on=(ConnectionError, TimeoutError), jitter=0)
    assert retry.delay(ConnectionResetError(), 0) == 1
    assert retry.delay(TimeoutError(), 0) == 1
    assert retry.delay(ValueError(), 0) is None


def test_an_error_of_another_process_is_matched_by_the_names_of_its_classes() -> None:
    class Told(Exception):
        mro = ("builtins.ConnectionResetError", "builtins.ConnectionError", "builtins.OSError")

    assert Retry(on=(ConnectionError,), jitter=0).delay(Told(), 0) == 1
    assert Retry(on=(ValueError,), jitter=0).delay(Told(), 0) is None


@given(st.integers(0, 10_000), st.floats(0, 1), st.floats(0.001, 1000), st.floats(1, 10))
def test_a_delay_is_never_above_the_cap_and_never_below_its_jittered_first(
    retries: int, jitter: float, first: float, factor: float
) -> None:
    retry = Retry(limit=10_001, first=first, cap=first * factor, jitter=jitter)
    delay = retry.delay(ValueError(), retries)
    assert delay is not None
    assert first * (1 - jitter) <= delay <= first * factor


@pytest.mark.parametrize(
    ("values", "repair"),
    [
        ({"limit": 0}, "leave `retry` out"),
        ({"first": 0}, "0 < first <= cap"),
        ({"first": 10, "cap": 5}, "0 < first <= cap"),
        ({"cap": float("inf")}, "0 < first <= cap"),
        ({"jitter": 1.5}, "share from 0 to 1"),
        ({"on": ()}, "name the exceptions"),
    ],
)
def test_invalid_values_are_refused_with_the_repair(values: dict[str, Any], repair: str) -> None:
    with pytest.raises(ValueError, match=repair):
        Retry(**values)
