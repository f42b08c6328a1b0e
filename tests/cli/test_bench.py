"""What `hub bench` counts and prints, and arguments that cannot work."""

from __future__ import annotations

import json

import pytest

from hub.cli.app import main
from hub.cli.client.bench import print_report
from hub.cli.client.measurement import Measurement


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        pytest.param(["--rate", "0"], "--rate is 0", id="rate"),
        pytest.param(["--concurrency", "-1"], "--concurrency is -1", id="concurrency"),
        pytest.param(["--duration", "inf"], "--duration is inf", id="duration"),
        pytest.param(["--warm-up", "-1"], "--warm-up is -1", id="warm-up"),
        pytest.param(["--file", "nothing.ndjson"], "'nothing.ndjson' cannot be used", id="file"),
    ],
)
def test_an_argument_of_a_bench_that_cannot_work_is_refused_with_the_reason(
    arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(["bench", "Echo", *arguments])

    assert end.value.code == 2
    assert reason in capsys.readouterr().err


def test_latencies_are_those_of_each_outcome() -> None:
    measurement = Measurement()
    for number in range(1, 101):
        measurement.note("succeeded", number / 1000, f"task {number}")
    measurement.note("queue_full", 0.5)

    report = measurement.report("Echo", rate=10.0, concurrency=4, seconds=10.0)

    succeeded, refused = report.outcomes
    assert (succeeded.outcome, succeeded.calls, succeeded.rate) == ("succeeded", 100, 10.0)
    assert [round(each) for each in (succeeded.p50, succeeded.p90, succeeded.p99, succeeded.max)] == [51, 91, 100, 100]
    assert (refused.outcome, refused.calls, refused.p50) == ("queue_full", 1, 500.0)
    assert (report.calls, report.answered_twice, report.good) == (101, 0, False)


def test_an_answer_of_a_task_that_has_answered_before_is_counted() -> None:
    measurement = Measurement()
    measurement.note("succeeded", 0.1, "a")
    measurement.note("succeeded", 0.1, "b")
    assert measurement.report("Echo", rate=None, concurrency=1, seconds=1.0).good

    measurement.note("succeeded", 0.1, "a")

    report = measurement.report("Echo", rate=None, concurrency=1, seconds=1.0)
    assert (report.answered_twice, report.good) == (1, False)


def test_a_report_without_a_call_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    print_report(Measurement().report("Echo", rate=None, concurrency=1, seconds=0.0), json_wanted=True)

    assert json.loads(capsys.readouterr().out)["outcomes"] == []
