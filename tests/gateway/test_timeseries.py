"""The time series of the overview."""

from __future__ import annotations

from typing import Any

import msgspec

from hub.gateway.dashboard.sampler import MAX_MODELS, MAX_SAMPLES, PERIOD, SERIES, TimeSeries
from hub.gateway.schemas import (
    InstanceCountsBody,
    ModelOverviewBody,
    OverviewBody,
    OverviewTotalsBody,
    QuantilesBody,
    QueueOverviewBody,
    ThroughputBody,
    moment,
)


def model(name: str, *, live: int = 1, ready: int | None = 0) -> ModelOverviewBody:
    nothing = QuantilesBody(p50=None, p95=None)
    return ModelOverviewBody(
        name=name,
        active=live > 0,
        live=live,
        instances=live,
        states=InstanceCountsBody(live=live, not_consuming=0, suspect=0),
        fingerprint="f",
        request="Request",
        response="Response",
        queue=None
        if ready is None
        else QueueOverviewBody(ready=ready, consumers=live, dead=0, unacked=0, oldest_seconds=0.25),
        work=ThroughputBody(
            in_flight=0, finished_per_second=1.5, failed_per_second=0.0, failed=0, run=nothing, wait=nothing
        ),
    )


async def decoded(history: TimeSeries) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(await history.encode())
    return found


def sample(at: float, *models: ModelOverviewBody) -> OverviewBody:
    totals = OverviewTotalsBody.of(models)
    return OverviewBody(at=moment(at), registry=True, broker=True, figures=True, models=models, totals=totals)


async def test_columns_are_as_long_as_the_times_and_null_where_there_was_no_value() -> None:
    history = TimeSeries()
    history.add(sample(0, model("A", ready=3)))
    history.add(sample(2, model("A", ready=None), model("B", ready=7)))
    history.add(sample(4, model("B", ready=8)))
    body = await decoded(history)
    a, b = body["models"]
    assert body["times"] == [0.0, 2.0, 4.0]
    assert (a["name"], a["ready"], a["live"]) == ("A", [3, None, None], [1, 1, None])
    assert (b["name"], b["ready"], b["oldest"]) == ("B", [None, 7, 8], [None, 0.25, 0.25])
    assert b["finished"] == [None, 1.5, 1.5]
    assert b["run"] == [None, None, None]
    assert body["totals"] == {"active": [1, 2, 1], "failed": [0, 0, 0]}


async def test_a_sample_that_follows_soon_replaces_the_last_one() -> None:
    history = TimeSeries()
    for at, ready in ((0.0, 1), (2.0, 2), (2.3, 3), (4.0, 4)):
        history.add(sample(at, model("A", ready=ready)))
    body = await decoded(history)
    assert (body["times"], body["models"][0]["ready"]) == ([0.0, 2.3, 4.0], [1, 3, 4])


async def test_the_series_are_bounded_and_models_without_values_are_dropped() -> None:
    history = TimeSeries()
    history.add(sample(0, model("Old"), model("A")))
    for number in range(1, MAX_SAMPLES + 10):
        history.add(sample(number * PERIOD, model("A", ready=number)))
    body = await decoded(history)
    assert [found["name"] for found in body["models"]] == ["A"]
    assert len(body["times"]) == len(body["models"][0]["ready"]) == MAX_SAMPLES
    assert body["models"][0]["ready"][-1] == MAX_SAMPLES + 9
    assert body["times"][-1] - body["times"][0] == (MAX_SAMPLES - 1) * PERIOD


async def test_fifty_models_take_less_than_two_megabytes_and_are_sent_in_less_than_one() -> None:
    history = TimeSeries()
    names = [f"Model{number}" for number in range(50)]
    for number in range(MAX_SAMPLES):
        history.add(sample(number * PERIOD, *(model(name, ready=number) for name in names)))
    statistics = history.statistics()
    assert (statistics.samples, statistics.models) == (MAX_SAMPLES, 50)
    assert statistics.size == 8 * MAX_SAMPLES * (50 * len(SERIES) + 3)
    assert statistics.size < 2_000_000
    assert len(await history.encode()) < 1_000_000


def test_no_more_models_than_the_limit_have_a_history() -> None:
    history = TimeSeries()
    history.add(sample(0, *(model(f"M{number}") for number in range(MAX_MODELS + 3))))
    assert history.statistics().models == MAX_MODELS


async def test_a_part_has_the_series_of_the_models_that_were_asked_for_and_the_totals_of_all() -> None:
    history = TimeSeries()
    history.add(sample(0, model("A"), model("B"), model("C")))
    part = history.part(["C", "None", "A"])
    history.add(sample(2, model("A"), model("B"), model("C")))  # the copy stays as it is
    body = await decoded(part)
    assert [(found["name"], found["live"]) for found in body["models"]] == [("A", [1]), ("C", [1])]
    assert body["totals"]["active"] == [3]
