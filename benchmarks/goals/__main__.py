"""Measures everything of the table of goals and writes `docs/performance.md`: `make bench ARGS=goals`.

Takes about half an hour on two processors. A benchmark whose results are younger than `--hours` is not run again, so a run
that was interrupted goes on where it was; `--hours 0` measures everything anew. `--only fleet start` measures a part of it.
`--page` measures nothing. The exit code is 1 if a benchmark failed, or if a goal is not reached and `missed.md` has no text
about it.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from benchmarks.goals import outputs
from benchmarks.goals.measured import Measured
from benchmarks.goals.page import MISSED, NoReason, page, reasons
from benchmarks.goals.plots import PLOTS, plotted, svg
from benchmarks.records import parsed, read

ROOT: Final = Path(__file__).parents[2]
DOCS: Final = ROOT / "docs"
PAGE: Final = DOCS / "performance.md"


@dataclass(frozen=True, slots=True)
class Step:
    """A benchmark.

    Attributes:
        name: Of its file of results.
        minutes: That it takes, about.
        run: The arguments after `python -m benchmarks`, or what runs and records it.
    """

    name: str
    minutes: float
    run: tuple[str, ...] | Callable[[], None]


STEPS: Final = (
    Step("start", 1.0, ("start",)),
    Step("transcoder", 0.5, outputs.transcoder),
    Step("digits", 0.7, ("digits",)),
    Step("large", 0.5, ("large",)),
    Step("growth", 4.0, ("growth",)),
    Step("models", 3.0, outputs.models),
    Step("fleet", 4.0, ("fleet",)),
    Step("memory", 7.0, ("memory", "--tasks", "1000000")),
    Step("peers", 12.0, ("peers", "--rounds", "2")),
)


def measure(step: Step, hours: float) -> bool:
    """Runs a benchmark unless its results are young enough. Returns whether there are results of now."""
    now = datetime.now(UTC)
    if measured_at(step.name) >= now - timedelta(hours=hours):
        print(f"{step.name}: measured less than {hours:g} hours ago", flush=True)
        return True
    print(f"{step.name}: about {step.minutes:g} minutes", flush=True)
    try:
        if callable(step.run):
            step.run()
        else:
            subprocess.run([sys.executable, "-m", "benchmarks", *step.run], check=True, cwd=ROOT)
    except subprocess.CalledProcessError as error:
        print(f"{step.name}: failed with exit code {error.returncode}", flush=True)
        return False
    written = measured_at(step.name) >= now - timedelta(minutes=1)  # the file has no seconds
    if not written:
        print(f"{step.name}: wrote no results", flush=True)
    return written


def measured_at(name: str) -> datetime:
    """When the oldest part of a benchmark's results was measured; long ago if there are none."""
    found: list[str] = []
    if name == "peers":
        report = Measured.read().report
        found = [] if report is None else [report.date]
    elif (record := read(name)) is not None:
        found = [part.date for part in record.parts.values()]
    return min((parsed(date) for date in found), default=datetime.min.replace(tzinfo=UTC))


def write_page() -> None:
    """Writes the page and its plots.

    Raises:
        NoReason: A goal is not reached, and no text says why. The plots are written, and the page is as it was.
    """
    measured = Measured.read()
    for plot in PLOTS:
        if curves := plotted(plot, measured):
            (DOCS / "images" / plot.file).write_text(svg(plot, curves))
    PAGE.write_text(page(measured, reasons(MISSED.read_text())))
    print(f"written: {PAGE.relative_to(ROOT)}", flush=True)


def main() -> int:
    names = [step.name for step in STEPS]
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks goals", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hours", type=float, default=3.0, help="results younger than this stand")
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--page", action="store_true", help="only write the page")
    arguments = parser.parse_args()
    failed: list[str] = []
    if not arguments.page:
        failed = [each.name for each in STEPS if each.name in arguments.only and not measure(each, arguments.hours)]
    try:
        write_page()
    except NoReason as error:
        print(error, flush=True)
        return 1
    if failed:
        print(f"failed: {', '.join(failed)}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
