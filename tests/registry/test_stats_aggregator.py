"""Totals of the statistics of instances. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate

import pytest
from hypothesis import given, strategies as st

from hub.histogram import HistogramSnapshot
from hub.registry.core import stats_aggregator as totals_module
from hub.registry.core.stats_aggregator import StatsAggregator
from hub.stats import InstanceStats
from hub.types import InstanceId, ModelName, TaskState, new_instance_id
from tests.registry.helpers import MODEL

ENDED = [state for state in TaskState if state.terminal]


def times(*counts: int, bounds: Sequence[float] = (1.0, 2.0), total: float | None = None) -> HistogramSnapshot:
    return HistogramSnapshot(bounds=tuple(bounds), counts=counts, sum=float(sum(counts)) if total is None else total)


def load(done: int, **changes: object) -> InstanceStats:
    made = InstanceStats(outcomes={TaskState.SUCCEEDED: done}, queue_time=times(done, 0, 0), run_time=times(0, 0, done))
    return replace(made, **changes)  # type: ignore[arg-type]  # fields by name


def succeeded(aggregator: StatsAggregator, model: ModelName = MODEL) -> int:
    return aggregator.totals(model).outcomes[TaskState.SUCCEEDED]


def test_totals_of_a_model_without_reports_are_0() -> None:
    nothing = StatsAggregator().totals(MODEL)
    assert nothing.outcomes == dict.fromkeys(ENDED, 0)
    assert (nothing.queue_time, nothing.run_time, nothing.newest_task_created_at) == (
        HistogramSnapshot(),
        HistogramSnapshot(),
        None,
    )


def test_instances_of_a_model_are_added_up_and_other_models_are_not() -> None:
    aggregator = StatsAggregator()
    for model, done in ((MODEL, 2), (MODEL, 3), (ModelName("Digits"), 10)):
        aggregator.add(model, new_instance_id(), load(done, newest_task_created_at=float(done)))
    assert aggregator.totals(MODEL).outcomes == {**dict.fromkeys(ENDED, 0), TaskState.SUCCEEDED: 5}
    assert aggregator.totals(MODEL).queue_time == times(5, 0, 0)
    assert aggregator.totals(MODEL).run_time == times(0, 0, 5)
    assert aggregator.totals(MODEL).newest_task_created_at == 3.0


def test_repeated_reports_count_once() -> None:
    aggregator, one = StatsAggregator(), new_instance_id()
    for done in (1, 1, 4, 4):
        aggregator.add(MODEL, one, load(done))
    assert succeeded(aggregator) == 4
    assert aggregator.totals(MODEL).run_time == times(0, 0, 4)


def test_an_instance_that_was_away_and_comes_back_is_not_counted_twice() -> None:
    aggregator, one = StatsAggregator(), new_instance_id()
    aggregator.add(MODEL, one, load(5))
    aggregator.add(MODEL, new_instance_id(), load(1))
    aggregator.add(MODEL, one, load(6))
    assert succeeded(aggregator) == 7


@pytest.mark.parametrize(
    "after",
    [
        pytest.param(load(2), id="everything is less"),
        pytest.param(load(5, outcomes={TaskState.SUCCEEDED: 2}), id="an outcome"),
        pytest.param(load(5, queue_time=times(2, 0, 0)), id="a wait"),
        pytest.param(load(5, run_time=times(0, 5, 0)), id="a run"),
        pytest.param(load(5, run_time=times(0, 0, 5, total=1.0)), id="sum"),
        pytest.param(load(5, run_time=times(0, 0, 5, bounds=(1.0, 3.0))), id="other bounds"),
    ],
)
def test_a_report_with_lower_counts_is_that_of_a_restart(after: InstanceStats) -> None:
    aggregator, one = StatsAggregator(), new_instance_id()
    aggregator.add(MODEL, one, load(5))
    aggregator.add(MODEL, one, after)
    assert succeeded(aggregator) == 5 + after.outcomes[TaskState.SUCCEEDED]
    assert sum(aggregator.totals(MODEL).queue_time.counts) == 5 + sum(after.queue_time.counts)
    assert sum(aggregator.totals(MODEL).run_time.counts) == 5 + sum(after.run_time.counts)


def test_other_buckets_leave_the_bounds_that_both_have() -> None:
    aggregator = StatsAggregator()
    aggregator.add(MODEL, new_instance_id(), load(0, queue_time=times(1, 2, 4, 8, bounds=(1, 2, 3))))
    aggregator.add(MODEL, new_instance_id(), load(0, queue_time=times(16, 32, 64, 128, bounds=(0.5, 2, 2.5))))
    assert aggregator.totals(MODEL).queue_time == times(1 + 2 + 16 + 32, 4 + 8 + 64 + 128, bounds=(2,))
    aggregator.add(MODEL, new_instance_id(), load(0, queue_time=times(1, 1, bounds=(7,))))
    assert aggregator.totals(MODEL).queue_time == times(257, bounds=())


def test_empty_histograms_do_not_remove_bounds() -> None:
    aggregator = StatsAggregator()
    for waited in (HistogramSnapshot(), times(1, 1, 1), times(0, 0, bounds=(7,)), HistogramSnapshot()):
        aggregator.add(MODEL, new_instance_id(), load(0, queue_time=waited))
    assert aggregator.totals(MODEL).queue_time == times(1, 1, 1)


def test_the_instance_that_has_not_reported_for_longest_is_dropped_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(totals_module, "MAX_INSTANCES", 2)
    aggregator = StatsAggregator()
    one, two, three = new_instance_id(), new_instance_id(), new_instance_id()
    for instance in (one, two, one, three):  # `two` goes
        aggregator.add(MODEL, instance, load(1))
    aggregator.add(MODEL, one, load(1))
    assert succeeded(aggregator) == 3
    aggregator.add(MODEL, two, load(1))
    assert succeeded(aggregator) == 4


counts = st.integers(min_value=0, max_value=5)
bounds = st.sets(st.sampled_from([0.5, 1.0, 2.0, 4.0]), max_size=4).map(sorted).map(tuple)


@st.composite
def said(draw: st.DrawFn) -> tuple[InstanceId, InstanceStats]:
    def drawn() -> HistogramSnapshot:
        at = draw(bounds)
        return times(*draw(st.lists(counts, min_size=len(at) + 1, max_size=len(at) + 1)), bounds=at)

    outcomes = draw(st.dictionaries(st.sampled_from(ENDED), counts))
    newest = draw(st.none() | st.floats(min_value=0, max_value=10))
    instance = draw(st.sampled_from([InstanceId("a"), InstanceId("b")]))
    return instance, InstanceStats(
        outcomes=outcomes, queue_time=drawn(), run_time=drawn(), newest_task_created_at=newest
    )


def below(durations: HistogramSnapshot, bound: float) -> int:
    return dict(zip(durations.bounds, accumulate(durations.counts), strict=False))[bound]


@given(st.lists(said(), max_size=20))
def test_totals_only_rise(sayings: list[tuple[InstanceId, InstanceStats]]) -> None:
    aggregator = StatsAggregator()
    before = aggregator.totals(MODEL)
    for instance, each in sayings:
        aggregator.add(MODEL, instance, each)
        after = aggregator.totals(MODEL)
        assert all(after.outcomes[state] >= before.outcomes[state] for state in ENDED)
        assert (after.newest_task_created_at or 0.0) >= (before.newest_task_created_at or 0.0)
        for earlier, later in ((before.queue_time, after.queue_time), (before.run_time, after.run_time)):
            assert sum(later.counts) >= sum(earlier.counts)
            assert later.sum >= earlier.sum
            assert len(later.counts) == len(later.bounds) + 1
            for bound in set(later.bounds) & set(earlier.bounds):
                assert below(later, bound) >= below(earlier, bound)
        before = after
