"""Which runs were started here and have not ended yet, and which of their tasks have ended without them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from typing import Final, Generic, NamedTuple, TypeVar, final

from hub.concurrency.notify import Notifier
from hub.ports.result_store import ReleasedTask, Start
from hub.task import Outcome
from hub.types import InstanceId, TaskId, TaskState

N = TypeVar("N")

LIMIT: Final = 10_000
"""Runs of one instance remembered at most: far more than are ever in flight. The oldest goes first."""


class StartedRun(NamedTuple, Generic[N]):
    """`started_at` is in Unix seconds; `note` is what the adapter wants to know of the task later on."""

    task_id: TaskId
    instance: InstanceId
    attempt: int
    started_at: float
    note: N


class _InstanceRuns(Generic[N]):
    """One instance: its runs, and those of its tasks that have ended without it and were not reported yet."""

    __slots__ = ("changed", "ended", "runs")

    def __init__(self) -> None:
        self.runs: OrderedDict[TaskId, StartedRun[N]] = OrderedDict()
        self.ended: OrderedDict[TaskId, None] = OrderedDict()
        self.changed = Notifier()

    def add_ended(self, task_id: TaskId) -> None:
        self.ended[task_id] = None
        if len(self.ended) > LIMIT:
            self.ended.popitem(last=False)
        self.changed.notify()


@final
class StartCall:
    """A call of `start` under way. Its tasks may end before its answer is read."""

    __slots__ = ("ended", "task_ids")

    def __init__(self, task_ids: Iterable[TaskId]) -> None:
        self.task_ids = frozenset(task_ids)
        self.ended: set[TaskId] = set()


@final
class FinishCall(Generic[N]):
    """A call of `finish` under way. The runs that made its outcomes are here, for if they have to go on."""

    __slots__ = ("runs",)

    def __init__(self, runs: dict[TaskId, StartedRun[N]]) -> None:
        self.runs = runs


@final
class RunningTasks(Generic[N]):
    """The table behind `ResultStore.next_ended`. Several instances may share it, and run the same task at once.

    A run leaves it when its outcome is stored or dropped, when it is handed back, and when its task has ended without
    it: then that is reported to its instance, once.
    """

    def __init__(self) -> None:
        self._runners: dict[InstanceId, _InstanceRuns[N]] = {}
        self._starting: set[StartCall] = set()
        self._finishing: set[FinishCall[N]] = set()

    def __len__(self) -> int:
        return sum(len(runner.runs) for runner in self._runners.values())

    def runs(self) -> list[StartedRun[N]]:
        return [run for runner in self._runners.values() for run in runner.runs.values()]

    def find(self, task_ids: Iterable[TaskId]) -> list[StartedRun[N]]:
        """The runs of these tasks, those included whose outcome is on its way."""
        wanted = set(task_ids)
        tables = (*(runner.runs for runner in self._runners.values()), *(call.runs for call in self._finishing))
        return [table[task_id] for table in tables for task_id in wanted if task_id in table]

    @contextmanager
    def starting(self, task_ids: Iterable[TaskId]) -> Generator[StartCall]:
        """Around a call that starts tasks, so that none of them ends unnoticed before `begun`."""
        call = StartCall(task_ids)
        self._starting.add(call)
        try:
            yield call
        finally:
            self._starting.discard(call)

    def begun(
        self,
        instance: InstanceId,
        tasks: Iterable[tuple[TaskId, N]],
        starts: Sequence[Start],
        call: StartCall,
        now: float,
    ) -> None:
        """Remembers those tasks that do run, as the answers say; `now` is when they were started."""
        runner = self._runner(instance)
        for (task_id, note), start in zip(tasks, starts, strict=True):
            if start.state is TaskState.RUNNING:
                runner.ended.pop(task_id, None)
                if task_id in call.ended:
                    runner.add_ended(task_id)
                    continue
                runner.runs[task_id] = StartedRun(task_id, instance, start.attempt, now, note)
                runner.runs.move_to_end(task_id)
        while len(runner.runs) > LIMIT:
            runner.runs.popitem(last=False)

    @contextmanager
    def finishing(self, outcomes: Iterable[Outcome]) -> Generator[FinishCall[N]]:
        """Around a call that stores outcomes, whose own runs are not reported as ended.

        If it fails, the runs are remembered again. Their tasks may have ended meanwhile, so the caller has to look them up.
        """
        runs: dict[TaskId, StartedRun[N]] = {}
        for outcome in outcomes:
            runner = self._runners.get(outcome.instance) if outcome.instance is not None else None
            run = runner.runs.pop(outcome.task_id, None) if runner is not None else None
            if run is not None:
                runs[outcome.task_id] = run
        call = FinishCall(runs)
        self._finishing.add(call)
        try:
            yield call
        except BaseException:
            for run in call.runs.values():
                self._runner(run.instance).runs[run.task_id] = run
            raise
        finally:
            self._finishing.discard(call)

    def is_sole_run(self, outcome: Outcome, call: FinishCall[N]) -> bool:
        """Whether the run that made this outcome is the only one of its task here."""
        return outcome.task_id in call.runs and not any(
            outcome.task_id in runner.runs for runner in self._runners.values()
        )

    def released(self, runs: Iterable[ReleasedTask]) -> None:
        for run in runs:
            for runner in self._runners.values():
                started = runner.runs.get(run.task_id)
                if started is not None and started.attempt == run.attempt:
                    del runner.runs[run.task_id]

    def ended(self, task_id: TaskId) -> None:
        """A terminal state was seen: reports it to the instances that still run the task."""
        for runner in self._runners.values():
            if runner.runs.pop(task_id, None) is not None:
                runner.add_ended(task_id)
        for call in self._starting:
            if task_id in call.task_ids:
                call.ended.add(task_id)

    def pop_ended(self, instance: InstanceId) -> Sequence[TaskId]:
        """Removes and returns the tasks that have ended without a run of `instance`."""
        runner = self._runner(instance)
        ended = list(runner.ended)
        runner.ended.clear()
        return ended

    async def next_ended(self, instance: InstanceId) -> Sequence[TaskId]:
        """Waits until `pop_ended` has something to return, and returns it."""
        runner = self._runner(instance)
        await runner.changed.wait_for(lambda: runner.ended)
        return self.pop_ended(instance)

    def _runner(self, instance: InstanceId) -> _InstanceRuns[N]:
        runner = self._runners.get(instance)
        if runner is None:
            runner = self._runners[instance] = _InstanceRuns()
        return runner
