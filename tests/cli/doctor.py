"""Runs the checks of `hub doctor` in a test, and finds a finding."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from anyio import fail_after

from hub.cli.doctor.examination import Component, examine, settings_of
from hub.cli.doctor.findings import Finding, Findings, Status
from hub.settings.tools import DoctorSettings
from hub.types import wall_clock

TIME_LIMIT: Final = 60.0
HOUR: Final = 3600.0


def status(findings: Findings | Sequence[Finding], check: str, area: str = "") -> tuple[Status, str]:
    """The worst finding of a check, and its message and repair in one text."""
    found = findings.found if isinstance(findings, Findings) else findings
    order = [Status.OK, Status.UNKNOWN, Status.WARNING, Status.PROBLEM]
    chosen = [each for each in found if each.check == check and area in ("", each.area)]
    assert chosen, f"no finding about {check} in {found}"
    worst = max(chosen, key=lambda each: order.index(each.status))
    assert worst.repair or worst.status is Status.OK, f"{worst} names no repair"
    return worst.status, f"{worst.message} | {worst.repair}"


def problems(findings: Findings | Sequence[Finding]) -> list[Finding]:
    found = findings.found if isinstance(findings, Findings) else findings
    return [each for each in found if each.status is Status.PROBLEM]


def settings(component: Component = "up", **values: Any) -> DoctorSettings:
    ports = {"gateway_port": 0, "registry_port": 0, "dashboard_port": 0}
    given = ports | values
    return settings_of(component, DoctorSettings(**given), dict.fromkeys(given, "command line"))


async def examined(component: Component = "up", *, shift: float = 0.0, **values: Any) -> list[Finding]:
    given = {"gateway_port": 0, "registry_port": 0, "dashboard_port": 0} | values
    with fail_after(TIME_LIMIT):
        return await examine(
            component,
            settings(component, **values),
            dict.fromkeys(given, "command line"),
            clock=lambda: wall_clock() + shift,
        )


def difference(text: str) -> float:
    """Seconds between two clocks, in a finding. A header `Date` has no fractions of a second."""
    (seconds,) = re.findall(r"differ by ([\d.]+) s", text)
    return float(seconds)
