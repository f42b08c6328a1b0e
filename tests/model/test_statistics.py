"""What an instance counts of its work."""

from __future__ import annotations

from hub.histogram import HistogramSnapshot
from hub.model.worker.statistics import OUTCOMES, WorkerCounters, WorkerStatistics
from hub.types import TaskState


def statistics(tally: WorkerCounters) -> WorkerStatistics:
    return WorkerStatistics(
        consuming=True,
        in_flight=2,
        saving=1,
        unacked=3,
        attempts=tally.attempts,
        stored=tally.stored,
        queue_time=tally.queue_time.snapshot(),
        run_time={state: times.snapshot() for state, times in tally.run_time.items()},
        newest_task_created_at=tally.newest_task_created_at,
        dropped=0,
        skipped=0,
        undecodable=0,
        requeued=0,
        retried=0,
        stopped=0,
    )


def test_only_the_first_run_of_a_task_has_waited_in_the_queue() -> None:
    tally = WorkerCounters((1.0, 10.0))
    tally.run_started(created_at=100.0, now=105.0, first=True)
    tally.run_started(created_at=100.0, now=130.0, first=False)
    assert tally.attempts == 2
    assert tally.queue_time.snapshot() == HistogramSnapshot(bounds=(1.0, 10.0), counts=(0, 1, 0), sum=5.0)


def test_the_newest_task_is_the_youngest_that_has_begun_whatever_its_turn() -> None:
    tally = WorkerCounters()
    assert tally.newest_task_created_at is None
    for created_at in (100.0, 300.0, 200.0):
        tally.run_started(created_at=created_at, now=400.0, first=True)
    assert tally.newest_task_created_at == 300.0


def test_a_load_has_every_outcome_and_the_runs_of_all_of_them() -> None:
    tally = WorkerCounters((1.0,))
    tally.stored[TaskState.FAILED] += 1
    tally.run_time[TaskState.FAILED].observe(0.5)
    tally.run_time[TaskState.SUCCEEDED].observe(2.0)
    load = statistics(tally).stats()
    assert (load.in_flight, load.unacked, load.newest_task_created_at) == (2, 3, None)
    assert load.outcomes == {**dict.fromkeys(OUTCOMES, 0), TaskState.FAILED: 1}
    assert load.run_time == HistogramSnapshot(bounds=(1.0,), counts=(1, 1), sum=2.5)
