"""Runs every awkward model beside a good one: `make awkward`, or a part of it with

    python -m tests.awkward --backend trio --way embedded --short --keep FOLDER

Exits with 1 when a check failed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

import anyio

from tests.awkward.plan import SHORT, Plan
from tests.awkward.run import Report, percentile, run
from tests.awkward.system import Backend, Way

BACKENDS: Final[tuple[Backend, ...]] = ("asyncio", "trio")
WAYS: Final[tuple[Way, ...]] = ("embedded", "servers")


def lines(report: Report) -> Iterator[str]:
    undisturbed = report.undisturbed()
    yield f"{len(report.samples):>8,}  calls of the good model"
    yield f"{percentile(undisturbed, 0.5) * 1000:>8.1f}  ms, their p50"
    yield f"{percentile(undisturbed, 0.95) * 1000:>8.1f}  ms, their p95"
    if report.starving:
        yield f"{percentile(report.samples, 0.95) * 1000:>8.1f}  ms, p95 with {', '.join(report.starving)}, which starves its process"
    yield f"{report.tasks:>8,}  tasks of awkward models ended as they should, each known to its client"
    yield f"{report.longest_line:>8,}  characters of the longest of {report.lines:,} lines of log"
    yield f"{max(seconds for _, seconds in report.ends.values()):>8.1f}  s from SIGTERM to the end of the last process"
    yield "     p50      p95      max ms of the good model while there ran"
    for name, (begin, end) in report.windows.items():
        samples = [each for each in report.samples if begin <= each.due <= end]
        figures = (percentile(samples, share) * 1000 for share in (0.5, 0.95, 1.0))
        yield " ".join(f"{figure:>8.1f}" for figure in figures) + f"  {name}, {end - begin:.1f} s"
    yield from (f"  BROKEN: {what}" for what in report.broken)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", choices=["both", *BACKENDS], default="both")
    parser.add_argument("--way", choices=["both", *WAYS], default="both")
    parser.add_argument("--short", action="store_true", help="the slow models take seconds instead of a minute")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep logs there")
    arguments = parser.parse_args()
    plan = SHORT if arguments.short else Plan()
    broken = 0
    with tempfile.TemporaryDirectory(prefix="hub-awkward-", ignore_cleanup_errors=True) as temporary:
        folder = (arguments.keep or Path(temporary)).resolve()
        for backend in BACKENDS:
            for way in WAYS:
                if arguments.backend not in {backend, "both"} or arguments.way not in {way, "both"}:
                    continue
                began = time.monotonic()

                def say(text: str, began: float = began, head: str = f"{backend} {way}") -> None:
                    _print(f"{head} {time.monotonic() - began:6.1f} s  {text}")

                report = anyio.run(partial(run, plan, backend, way, folder / f"{backend}-{way}", say), backend=backend)
                _print(f"\n== {backend}, {way}")
                for line in lines(report):
                    _print(line)
                broken += len(report.broken)
    return 1 if broken else 0


def _print(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - a command


if __name__ == "__main__":
    sys.exit(main())
