"""What a part of the benchmark found."""

from __future__ import annotations

from dataclasses import dataclass, field

from benchmarks.records import Curve


@dataclass(frozen=True, slots=True)
class Found:
    """Figures and curves by name."""

    figures: dict[str, float] = field(default_factory=dict)
    curves: dict[str, Curve] = field(default_factory=dict)

    def __or__(self, other: Found) -> Found:
        return Found(self.figures | other.figures, self.curves | other.curves)

    def add(self, name: str, level: float, value: float) -> None:
        """Adds a point to a curve and prints it."""
        self.curves.setdefault(name, []).append((level, value))
        print(f"  {name} at {level:,.0f}: {value:,.1f}", flush=True)
