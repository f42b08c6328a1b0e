"""Benchmarks that print, or write rows of their own: their output as a record."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import msgspec

from benchmarks.goals.goal import BOTH
from benchmarks.records import record

_SHAPE: Final = re.compile(r"^(?P<shape>\S.*?): \d+ bytes of JSON")
_WAY: Final = re.compile(r"^\s*(?P<way>.+?): hub ")
_FASTER: Final = re.compile(r"([\d.]+) times faster")


class Row(msgspec.Struct):
    """A figure of `benchmarks.models`."""

    models: int
    what: str
    value: float


class Rows(msgspec.Struct):
    """The file that `benchmarks.models --json` writes."""

    figures: list[Row]


def transcoder() -> None:
    """Runs `benchmarks.transcoder`, and records each of its ratios."""
    command = [sys.executable, "-m", "benchmarks.transcoder"]
    text = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    print(text, end="", flush=True)
    record("transcoder", ratios(text))


def ratios(text: str) -> dict[str, float]:
    """How many times faster hub is than the fastest form of json_format, by message and direction."""
    found: dict[str, float] = {}
    shape = ""
    for line in text.splitlines():
        if head := _SHAPE.match(line):
            shape = f"{head['shape']}, "
        elif (way := _WAY.match(line)) and (times := _FASTER.findall(line)):
            found[f"{shape}{way['way']}"] = min(map(float, times))
    return found


def models() -> None:
    """Runs `benchmarks.models` on both backends, and records its rows: `what, number of models`."""
    with TemporaryDirectory() as folder:
        for backend in BOTH:
            path = Path(folder) / backend
            command = [sys.executable, "-m", "benchmarks.models", "--backend", backend, "--json", str(path)]
            subprocess.run(command, check=True)
            rows = msgspec.json.decode(path.read_bytes(), type=Rows)
            record("models", {f"{row.what}, {row.models}": row.value for row in rows.figures}, backend=backend)
