"""The verdict as a table for people and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from tests.chaos.verdict import Verdict

EVIDENCE: Final = 5
"""Pieces of evidence that are printed for each row that should be 0."""


def lines(backend: str, verdict: Verdict) -> Iterator[str]:
    """The report on one backend."""
    yield f"\n== {backend}"
    yield from (f"{value:>10,}  {name}" for name, value in verdict.counts.items())
    yield from (
        f"{seconds * 1000:>7.0f} ms  from submit to outcome, {name}" for name, seconds in verdict.latencies.items()
    )
    yield "   must be 0"
    yield from (f"{len(evidence):>10,}  {name}" for name, evidence in verdict.broken.items())
    yield "      away  accepted  finished  seconds that it was away, and after its return until the first task was"
    for each in verdict.returns:
        fault = each.fault
        away = fault.returned - fault.began
        yield f"{away:>10.1f}{_seconds(each.accepted)}{_seconds(each.finished)}  {fault.name}"
    for name, evidence in verdict.broken.items():
        yield from (f"   {name}: {piece}" for piece in evidence[:EVIDENCE])
    yield f"{backend}: {'every promise was kept' if verdict.kept else 'PROMISES WERE BROKEN'}"


def document(verdict: Verdict) -> dict[str, Any]:
    """The same as JSON, with all the evidence."""
    return {
        "kept": verdict.kept,
        "counts": dict(verdict.counts),
        "latencies": dict(verdict.latencies),
        "must_be_zero": {name: len(evidence) for name, evidence in verdict.broken.items()},
        "evidence": {name: list(evidence) for name, evidence in verdict.broken.items() if evidence},
        "faults": [
            {
                "name": each.fault.name,
                "began": each.fault.began,
                "away": each.fault.returned - each.fault.began,
                "first_accepted_after": each.accepted,
                "first_finished_after": each.finished,
            }
            for each in verdict.returns
        ],
    }


def _seconds(value: float | None) -> str:
    return f"{'never':>10}" if value is None else f"{value:>10.1f}"
