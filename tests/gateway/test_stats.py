"""Rates and quantiles from counters."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given, strategies as st

from hub.gateway.dashboard.stats import WINDOW, CounterSample, Quantiles, SampleWindow, quantile, throughput
from hub.histogram import HistogramSnapshot
from hub.types import ModelName, TaskState

NAME = ModelName("Echo")
BOUNDS = (0.1, 1.0, 10.0)
OK, FAILED, CANCELLED = TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED


def durations(*counts: int, bounds: tuple[float, ...] = BOUNDS) -> HistogramSnapshot:
    return HistogramSnapshot(bounds=bounds, counts=counts or (0,) * (len(bounds) + 1), sum=1.0)


def reading(
    at: float,
    outcomes: Mapping[TaskState, int] | None = None,
    run_time: HistogramSnapshot | None = None,
    in_flight: int = 0,
) -> CounterSample:
    return CounterSample(
        at=at, in_flight=in_flight, outcomes=outcomes or {}, queue_time=durations(), run_time=run_time or durations()
    )


def test_a_rate_is_the_increase_divided_by_the_time() -> None:
    found = throughput([reading(0, {OK: 100}), reading(10, {OK: 130, FAILED: 5}), reading(20, {OK: 150, FAILED: 5})])
    assert found.finished_per_second == (50 + 5) / 20
    assert found.failed_per_second == 5 / 20


def test_cancelled_tasks_are_no_failures() -> None:
    counts = dict.fromkeys(TaskState, 1)
    assert throughput([reading(0), reading(1, counts)]).failed_per_second == 3
    assert throughput([reading(0), reading(1, {CANCELLED: 7})]).failed_per_second == 0


def test_one_sample_has_no_rate() -> None:
    found = throughput([reading(5, {OK: 100}, in_flight=3)])
    assert (found.in_flight, found.finished_per_second, found.run_time) == (3, None, Quantiles())


def test_a_counter_that_fell_adds_nothing_and_counts_again_from_there() -> None:
    found = throughput([reading(0, {OK: 100}), reading(10, {OK: 40}), reading(20, {OK: 50})])
    assert found.finished_per_second == 10 / 20


@given(st.lists(st.integers(0, 10_000), min_size=2, max_size=20))
def test_no_rate_is_negative_or_more_than_was_ever_counted(values: list[int]) -> None:
    found = throughput([reading(at, {OK: value}) for at, value in enumerate(values)])
    assert found.finished_per_second is not None
    assert 0 <= found.finished_per_second * (len(values) - 1) <= sum(values)


def test_quantiles_are_of_the_window_only() -> None:
    found = throughput([reading(0, run_time=durations(50, 0, 0, 0)), reading(10, run_time=durations(50, 10, 0, 0))])
    assert found.run_time.p50 == pytest.approx(0.55)
    assert found.run_time.p95 == pytest.approx(0.955)


def test_the_first_times_of_a_model_count_without_earlier_buckets() -> None:
    found = throughput([reading(0, run_time=HistogramSnapshot()), reading(10, run_time=durations(50, 10, 0, 0))])
    assert found.run_time.p50 == throughput([reading(0), reading(10, run_time=durations(50, 10, 0, 0))]).run_time.p50
    assert found.run_time.p50 is not None


def test_a_histogram_that_began_anew_or_has_other_buckets_starts_over() -> None:
    fell = [reading(0, run_time=durations(9, 9, 0, 0)), reading(1, run_time=durations(1, 0, 0, 0))]
    assert throughput(fell).run_time == Quantiles()
    other = [
        *fell,
        reading(2, run_time=durations(0, 5, bounds=(2.0,))),
        reading(3, run_time=durations(4, 5, bounds=(2.0,))),
    ]
    assert throughput(other).run_time.p50 == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("share", "counts", "seconds"),
    [
        pytest.param(0.5, (0, 0, 0, 0), None, id="nothing"),
        pytest.param(0.5, (10, 0, 0, 0), 0.05, id="half of the first bucket"),
        pytest.param(0.5, (10, 10, 0, 0), 0.1, id="all of the first bucket"),
        pytest.param(0.95, (0, 0, 0, 7), 10.0, id="beyond the last bound"),
        pytest.param(1.0, (1, 0, 1, 0), 10.0, id="the end of a bucket after an empty one"),
        pytest.param(0.0, (0, 4, 0, 0), 0.1, id="the start of the first bucket with anything in it"),
    ],
)
def test_quantiles_as_prometheus_would_say(share: float, counts: tuple[int, ...], seconds: float | None) -> None:
    assert quantile(share, BOUNDS, counts) == (None if seconds is None else pytest.approx(seconds))


def test_without_buckets_there_is_no_quantile() -> None:
    assert quantile(0.5, (), (7,)) is None


def test_rates_cover_the_window_and_no_more() -> None:
    rates = SampleWindow()
    for at in range(0, 101, 2):
        rates.add({NAME: reading(at, {OK: 10 if at else 0})})  # all at once, long ago
        found = rates.throughput(NAME)
        assert found is not None
        assert bool(found.finished_per_second) == (2 <= at <= WINDOW)


def test_failures_are_summed_over_falls_and_beyond_the_window() -> None:
    rates = SampleWindow()
    for at, count in enumerate([5, 8, 0, 1, 2]):
        rates.add({NAME: reading(at * 100, {FAILED: count})})
    assert rates.failed(NAME) == 3 + 1 + 1


def test_the_same_sample_twice_counts_once() -> None:
    rates = SampleWindow()
    for at in (0, 10, 10):
        rates.add({NAME: reading(at, {FAILED: at})})
    found = rates.throughput(NAME)
    assert found is not None
    assert (found.failed_per_second, rates.failed(NAME)) == (1.0, 10)


def test_a_clock_that_was_set_back_starts_over() -> None:
    rates = SampleWindow()
    for at in (1000, 1010, 50):
        rates.add({NAME: reading(at, {OK: at})})
    found = rates.throughput(NAME)
    assert found is not None
    assert found.finished_per_second is None


def test_a_model_that_is_left_out_is_forgotten() -> None:
    rates = SampleWindow()
    rates.add({NAME: reading(0, {FAILED: 1})})
    rates.add({NAME: reading(1, {FAILED: 2})})
    rates.add({})
    assert (rates.throughput(NAME), rates.failed(NAME)) == (None, 0)
