from __future__ import annotations

from bisect import bisect_right

import pytest
from hypothesis import given, strategies as st

from hub.errors import ConfigurationError
from hub.histogram import SECONDS, Histogram, HistogramSnapshot, merge, parse_buckets


@given(st.lists(st.floats(min_value=0, max_value=1e6) | st.sampled_from(SECONDS)))
def test_a_value_is_counted_below_every_bound_that_is_not_less(values: list[float]) -> None:
    histogram = Histogram(SECONDS)
    for value in values:
        histogram.observe(value)
    read = histogram.snapshot()
    assert sum(read.counts) == len(values)
    assert read.sum == pytest.approx(sum(values))
    for index, bound in enumerate(SECONDS):
        assert sum(read.counts[: index + 1]) == bisect_right(sorted(values), bound)


def test_a_negative_time_counts_as_zero() -> None:
    histogram = Histogram((1.0,))
    histogram.observe(-5.0)
    assert histogram.snapshot() == HistogramSnapshot(bounds=(1.0,), counts=(1, 0), sum=0.0)


def test_a_snapshot_does_not_change() -> None:
    histogram = Histogram((1.0,))
    before = histogram.snapshot()
    histogram.observe(0.5)
    assert before.counts == (0, 0)


def test_histograms_add_up() -> None:
    one = HistogramSnapshot(bounds=(1.0, 2.0), counts=(1, 2, 3), sum=9.0)
    assert merge([one, one], bounds=(1.0, 2.0)) == HistogramSnapshot(bounds=(1.0, 2.0), counts=(2, 4, 6), sum=18.0)
    assert merge([], bounds=(1.0, 2.0)) == Histogram((1.0, 2.0)).snapshot()


def test_bounds_are_read_as_they_are_written() -> None:
    assert parse_buckets("0.01, 0.1,1 ,10") == (0.01, 0.1, 1.0, 10.0)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "one is no number"),
        ("1,", "one is no number"),
        ("1,x", "one is no number"),
        ("0,1", "one is not above 0"),
        ("-1,1", "one is not above 0"),
        ("1,inf", "has no end"),
        ("nan", "one is not above 0"),
        ("1,1", "does not rise"),
        ("2,1", "does not rise"),
    ],
)
def test_other_bounds_are_refused_with_the_repair(text: str, complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint) as caught:
        parse_buckets(text)
    assert "such as 0.01,0.1,1,10,60" in str(caught.value)
