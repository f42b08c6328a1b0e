"""The quarter of an hour that the gateway remembers."""

from __future__ import annotations

import msgspec

from hub.gateway.dashboard.timeseries import COLUMNS, KEPT, MAX_MODELS, PERIOD, TimeSeries
from hub.gateway.schemas import ModelOverview, OverviewBody, OverviewQueue, QuantilesBody, StatesBody, WorkBody, moment


def model(name: str, *, live: int = 1, ready: int | None = 0) -> ModelOverview:
    nothing = QuantilesBody(p50=None, p95=None)
    return ModelOverview(
        name=name,
        active=live > 0,
        live=live,
        instances=live,
        states=StatesBody(live=live, not_consuming=0, suspect=0),
        fingerprint="f",
        request="Request",
        response="Response",
        queue=None
        if ready is None
        else OverviewQueue(ready=ready, consumers=live, dead=0, unacked=0, oldest_seconds=0.25),
        work=WorkBody(in_flight=0, finished_per_second=1.5, failed_per_second=0.0, failed=0, run=nothing, wait=nothing),
    )


def sample(at: float, *models: ModelOverview) -> OverviewBody:
    return OverviewBody(at=moment(at), registry=True, broker=True, figures=True, models=models)


def test_columns_are_as_long_as_the_times_and_null_where_there_was_nothing() -> None:
    history = TimeSeries()
    history.add(sample(0, model("A", ready=3)))
    history.add(sample(2, model("A", ready=None), model("B", ready=7)))
    history.add(sample(4, model("B", ready=8)))
    body = history.body()
    a, b = body.models
    assert body.times == (0.0, 2.0, 4.0)
    assert (a.name, a.ready, a.live) == ("A", (3, None, None), (1, 1, None))
    assert (b.name, b.ready, b.oldest) == ("B", (None, 7, 8), (None, 0.25, 0.25))
    assert b.finished == (None, 1.5, 1.5)
    assert b.run == (None, None, None)


def test_a_sample_that_comes_soon_takes_the_place_of_the_one_before() -> None:
    history = TimeSeries()
    for at, ready in ((0.0, 1), (2.0, 2), (2.3, 3), (4.0, 4)):
        history.add(sample(at, model("A", ready=ready)))
    body = history.body()
    assert (body.times, body.models[0].ready) == ((0.0, 2.3, 4.0), (1, 3, 4))


def test_it_is_bounded_and_a_model_of_long_ago_makes_room() -> None:
    history = TimeSeries()
    history.add(sample(0, model("Old"), model("A")))
    for number in range(1, KEPT + 10):
        history.add(sample(number * PERIOD, model("A", ready=number)))
    body = history.body()
    assert [found.name for found in body.models] == ["A"]
    assert len(body.times) == len(body.models[0].ready) == KEPT
    assert body.models[0].ready[-1] == KEPT + 9
    assert body.times[-1] - body.times[0] == (KEPT - 1) * PERIOD


def test_fifty_models_take_less_than_two_megabytes_and_are_sent_in_less_than_one() -> None:
    history = TimeSeries()
    names = [f"Model{number}" for number in range(50)]
    for number in range(KEPT):
        history.add(sample(number * PERIOD, *(model(name, ready=number) for name in names)))
    statistics = history.statistics()
    assert (statistics.samples, statistics.models) == (KEPT, 50)
    assert statistics.size == 8 * KEPT * (50 * len(COLUMNS) + 1)
    assert statistics.size < 2_000_000
    assert len(msgspec.json.encode(history.body())) < 1_000_000


def test_no_more_models_than_the_limit_have_a_history() -> None:
    history = TimeSeries()
    history.add(sample(0, *(model(f"M{number}") for number in range(MAX_MODELS + 3))))
    assert history.statistics().models == MAX_MODELS
