"""What instances say of their work, added up: plain numbers, no I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate

import pytest
from hypothesis import given, strategies as st

from hub.registry.core import stats_aggregator as totals_module
from hub.registry.core.stats_aggregator import StatsAggregator
from hub.stats import Durations, InstanceStats
from hub.types import InstanceId, ModelName, TaskState, new_instance_id
from tests.registry.support import MODEL

ENDED = [state for state in TaskState if state.terminal]


def times(*counts: int, bounds: Sequence[float] = (1.0, 2.0), seconds: float | None = None) -> Durations:
    return Durations(bounds=tuple(bounds), counts=counts, seconds=float(sum(counts)) if seconds is None else seconds)


def load(done: int, **changes: object) -> InstanceStats:
    made = InstanceStats(outcomes={TaskState.SUCCEEDED: done}, waited=times(done, 0, 0), ran=times(0, 0, done))
    return replace(made, **changes)  # type: ignore[arg-type]  # fields by name


def succeeded(totals: StatsAggregator, model: ModelName = MODEL) -> int:
    return totals.of(model).outcomes[TaskState.SUCCEEDED]


def test_a_model_of_which_nobody_has_said_anything_has_done_nothing() -> None:
    nothing = StatsAggregator().of(MODEL)
    assert nothing.outcomes == dict.fromkeys(ENDED, 0)
    assert (nothing.waited, nothing.ran, nothing.newest) == (Durations(), Durations(), None)


def test_instances_of_a_model_are_added_up_and_other_models_are_not() -> None:
    totals = StatsAggregator()
    for model, done in ((MODEL, 2), (MODEL, 3), (ModelName("Digits"), 10)):
        totals.take(model, new_instance_id(), load(done, newest=float(done)))
    assert totals.of(MODEL).outcomes == {**dict.fromkeys(ENDED, 0), TaskState.SUCCEEDED: 5}
    assert totals.of(MODEL).waited == times(5, 0, 0)
    assert totals.of(MODEL).ran == times(0, 0, 5)
    assert totals.of(MODEL).newest == 3.0


def test_an_instance_counts_once_however_often_it_says_so() -> None:
    totals, one = StatsAggregator(), new_instance_id()
    for done in (1, 1, 4, 4):
        totals.take(MODEL, one, load(done))
    assert succeeded(totals) == 4
    assert totals.of(MODEL).ran == times(0, 0, 4)


def test_an_instance_that_was_away_and_comes_back_is_not_counted_twice() -> None:
    totals, one = StatsAggregator(), new_instance_id()
    totals.take(MODEL, one, load(5))
    totals.take(MODEL, new_instance_id(), load(1))
    totals.take(MODEL, one, load(6))
    assert succeeded(totals) == 7


@pytest.mark.parametrize(
    "after",
    [
        pytest.param(load(2), id="everything is less"),
        pytest.param(load(5, outcomes={TaskState.SUCCEEDED: 2}), id="an outcome"),
        pytest.param(load(5, waited=times(2, 0, 0)), id="a wait"),
        pytest.param(load(5, ran=times(0, 5, 0)), id="a run"),
        pytest.param(load(5, ran=times(0, 0, 5, seconds=1.0)), id="seconds"),
        pytest.param(load(5, ran=times(0, 0, 5, bounds=(1.0, 3.0))), id="other bounds"),
    ],
)
def test_a_load_that_goes_back_is_that_of_another_start(after: InstanceStats) -> None:
    totals, one = StatsAggregator(), new_instance_id()
    totals.take(MODEL, one, load(5))
    totals.take(MODEL, one, after)
    assert succeeded(totals) == 5 + after.outcomes[TaskState.SUCCEEDED]
    assert sum(totals.of(MODEL).waited.counts) == 5 + sum(after.waited.counts)
    assert sum(totals.of(MODEL).ran.counts) == 5 + sum(after.ran.counts)


def test_other_buckets_leave_the_bounds_that_both_have() -> None:
    totals = StatsAggregator()
    totals.take(MODEL, new_instance_id(), load(0, waited=times(1, 2, 4, 8, bounds=(1, 2, 3))))
    totals.take(MODEL, new_instance_id(), load(0, waited=times(16, 32, 64, 128, bounds=(0.5, 2, 2.5))))
    assert totals.of(MODEL).waited == times(1 + 2 + 16 + 32, 4 + 8 + 64 + 128, bounds=(2,))
    totals.take(MODEL, new_instance_id(), load(0, waited=times(1, 1, bounds=(7,))))
    assert totals.of(MODEL).waited == times(257, bounds=())


def test_buckets_without_a_time_cost_no_detail() -> None:
    totals = StatsAggregator()
    for waited in (Durations(), times(1, 1, 1), times(0, 0, bounds=(7,)), Durations()):
        totals.take(MODEL, new_instance_id(), load(0, waited=waited))
    assert totals.of(MODEL).waited == times(1, 1, 1)


def test_the_instance_that_was_silent_for_longest_is_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(totals_module, "MAX_INSTANCES", 2)
    totals = StatsAggregator()
    one, two, three = new_instance_id(), new_instance_id(), new_instance_id()
    for instance in (one, two, one, three):  # `two` goes
        totals.take(MODEL, instance, load(1))
    totals.take(MODEL, one, load(1))
    assert succeeded(totals) == 3
    totals.take(MODEL, two, load(1))
    assert succeeded(totals) == 4


counts = st.integers(min_value=0, max_value=5)
bounds = st.sets(st.sampled_from([0.5, 1.0, 2.0, 4.0]), max_size=4).map(sorted).map(tuple)


@st.composite
def said(draw: st.DrawFn) -> tuple[InstanceId, InstanceStats]:
    def drawn() -> Durations:
        at = draw(bounds)
        return times(*draw(st.lists(counts, min_size=len(at) + 1, max_size=len(at) + 1)), bounds=at)

    outcomes = draw(st.dictionaries(st.sampled_from(ENDED), counts))
    newest = draw(st.none() | st.floats(min_value=0, max_value=10))
    instance = draw(st.sampled_from([InstanceId("a"), InstanceId("b")]))
    return instance, InstanceStats(outcomes=outcomes, waited=drawn(), ran=drawn(), newest=newest)


def below(durations: Durations, bound: float) -> int:
    return dict(zip(durations.bounds, accumulate(durations.counts), strict=False))[bound]


@given(st.lists(said(), max_size=20))
def test_whatever_instances_say_totals_only_rise(sayings: list[tuple[InstanceId, InstanceStats]]) -> None:
    totals = StatsAggregator()
    before = totals.of(MODEL)
    for instance, each in sayings:
        totals.take(MODEL, instance, each)
        after = totals.of(MODEL)
        assert all(after.outcomes[state] >= before.outcomes[state] for state in ENDED)
        assert (after.newest or 0.0) >= (before.newest or 0.0)
        for earlier, later in ((before.waited, after.waited), (before.ran, after.ran)):
            assert sum(later.counts) >= sum(earlier.counts)
            assert later.seconds >= earlier.seconds
            assert len(later.counts) == len(later.bounds) + 1
            for bound in set(later.bounds) & set(earlier.bounds):
                assert below(later, bound) >= below(earlier, bound)
        before = after
