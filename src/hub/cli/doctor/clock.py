"""The difference between the clock of this machine and that of a server."""

from __future__ import annotations

from typing import Final

from hub.cli.doctor.findings import Findings

SKEW_WARNING: Final = 2.0
"""Seconds: the `Date` header of HTTP has whole seconds, so a smaller difference may be none."""

SKEW_PROBLEM: Final = 10.0
"""Seconds: deadlines are moments of the wall clock, and a difference of this size is that of a short call."""


def compare_clocks(findings: Findings, server: str, theirs: float, ours: float) -> None:
    """Adds a finding about two readings of Unix time at the same moment, in seconds."""
    skew = theirs - ours
    text = f"the clock of {server} and the one here differ by {abs(skew):.1f} s"
    repair = "synchronize the clocks of all machines (NTP): deadlines and ages of tasks are moments of the wall clock"
    if abs(skew) >= SKEW_PROBLEM:
        findings.problem("clock", text, repair)
    elif abs(skew) >= SKEW_WARNING:
        findings.warning("clock", text, repair)
    else:
        findings.ok("clock", f"the clock of {server} agrees with the one here within {SKEW_WARNING:g} s")
