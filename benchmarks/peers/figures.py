"""From results of several rounds to medians, ranges, and ratios that are formed within a round."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final, final

from benchmarks.peers.runs import Result

Value = Callable[[Result], float]


def rate(result: Result) -> float:
    return result.rate


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of some rounds, with its range."""

    middle: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(median(values), min(values), max(values))


@final
class Figures:
    """The results of a run of the benchmark."""

    def __init__(self, results: Iterable[Result]) -> None:
        self.results: Final = list(results)

    def of(self, scenario: str, system: str) -> Sequence[Result]:
        """The measurements that were made, whether or not their deliveries were exact."""
        found = (each for each in self.results if each.scenario == scenario and each.system == system)
        return [each for each in found if not each.error]

    def systems(self, scenario: str) -> Sequence[str]:
        """The systems of a scenario in the order in which they were measured first, with those that failed."""
        return list(dict.fromkeys(each.system for each in self.results if each.scenario == scenario))

    def spread(self, scenario: str, system: str, value: Value = rate) -> Spread | None:
        """`None` if it was never measured."""
        found = [value(each) for each in self.of(scenario, system)]
        return Spread.of(found) if found else None

    def cpu(self, scenario: str, system: str, *roles: str) -> float | None:
        """Median of the CPU of these processes in microseconds per task; 0 if it has none of them."""
        found = [sum(each.cpu.get(role, 0.0) for role in roles) for each in self.of(scenario, system)]
        return median(found) if found else None

    def ratio(self, scenario: str, system: str, other: str, value: Value = rate, *, beside: str = "") -> Spread | None:
        """`system` / `other`, formed in each round that has both; `other` in the scenario `beside`, if that is another one."""
        above = {each.round: value(each) for each in self.of(scenario, system)}
        below = {each.round: value(each) for each in self.of(beside or scenario, other)}
        pairs = [above[number] / below[number] for number in above if below.get(number)]
        return Spread.of(pairs) if pairs else None

    def failures(self, scenario: str, system: str) -> Sequence[str]:
        """Errors, and what the checks of exact delivery found; each once."""
        found = [each for each in self.results if each.scenario == scenario and each.system == system]
        return list(dict.fromkeys(text for each in found for text in (*filter(None, [each.error]), *each.problems)))
