"""All results that the page of goals is made from."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import msgspec

from benchmarks.peers.figures import Figures
from benchmarks.peers.page import Report
from benchmarks.records import RESULTS, Record, read


@dataclass(frozen=True, slots=True)
class Figure:
    """What was measured.

    Attributes:
        value: Is compared with the bound of the goal.
        text: Is on the page.
    """

    value: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Results of the comparison with peers, and of each other benchmark that wrote a file.

    Attributes:
        peers: The results of `benchmarks.peers`.
        report: The same with date, machine and versions; `None` if it was not run.
        records: Benchmark -> its file.
    """

    peers: Figures
    report: Report | None = None
    records: dict[str, Record] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path = RESULTS) -> Self:
        """Reads the files of a folder."""
        path = folder / "peers.json"
        report = msgspec.json.decode(path.read_bytes(), type=Report) if path.exists() else None
        names = sorted(each.stem for each in folder.glob("*.json") if each != path)
        found = {name: record for name in names if (record := read(name, folder)) is not None}
        return cls(peers=Figures([] if report is None else report.results), report=report, records=found)

    def figure(self, benchmark: str, name: str, backend: str, text: str = "{:,.4g}") -> Figure | None:
        """A figure of a benchmark's file; `text` is its format."""
        record = self.records.get(benchmark)
        value = None if record is None else record.figure(name, backend)
        return None if value is None else Figure(value, text.format(value))
