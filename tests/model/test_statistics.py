"""What an instance counts of its work."""

from __future__ import annotations

from hub.model.worker.statistics import OUTCOMES, WorkerCounters, WorkerStatistics
from hub.stats import Durations
from hub.types import TaskState


def statistics(tally: WorkerCounters) -> WorkerStatistics:
    return WorkerStatistics(
        consuming=True,
        in_flight=2,
        saving=1,
        unacked=3,
        attempts=tally.attempts,
        stored=tally.stored,
        waited=tally.waited.read(),
        ran={state: times.read() for state, times in tally.ran.items()},
        newest=tally.newest,
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
    assert Durations.of(tally.waited.read()) == Durations(bounds=(1.0, 10.0), counts=(0, 1, 0), seconds=5.0)


def test_the_newest_task_is_the_youngest_that_has_begun_whatever_its_turn() -> None:
    tally = WorkerCounters()
    assert tally.newest is None
    for created_at in (100.0, 300.0, 200.0):
        tally.run_started(created_at=created_at, now=400.0, first=True)
    assert tally.newest == 300.0


def test_a_load_has_every_outcome_and_the_runs_of_all_of_them() -> None:
    tally = WorkerCounters((1.0,))
    tally.stored[TaskState.FAILED] += 1
    tally.ran[TaskState.FAILED].add(0.5)
    tally.ran[TaskState.SUCCEEDED].add(2.0)
    load = statistics(tally).load()
    assert (load.in_flight, load.unacked, load.newest) == (2, 3, None)
    assert load.outcomes == {**dict.fromkeys(OUTCOMES, 0), TaskState.FAILED: 1}
    assert load.ran == Durations(bounds=(1.0,), counts=(1, 1), seconds=2.5)
