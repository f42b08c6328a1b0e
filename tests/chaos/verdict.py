"""Whether what was promised was kept: the books of the client against the journal of the runs. Pure functions."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import quantiles
from typing import Final

from tests.chaos.faults import Fault
from tests.chaos.journal import Run
from tests.chaos.ledger import Entry, Ledger, View
from tests.chaos.plan import Kind
from tests.chaos.remains import Remains

PROMPT: Final = 1.0
"""Seconds within which a run has to end after its task was cancelled, or its deadline has passed."""

RELINK: Final = 3.0
"""Seconds after the return of Redis, on which a cancellation travels, until everybody has heard of those before."""

ATTEMPT_LIMIT: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What is known of a run.

    Attributes:
        ledger: What the client knows.
        runs: What the model's runs wrote down, in the order of their beginning.
        faults: What was broken when.
        remains: What was left in the end.
        accidents: Processes that ended although nobody wanted it to, or not as they should.
        killed: Instances that were killed on purpose.
        poisoned: Instances that a task has killed.
        seconds: How long it took from the first submit to the last outcome.
    """

    ledger: Ledger
    runs: Sequence[Run]
    faults: Sequence[Fault]
    remains: Remains
    accidents: Sequence[str]
    killed: int
    poisoned: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Return:
    """How long after the return of what was broken things happened again, in seconds; `None`: never.

    Attributes:
        accepted: The first task was accepted.
        finished: The first task finished whose run began after the return.
    """

    fault: Fault
    accepted: float | None
    finished: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What has to be zero, with the evidence for each that is not, and what is only told."""

    broken: Mapping[str, Sequence[str]]
    counts: Mapping[str, int | float]
    returns: Sequence[Return]
    latencies: Mapping[str, float] = field(default_factory=dict[str, float])

    @property
    def kept(self) -> bool:
        return not any(self.broken.values())


def judge(evidence: Evidence) -> Verdict:
    """Compares everything that is known."""
    entries = evidence.ledger.entries
    runs_of: dict[str, list[Run]] = defaultdict(list)
    for run in evidence.runs:
        runs_of[run.task].append(run)
    late, excused = _run_after_cancellation(entries, runs_of, evidence.faults)
    return Verdict(
        broken={
            "lost": [_told(entry) for entry in entries if entry.ids and entry.last is None],
            "never accepted": [_told(entry) for entry in entries if not entry.ids],
            "accepted, then unknown": [_told(entry) for entry in entries if entry.missing],
            "one key, several ids": [_told(entry) for entry in entries if len(entry.ids) > 1],
            "outcomes that changed": [_told(entry) for entry in entries if _changed(entry)],
            "wrong outcomes": [f"{wrong}: {_told(entry)}" for entry in entries if (wrong := _wrong(entry))],
            "running 1 s after their cancellation": late,
            "running 1 s after their deadline": list(_run_after_deadline(entries, runs_of)),
            "answers that should never be": evidence.ledger.surprises,
            "runs of tasks that nobody was told of": sorted(
                runs_of.keys() - {task_id for entry in entries for task_id in entry.ids}
            ),
            "processes that ended by themselves": evidence.accidents,
            **_left_behind(evidence),
        },
        counts={
            **_counts(evidence),
            "runs": len(evidence.runs),
            "runs above one per task": len(evidence.runs) - len(runs_of),
            "tasks run more than once": sum(len(runs) > 1 for runs in runs_of.values()),
            "cancellations that Redis kept waiting": len(excused),
        },
        returns=[_return(fault, evidence) for fault in evidence.faults],
        latencies=_latencies(entries),
    )


def _counts(evidence: Evidence) -> Mapping[str, int | float]:
    entries = evidence.ledger.entries
    ended = Counter(entry.last.state for entry in entries if entry.last is not None)
    return {
        "submitted": len(entries),
        "accepted": sum(bool(entry.ids) for entry in entries),
        **{state: ended[state] for state in ("succeeded", "failed", "cancelled", "expired", "dead")},
        "dead, not poisonous": sum(entry.job.kind is not Kind.POISON for entry in _dead(entries)),
        "instances killed": evidence.killed,
        "instances killed by a task": evidence.poisoned,
        "tasks per second": round(len(entries) / evidence.seconds, 1),
        **{f"answers {what}": count for what, count in sorted(evidence.ledger.refused.items())},
        **{f"no answer, {what}": count for what, count in sorted(evidence.ledger.broken.items())},
    }


def _left_behind(evidence: Evidence) -> Mapping[str, Sequence[str]]:
    remains = evidence.remains
    missing = len(_dead(evidence.ledger.entries)) - remains.dead_letters
    return {
        "messages left behind": ["on the queue"] * remains.ready + ["unacknowledged"] * remains.unacked,
        "dead without a dead letter": ["a task"] * missing,
        "instances not live in the end": ["an instance"] * abs(remains.members - remains.live),
    }


def _dead(entries: Sequence[Entry]) -> Sequence[Entry]:
    return [entry for entry in entries if entry.last is not None and entry.last.state == "dead"]


def _changed(entry: Entry) -> bool:
    """Whether its outcome is not what it was when it was first seen, or not what the reply to the DELETE said."""
    if entry.first is None or entry.last is None:
        return False
    before, after = entry.first, entry.last
    return (before.state, before.content, before.finished_at) != (after.state, after.content, after.finished_at) or (
        entry.cancelled_at is not None and after.state != "cancelled"
    )


def _wrong(entry: Entry) -> str:
    """What is wrong with the outcome of a task, given what was asked for; empty if nothing is."""
    view, job = entry.last, entry.job
    if view is None:
        return ""
    body = json.loads(view.content) or {}
    code = body.get("code")
    wrong = {
        "it cannot have succeeded": view.state == "succeeded" and job.kind is not Kind.WORK,
        "it has another answer": view.state == "succeeded" and body != {"reply": job.text},
        "it cannot have failed": view.state == "failed" and job.kind is not Kind.RAISE,
        "it failed otherwise": view.state == "failed" and (code, body.get("message")) != ("model_error", job.text),
        "nobody cancelled it": view.state == "cancelled" and job.cancel_after is None,
        "it had no deadline": view.state == "expired" and job.timeout is None,
        "it died otherwise": view.state == "dead" and code != "attempts_exhausted",
        "it died too early": view.state == "dead" and view.attempt < ATTEMPT_LIMIT,
    }
    return ", ".join(what for what, true in wrong.items() if true)


def _run_after_cancellation(
    entries: Sequence[Entry], runs_of: Mapping[str, Sequence[Run]], faults: Sequence[Fault]
) -> tuple[list[str], list[str]]:
    """Runs that went on, or began, too long after a cancellation; and those that could not know, for want of Redis."""
    late: list[str] = []
    excused: list[str] = []
    for entry in entries:
        if entry.cancelled_at is None:
            continue
        limit = bound = entry.cancelled_at + PROMPT
        for fault in faults:
            if fault.of_store and fault.began <= bound and fault.returned >= entry.cancelled_at:
                bound = max(bound, fault.returned + RELINK)
        for run in runs_of.get(entry.ids[0], ()):
            if run.ended > limit:
                told = f"{run.ended - entry.cancelled_at:.2f} s after: {run}, {_told(entry)}"
                (late if run.ended > bound else excused).append(told)
    return late, excused


def _run_after_deadline(entries: Sequence[Entry], runs_of: Mapping[str, Sequence[Run]]) -> Iterator[str]:
    for entry in entries:
        view = entry.last
        if entry.job.timeout is None or view is None:
            continue
        deadline = view.created_at + entry.job.timeout
        for run in runs_of.get(entry.ids[0], ()):
            if run.ended > deadline + PROMPT:
                yield f"{run.ended - deadline:.2f} s after: {run}, {_told(entry)}"


def _return(fault: Fault, evidence: Evidence) -> Return:
    accepted = [entry.accepted_at for entry in evidence.ledger.entries if entry.accepted_at is not None]
    finished = [run.ended for run in evidence.runs if run.began >= fault.returned]
    return Return(
        fault=fault,
        accepted=min((at - fault.returned for at in accepted if at >= fault.returned), default=None),
        finished=min((at - fault.returned for at in finished), default=None),
    )


def _latencies(entries: Sequence[Entry]) -> Mapping[str, float]:
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


def _told(entry: Entry) -> str:
    def shown(view: View | None) -> str:
        return "never seen" if view is None else f"{view.state} {view.content} at {view.finished_at}"

    return (
        f"{entry.ids or 'no id'} {entry.job.message!r} timeout {entry.job.timeout} accepted at {entry.accepted_at} "
        f"cancelled at {entry.cancelled_at}, first {shown(entry.first)}, last {shown(entry.last)}"
    )
