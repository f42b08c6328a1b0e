"""The checker finds every kind of broken promise: each test breaks one in a history in which all were kept."""

from __future__ import annotations

import dataclasses
import json
from math import inf

import pytest

from tests.chaos.checker import Evidence, check
from tests.chaos.faults import STORE, Fault
from tests.chaos.history import FinalState, History, TaskHistory, TaskView
from tests.chaos.journal import Run
from tests.chaos.plan import STREAM, Job, Kind
from tests.chaos.stream import CHUNKS, chunk


def view(state: str, content: object, *, attempt: int = 1, finished_at: float = 10.5) -> TaskView:
    return TaskView(state=state, attempt=attempt, created_at=10.0, finished_at=finished_at, content=json.dumps(content))


def entry(number: int, job: Job, outcome: TaskView, **more: float) -> TaskHistory:
    ids = [f"task-{number}"]
    return TaskHistory(job=job, ids=ids, accepted_at=10.1, first=outcome, last=outcome, **more)  # type: ignore[arg-type]


def job(number: int, kind: Kind = Kind.WORK, *, timeout: float | None = None, cancel_after: float | None = None) -> Job:
    return Job(
        key=f"{number}", kind=kind, milliseconds=5, text=f"t{number}", timeout=timeout, cancel_after=cancel_after
    )


def ran(number: int, *, attempt: int = 1, began: float = 10.2, ended: float = 10.5) -> Run:
    return Run(task=f"task-{number}", attempt=attempt, process=1, began=began, ended=ended)


def history(*faults: Fault) -> Evidence:
    """Six tasks, one for each terminal state, and one that was run twice; no promise is broken."""
    raised = {"code": "model_error", "message": "t2"}
    exhausted = {"code": "attempts_exhausted", "message": ""}
    entries = [
        entry(1, job(1), view("succeeded", {"reply": "t1"})),
        entry(2, job(2, Kind.RAISE), view("failed", raised)),
        entry(3, job(3, cancel_after=0.1), view("cancelled", {"code": "cancelled"}), cancelled_at=10.4),
        entry(4, job(4, timeout=1.0), view("expired", {"code": "deadline_exceeded"})),
        entry(5, job(5, Kind.POISON), view("dead", exhausted, attempt=5)),
        entry(6, job(6), view("succeeded", {"reply": "t6"}, attempt=2)),
    ]
    runs = [ran(1), ran(2), ran(3), ran(4, ended=11.3), *(ran(5, attempt=n) for n in range(1, 6))]
    return Evidence(
        history=History(entries=entries),
        runs=[*runs, ran(6), ran(6, attempt=2)],
        faults=faults,
        final_state=FinalState(ready=0, unacked=0, dead_letters=1, running=4, live=4),
        unexpected_exits=[],
        killed=1,
        poisoned=5,
        seconds=2.0,
    )


def broken(evidence: Evidence) -> list[str]:
    return [promise for promise, found in check(evidence).broken.items() if found]


def test_a_history_without_broken_promises_passes() -> None:
    result = check(history())

    assert result.passed
    assert result.counts["runs above one per task"] == 5
    assert result.counts["tasks run more than once"] == 2
    assert result.counts["succeeded"] == 2


@pytest.mark.parametrize(
    ("number", "change", "promise"),
    [
        pytest.param(1, {"last": None}, "lost", id="no outcome"),
        pytest.param(1, {"ids": []}, "never accepted", id="no id"),
        pytest.param(1, {"missing": 1}, "accepted, then unknown", id="404"),
        pytest.param(1, {"ids": ["task-1", "other"]}, "one key, several ids", id="two ids"),
        pytest.param(1, {"first": view("failed", {})}, "outcomes that changed", id="another state"),
        pytest.param(1, {"first": view("succeeded", {"reply": "t0"})}, "outcomes that changed", id="another result"),
        pytest.param(
            1,
            {"first": view("succeeded", {"reply": "t1"}, finished_at=9.0)},
            "outcomes that changed",
            id="another time",
        ),
        pytest.param(1, {"cancelled_at": 11.0}, "outcomes that changed", id="the DELETE said cancelled"),
        pytest.param(1, {"job": job(0)}, "wrong outcomes", id="another task's result"),
        pytest.param(2, {"job": job(2)}, "wrong outcomes", id="failed for no reason"),
        pytest.param(2, {"job": job(0, Kind.RAISE)}, "wrong outcomes", id="another task's failure"),
        pytest.param(3, {"job": job(3)}, "wrong outcomes", id="cancelled without a request"),
        pytest.param(4, {"job": job(4)}, "wrong outcomes", id="expired without a deadline"),
        pytest.param(1, {"job": job(1, Kind.POISON)}, "wrong outcomes", id="poison that succeeded"),
    ],
)
def test_an_entry_that_breaks_a_promise_is_found(number: int, change: dict[str, object], promise: str) -> None:
    evidence = history()
    wrong = evidence.history.entries[number - 1]
    for name, value in change.items():
        setattr(wrong, name, value)

    assert promise in broken(evidence)


@pytest.mark.parametrize(
    "outcome",
    [
        pytest.param(view("dead", {"code": "attempts_exhausted"}, attempt=4), id="after four attempts"),
        pytest.param(view("dead", {"code": "wrong_contract"}, attempt=5), id="for another reason"),
    ],
)
def test_a_dead_task_with_attempts_left_is_found(outcome: TaskView) -> None:
    evidence = history()
    evidence.history.entries[4].first = evidence.history.entries[4].last = outcome

    assert broken(evidence) == ["wrong outcomes"]


@pytest.mark.parametrize(
    "run",
    [
        pytest.param(ran(3, ended=11.5), id="went on"),
        pytest.param(ran(3, ended=inf), id="never ended"),
        pytest.param(ran(3, attempt=2, began=20.0, ended=20.1), id="began again"),
    ],
)
def test_a_run_that_outlives_the_cancellation_of_its_task_by_a_second_is_found(run: Run) -> None:
    evidence = history()

    assert broken(dataclasses.replace(evidence, runs=[*evidence.runs, run])) == ["running 1 s after their cancellation"]


def test_a_late_cancellation_is_excused_while_redis_was_away_and_shortly_after() -> None:
    evidence = history(Fault(name="redis killed", began=10.9, returned=14.0))

    excused = check(dataclasses.replace(evidence, runs=[*evidence.runs, ran(3, ended=16.0)]))
    too_late = check(dataclasses.replace(evidence, runs=[*evidence.runs, ran(3, ended=18.0)]))

    assert excused.passed
    assert excused.counts["cancellations that Redis kept waiting"] == 1
    assert not too_late.passed


def test_a_run_that_outlives_its_deadline_by_a_second_is_found() -> None:
    evidence = history()

    assert broken(dataclasses.replace(evidence, runs=[*evidence.runs, ran(4, ended=12.1)])) == [
        "running 1 s after their deadline"
    ]


@pytest.mark.parametrize(
    ("change", "promise"),
    [
        pytest.param({"runs": [ran(7)]}, "runs of tasks that were never accepted", id="a run of an unknown task"),
        pytest.param({"unexpected_exits": ["it ended"]}, "processes that ended by themselves", id="an unexpected exit"),
        *(
            pytest.param(
                {"final_state": dataclasses.replace(history().final_state, **{name: number})}, promise, id=name
            )
            for name, number, promise in (
                ("ready", 1, "messages left behind"),
                ("unacked", 1, "messages left behind"),
                ("dead_letters", 0, "dead without a dead letter"),
                ("live", 3, "instances not live in the end"),
                ("live", 5, "instances not live in the end"),
            )
        ),
    ],
)
def test_a_wrong_final_state_is_found(change: dict[str, object], promise: str) -> None:
    assert broken(dataclasses.replace(history(), **change)) == [promise]  # type: ignore[arg-type]


def test_an_unexpected_answer_is_found() -> None:
    evidence = history()
    evidence.history.unexpected_answers.append("500")

    assert broken(evidence) == ["answers that should never be"]


def test_recovery_is_measured_by_runs_that_began_after_the_fault() -> None:
    evidence = history(Fault(name="broker frozen", began=5.0, returned=10.15))
    still_running = ran(1, began=9.0, ended=10.16)

    (recovery,) = check(dataclasses.replace(evidence, runs=[still_running, ran(2, began=10.3, ended=10.9)])).recoveries

    assert recovery.finished == pytest.approx(0.75)
    assert recovery.accepted is None


def child(*, ended: float) -> Run:
    return Run(task="task-3/below", attempt=1, process=1, began=10.2, ended=ended)


@pytest.mark.parametrize(("ended", "found"), [(11.4, []), (11.6, ["children running 1 s after their parent's end"])])
def test_a_child_that_outlives_its_parent_is_found(ended: float, found: list[str]) -> None:
    kept = history()

    assert broken(dataclasses.replace(kept, runs=[*kept.runs, child(ended=ended)])) == found


def test_a_child_may_outlive_its_parent_while_redis_is_away() -> None:
    kept = history(Fault(name=f"{STORE} frozen", began=10.4, returned=14.0))

    assert broken(dataclasses.replace(kept, runs=[*kept.runs, child(ended=16.9)])) == []


@pytest.mark.parametrize(("timeout", "found"), [(1.0, []), (None, ["wrong outcomes"])])
def test_a_task_that_calls_others_may_fail_only_when_its_retry_would_be_too_late(
    timeout: float | None, found: list[str]
) -> None:
    kept = history()
    tree = dataclasses.replace(job(7, timeout=timeout), model="TreeA")
    failed = entry(7, tree, view("failed", {"code": "model_unavailable", "message": "none is alive"}))

    assert broken(dataclasses.replace(kept, history=History(entries=[*kept.history.entries, failed]))) == found


def stream(*, ended: float, chunks: int = CHUNKS) -> Evidence:
    kept = history()
    last = TaskView(state="succeeded", attempt=2, created_at=10.0, finished_at=11.0, content="null")
    entry = TaskHistory(job=Job(key="s", kind=Kind.WORK, milliseconds=1, text="s", model=STREAM), ids=["stream"])
    entry.first = entry.last = last
    entry.chunks = [chunk(2, number) for number in range(chunks)]
    kept.history.entries.append(entry)
    run = Run(task="stream", attempt=2, process=1, began=10.1, ended=ended)
    return dataclasses.replace(kept, runs=[*kept.runs, run])


@pytest.mark.parametrize(("ended", "found"), [(11.9, []), (12.1, ["generators running 1 s after their task's end"])])
def test_a_generator_that_outlives_its_task_is_found(ended: float, found: list[str]) -> None:
    assert broken(stream(ended=ended)) == found


def test_a_stream_without_its_last_chunk_is_found() -> None:
    assert broken(stream(ended=11.0, chunks=CHUNKS - 1)) == ["streams with other chunks"]
