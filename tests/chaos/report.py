"""The result as a table and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from tests.chaos.checker import CheckResult

EVIDENCE: Final = 5
"""Pieces of evidence printed for each broken promise."""


def lines(backend: str, result: CheckResult) -> Iterator[str]:
    """The report on one backend."""
    yield f"\n== {backend}"
    yield from (f"{value:>10,}  {name}" for name, value in result.counts.items())
    yield from (
        f"{seconds * 1000:>7.0f} ms  from submit to outcome, {name}" for name, seconds in result.latencies.items()
    )
    yield "   must be 0"
    yield from (f"{len(evidence):>10,}  {name}" for name, evidence in result.broken.items())
    yield "  duration  accepted  finished  seconds: of the fault, and from its end until the first task was"
    for each in result.recoveries:
        fault = each.fault
        away = fault.returned - fault.began
        yield f"{away:>10.1f}{_seconds(each.accepted)}{_seconds(each.finished)}  {fault.name}"
    for name, evidence in result.broken.items():
        yield from (f"   {name}: {piece}" for piece in evidence[:EVIDENCE])
    yield f"{backend}: {'every promise was kept' if result.passed else 'PROMISES WERE BROKEN'}"


def document(result: CheckResult) -> dict[str, Any]:
    """The same as JSON, with all the evidence."""
    return {
        "passed": result.passed,
        "counts": dict(result.counts),
        "latencies": dict(result.latencies),
        "must_be_zero": {name: len(evidence) for name, evidence in result.broken.items()},
        "evidence": {name: list(evidence) for name, evidence in result.broken.items() if evidence},
        "faults": [
            {
                "name": each.fault.name,
                "began": each.fault.began,
                "away": each.fault.returned - each.fault.began,
                "first_accepted_after": each.accepted,
                "first_finished_after": each.finished,
            }
            for each in result.recoveries
        ],
    }


def _seconds(value: float | None) -> str:
    return f"{'never':>10}" if value is None else f"{value:>10.1f}"
