"""What benchmarks measured, as files in `benchmarks/results`: `docs/performance.md` is made from them."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

import hub

RESULTS: Final = Path(__file__).parent / "results"

_DATE: Final = "%Y-%m-%d %H:%M UTC"

Curve = list[tuple[float, float]]
"""Points of a plot: what grows, and the cost of it."""


class Part(msgspec.Struct, kw_only=True):
    """What was measured on one backend.

    Attributes:
        date: When it ended, UTC.
        figures: Name -> figure; the unit is the end of the name.
        curves: Name -> points.
        notes: Name -> text.
    """

    date: str
    figures: dict[str, float]
    curves: dict[str, Curve] = {}
    notes: dict[str, str] = {}


class Record(msgspec.Struct, kw_only=True):
    """The file of one benchmark.

    Attributes:
        machine: Name -> what it is.
        versions: Program -> version.
        load: Mean load of the machine in the last minute of the measurement.
        parts: Backend -> what was measured on it. The backend is empty if the benchmark has no event loop.
    """

    machine: dict[str, str]
    versions: dict[str, str]
    load: float
    parts: dict[str, Part]

    def figure(self, name: str, backend: str = "") -> float | None:
        """A figure of a backend; `None` if it was not measured."""
        part = self.parts.get(backend)
        return None if part is None else part.figures.get(name)

    def curve(self, name: str, backend: str = "") -> Curve:
        """The points of a curve; none if it was not measured."""
        part = self.parts.get(backend)
        return [] if part is None else part.curves.get(name, [])


def read(name: str, folder: Path = RESULTS) -> Record | None:
    """The record of a benchmark; `None` if there is none."""
    path = folder / f"{name}.json"
    return msgspec.json.decode(path.read_bytes(), type=Record) if path.exists() else None


def record(
    name: str,
    figures: Mapping[str, float],
    *,
    backend: str = "",
    curves: Mapping[str, Sequence[tuple[float, float]]] | None = None,
    notes: Mapping[str, str] | None = None,
    folder: Path = RESULTS,
) -> None:
    """Writes what was measured on one backend into the file of a benchmark, and keeps the other backend in it.

    Args:
        name: Of the benchmark.
        figures: Name -> figure.
        backend: The event loop; empty if there is none.
        curves: Name -> points, for plots.
        notes: Name -> text.
        folder: Where the file is.
    """
    earlier = read(name, folder)
    part = Part(
        date=f"{datetime.now(UTC):{_DATE}}",
        figures={key: rounded(value) for key, value in figures.items()},
        curves={key: [(x, rounded(y)) for x, y in points] for key, points in (curves or {}).items()},
        notes=dict(notes or {}),
    )
    found = Record(
        machine=machine(),
        versions=versions(),
        load=round(os.getloadavg()[0], 1),
        parts=dict(sorted({**(earlier.parts if earlier else {}), backend: part}.items())),
    )
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.json").write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n")


def parsed(date: str) -> datetime:
    """A date as files have it."""
    return datetime.strptime(date, _DATE).replace(tzinfo=UTC)


def rounded(value: float) -> float:
    """Four significant digits, or all of the integer part."""
    return round(value) if abs(value) >= 1000 else float(f"{value:.4g}")


def machine() -> dict[str, str]:
    """What the measurements ran on."""
    models = [line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    memory = next((line.split()[1] for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), "0")
    return {
        "processors": f"{os.cpu_count()}",
        "processor": models[0] if models else platform.machine(),
        "memory": f"{int(memory) / 1e6:.1f} GB",
        "system": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
    }


def versions() -> dict[str, str]:
    """Versions of hub, and of the servers that tests and benchmarks start."""
    found = {"hub": hub.__version__}
    rabbitmq = sorted(Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*"))
    if rabbitmq:
        found["RabbitMQ"] = rabbitmq[-1].name.partition("-")[2]
    with suppress(OSError):
        text = subprocess.run(["redis-server", "--version"], capture_output=True, text=True, check=False).stdout
        found["Redis"] = text.partition("v=")[2].partition(" ")[0]
    return found


def _lines(path: str) -> Sequence[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
