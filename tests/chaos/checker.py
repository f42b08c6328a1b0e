"""Checks the promises of hub: the history of the client against the journal of the runs. Pure functions."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import quantiles
from typing import Final

from tests.chaos.faults import Fault
from tests.chaos.history import FinalState, History, TaskHistory, TaskView
from tests.chaos.journal import Run
from tests.chaos.plan import MODEL, STREAM, Kind
from tests.chaos.stream import CHUNKS, chunk

STOP_BOUND: Final = 1.0
"""Seconds within which a run must end after the cancellation or the deadline of its task."""

RECONNECT_BOUND: Final = 3.0
"""Seconds after the return of Redis, which carries cancellations, until earlier cancellations have reached every instance."""

ATTEMPT_LIMIT: Final = 5

CALL_FAILURES: Final = frozenset({"call_failed", "model_unavailable"})
"""Codes with which a task that calls others may fail when the retry would come after its deadline."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What is known of a run.

    Attributes:
        history: What the client observed.
        runs: Executions of tasks, from the journals of the instances, in the order of their start.
        faults: Injected faults.
        final_state: What the system held at rest.
        unexpected_exits: Processes that ended by themselves, or with a non-zero exit code.
        killed: Instances that the run has killed.
        poisoned: Instances that a task has killed.
        seconds: Time from the first submit to the last outcome.
    """

    history: History
    runs: Sequence[Run]
    faults: Sequence[Fault]
    final_state: FinalState
    unexpected_exits: Sequence[str]
    killed: int
    poisoned: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """Seconds from the end of a fault until tasks went on; `None`: they did not.

    Attributes:
        accepted: Until the first task was accepted.
        finished: Until the end of the first run that began after the fault.
    """

    fault: Fault
    accepted: float | None
    finished: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """Broken promises with their evidence, and figures that are only reported."""

    broken: Mapping[str, Sequence[str]]
    counts: Mapping[str, int | float]
    recoveries: Sequence[Recovery]
    latencies: Mapping[str, float] = field(default_factory=dict[str, float])

    @property
    def passed(self) -> bool:
        return not any(self.broken.values())


def check(evidence: Evidence) -> CheckResult:
    """Compares the parts of the evidence."""
    entries = evidence.history.entries
    runs_of: dict[str, list[Run]] = defaultdict(list)
    children: list[Run] = []
    for run in evidence.runs:
        if run.root is None:
            runs_of[run.task].append(run)
        else:
            children.append(run)
    late, excused = _run_after_cancellation(entries, runs_of, evidence.faults)
    return CheckResult(
        broken={
            "lost": [_description(entry) for entry in entries if entry.ids and entry.last is None],
            "never accepted": [_description(entry) for entry in entries if not entry.ids],
            "accepted, then unknown": [_description(entry) for entry in entries if entry.missing],
            "one key, several ids": [_description(entry) for entry in entries if len(entry.ids) > 1],
            "outcomes that changed": [_description(entry) for entry in entries if _changed(entry)],
            "wrong outcomes": [f"{wrong}: {_description(entry)}" for entry in entries if (wrong := _wrong(entry))],
            "running 1 s after their cancellation": late,
            "running 1 s after their deadline": list(_run_after_deadline(entries, runs_of)),
            "generators running 1 s after their task's end": list(
                _generators_after_end(entries, runs_of, evidence.faults)
            ),
            "streams with other chunks": [_description(entry) for entry in entries if _wrong_chunks(entry)],
            "children running 1 s after their parent's end": list(
                _run_after_parent(entries, children, evidence.faults)
            ),
            "answers that should never be": evidence.history.unexpected_answers,
            "runs of tasks that were never accepted": sorted(
                runs_of.keys() - {task_id for entry in entries for task_id in entry.ids}
            ),
            "processes that ended by themselves": evidence.unexpected_exits,
            **_left_behind(evidence),
        },
        counts={
            **_counts(evidence),
            "runs": len(evidence.runs),
            "runs above one per task": sum(len(runs) - 1 for runs in runs_of.values()),
            "streams": sum(entry.job.model == STREAM for entry in entries),
            "runs of children": len(children),
            "runs of children above one per task": len(children) - len({run.task for run in children}),
            "tasks run more than once": sum(len(runs) > 1 for runs in runs_of.values()),
            "cancellations that Redis kept waiting": len(excused),
        },
        recoveries=[_recovery(fault, evidence) for fault in evidence.faults],
        latencies=_latencies(entries),
    )


def _counts(evidence: Evidence) -> Mapping[str, int | float]:
    entries = evidence.history.entries
    ended = Counter(entry.last.state for entry in entries if entry.last is not None)
    return {
        "submitted": len(entries),
        "accepted": sum(bool(entry.ids) for entry in entries),
        **{state: ended[state] for state in ("succeeded", "failed", "cancelled", "expired", "dead")},
        "dead, not poisonous": sum(entry.job.kind is not Kind.POISON for entry in _dead(entries)),
        "instances killed": evidence.killed,
        "instances killed by a task": evidence.poisoned,
        "tasks per second": round(len(entries) / evidence.seconds, 1),
        **{f"answers {what}": count for what, count in sorted(evidence.history.refused.items())},
        **{f"no answer, {what}": count for what, count in sorted(evidence.history.broken.items())},
    }


def _left_behind(evidence: Evidence) -> Mapping[str, Sequence[str]]:
    final_state = evidence.final_state
    missing = len(_dead(evidence.history.entries)) - final_state.dead_letters
    return {
        "messages left behind": ["on the queue"] * final_state.ready + ["unacknowledged"] * final_state.unacked,
        "dead without a dead letter": ["a task"] * missing,
        "instances not live in the end": ["an instance"] * abs(final_state.running - final_state.live),
    }


def _dead(entries: Sequence[TaskHistory]) -> Sequence[TaskHistory]:
    return [entry for entry in entries if entry.last is not None and entry.last.state == "dead"]


def _changed(entry: TaskHistory) -> bool:
    """Whether the outcome differs from the one first seen, or from the reply to the DELETE."""
    if entry.first is None or entry.last is None:
        return False
    before, after = entry.first, entry.last
    return (before.state, before.content, before.finished_at) != (after.state, after.content, after.finished_at) or (
        entry.cancelled_at is not None and after.state != "cancelled"
    )


def _wrong(entry: TaskHistory) -> str:
    """How the outcome of a task differs from what its job asks for; empty if it does not."""
    view, job = entry.last, entry.job
    if view is None:
        return ""
    body = json.loads(view.content) or {}
    code = body.get("code")
    if job.model != MODEL and view.state == "failed" and job.timeout is not None and code in CALL_FAILURES:
        return ""
    wrong = {
        "it cannot have succeeded": view.state == "succeeded" and job.kind is not Kind.WORK,
        "it has another answer": view.state == "succeeded" and job.model != STREAM and body != {"reply": job.text},
        "it cannot have failed": view.state == "failed" and job.kind is not Kind.RAISE,
        "it failed otherwise": view.state == "failed" and (code, body.get("message")) != ("model_error", job.text),
        "it was not cancelled": view.state == "cancelled" and job.cancel_after is None,
        "it had no deadline": view.state == "expired" and job.timeout is None,
        "it died otherwise": view.state == "dead" and code != "attempts_exhausted",
        "it died too early": view.state == "dead" and view.attempt < ATTEMPT_LIMIT,
    }
    return ", ".join(what for what, true in wrong.items() if true)


def _run_after_cancellation(
    entries: Sequence[TaskHistory], runs_of: Mapping[str, Sequence[Run]], faults: Sequence[Fault]
) -> tuple[list[str], list[str]]:
    """Runs that ended too late after a cancellation; and those that are excused, because Redis was away."""
    late: list[str] = []
    excused: list[str] = []
    for entry in entries:
        if entry.cancelled_at is None:
            continue
        limit = bound = entry.cancelled_at + STOP_BOUND
        for fault in faults:
            if fault.of_store and fault.began <= bound and fault.returned >= entry.cancelled_at:
                bound = max(bound, fault.returned + RECONNECT_BOUND)
        for run in runs_of.get(entry.ids[0], ()):
            if run.ended > limit:
                text = f"{run.ended - entry.cancelled_at:.2f} s after: {run}, {_description(entry)}"
                (late if run.ended > bound else excused).append(text)
    return late, excused


def _run_after_deadline(entries: Sequence[TaskHistory], runs_of: Mapping[str, Sequence[Run]]) -> Iterator[str]:
    for entry in entries:
        view = entry.last
        if entry.job.timeout is None or view is None:
            continue
        deadline = view.created_at + entry.job.timeout
        for run in runs_of.get(entry.ids[0], ()):
            if run.ended > deadline + STOP_BOUND:
                yield f"{run.ended - deadline:.2f} s after: {run}, {_description(entry)}"


def _generators_after_end(
    entries: Sequence[TaskHistory], runs_of: Mapping[str, Sequence[Run]], faults: Sequence[Fault]
) -> Iterator[str]:
    """Generators of streams that were left too late after the end of their task, in whatever way it ended."""
    for entry in entries:
        end = entry.last.finished_at if entry.last is not None else None
        if entry.job.model != STREAM or end is None:
            continue
        for run in runs_of.get(entry.ids[0], ()):
            if run.ended > _bound_after(end, faults):
                yield f"{run.ended - end:.2f} s after: {run}, {_description(entry)}"


def _wrong_chunks(entry: TaskHistory) -> bool:
    """Whether a stream that has succeeded has other chunks than all those of its last attempt, in order."""
    if entry.job.model != STREAM or entry.last is None or entry.last.state != "succeeded":
        return False
    return entry.chunks != [chunk(entry.last.attempt, number) for number in range(CHUNKS)]


def _bound_after(end: float, faults: Sequence[Fault]) -> float:
    """When a run must have ended at the latest whose task ended elsewhere: Redis carries the news."""
    bound = end + STOP_BOUND
    for fault in faults:
        if fault.of_store and fault.began <= bound and fault.returned >= end:
            bound = max(bound, fault.returned + RECONNECT_BOUND)
    return bound


def _run_after_parent(
    entries: Sequence[TaskHistory], children: Sequence[Run], faults: Sequence[Fault]
) -> Iterator[str]:
    """Runs of tasks that were made for one of the client's and ended too late after that. Redis carries the news."""
    ends = {
        task_id: entry.last.finished_at
        for entry in entries
        for task_id in entry.ids
        if entry.last is not None and entry.last.finished_at is not None
    }
    for run in children:
        end = ends.get(run.root or "")
        if end is None:
            continue
        if run.ended > _bound_after(end, faults):
            yield f"{run.ended - end:.2f} s after the end of {run.root}: {run}"


def _recovery(fault: Fault, evidence: Evidence) -> Recovery:
    accepted = [entry.accepted_at for entry in evidence.history.entries if entry.accepted_at is not None]
    finished = [run.ended for run in evidence.runs if run.began >= fault.returned]
    return Recovery(
        fault=fault,
        accepted=min((at - fault.returned for at in accepted if at >= fault.returned), default=None),
        finished=min((at - fault.returned for at in finished), default=None),
    )


def _latencies(entries: Sequence[TaskHistory]) -> Mapping[str, float]:
    """Seconds from submit to outcome of what succeeded."""
    times = [
        view.finished_at - view.created_at
        for entry in entries
        if (view := entry.last) is not None and view.finished_at is not None and view.state == "succeeded"
    ]
    if len(times) < 2:
        return {}
    cuts = quantiles(times, n=100)
    return {f"p{percent}": round(cuts[percent - 1], 3) for percent in (50, 90, 99)}


def _description(entry: TaskHistory) -> str:
    def render(view: TaskView | None) -> str:
        return "never seen" if view is None else f"{view.state} {view.content} at {view.finished_at}"

    return (
        f"{entry.ids or 'no id'} {entry.job.message!r} timeout {entry.job.timeout} accepted at {entry.accepted_at} "
        f"cancelled at {entry.cancelled_at}, first {render(entry.first)}, last {render(entry.last)}"
    )
