"""Runs the checks of `hub doctor` and prints them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
from rich.text import Text

from hub.cli.command import EXIT_OK, EXIT_PARTIAL, redactor
from hub.cli.config import SettingLine
from hub.cli.doctor.examination import Component, examine, settings_in_use, settings_of
from hub.cli.doctor.findings import Finding, Status
from hub.cli.terminal import console, one_line
from hub.settings.tools import DoctorSettings
from hub.types import WallClock, wall_clock

_STYLES: Final = {
    Status.OK: "green",
    Status.WARNING: "yellow",
    Status.PROBLEM: "bold red",
    Status.UNKNOWN: "cyan",
}
_AREA_WIDTH: Final = 10
_STATUS_WIDTH: Final = 8


async def examine_and_print(
    component: Component,
    settings: DoctorSettings,
    sources: Mapping[str, str],
    arguments: Sequence[str],
    *,
    json_wanted: bool,
    clock: WallClock = wall_clock,
) -> int:
    """Returns `EXIT_OK`, or `EXIT_PARTIAL` if there is a problem.

    Raises:
        ConfigurationError: The settings do not fit together.
    """
    used = settings_of(component, settings, sources)
    redact = redactor(used)
    found = [
        msgspec.structs.replace(each, message=one_line(redact(each.message)), repair=one_line(redact(each.repair)))
        for each in await examine(component, used, sources, clock=clock)
    ]
    lines = settings_in_use(component, used, arguments)
    out = console()
    if json_wanted:
        out.out(msgspec.json.format(msgspec.json.encode(as_json(component, found, lines)), indent=2).decode())
    else:
        for finding in found:
            out.print(finding_text(finding), soft_wrap=True)
        for line in lines:
            out.print(
                Text(f"{'':{_AREA_WIDTH}}{line.name} = {line.value}  ({line.source})", style="dim"), soft_wrap=True
            )
        out.print(Text(summary(found), style="bold"), soft_wrap=True)
    return EXIT_PARTIAL if any(each.status is Status.PROBLEM for each in found) else EXIT_OK


def as_json(component: Component, found: Sequence[Finding], lines: Sequence[SettingLine]) -> dict[str, object]:
    """The document of `hub doctor --json`."""
    return {
        "component": component,
        "ok": all(each.status is not Status.PROBLEM for each in found),
        "findings": found,
        "settings": [{"setting": line.name, "value": line.value, "from": line.source} for line in lines],
    }


def finding_text(finding: Finding) -> Text:
    """One line, and one for the repair."""
    text = Text(f"{finding.area:<{_AREA_WIDTH}}")
    text.append(f"{finding.status:<{_STATUS_WIDTH}}", style=_STYLES[finding.status])
    text.append(f"  {finding.message}")
    if finding.repair:
        text.append(f"\n{'':{_AREA_WIDTH + _STATUS_WIDTH}}  repair: {finding.repair}", style="dim")
    return text


def summary(found: Sequence[Finding]) -> str:
    """One line with the number of problems, warnings and unknown values."""
    counts = Counter(each.status for each in found)
    words = {Status.PROBLEM: "problem", Status.WARNING: "warning", Status.UNKNOWN: "unknown"}
    parts = [
        f"{counts[status]} {word}{'s' if counts[status] > 1 and word != 'unknown' else ''}"
        for status, word in words.items()
        if counts[status]
    ]
    return ", ".join(parts) or "no problems"
