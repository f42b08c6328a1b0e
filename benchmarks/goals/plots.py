"""Curves of growth as SVG: a line for each backend and name, over an axis of powers of ten."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from math import log10
from typing import Final

from benchmarks.goals.measured import Measured
from benchmarks.records import Curve

WIDTH: Final = 720
HEIGHT: Final = 260
LEFT: Final = 60
RIGHT: Final = 200
TOP: Final = 34
BOTTOM: Final = 44
COLOURS: Final = ("#1f6feb", "#d4762c", "#b62324", "#6e40c9", "#1a7f37", "#57606a")
DASHES: Final = {"trio": "5 3"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """A picture of the page.

    Attributes:
        file: Its name.
        title: What the curves are.
        x: What grows.
        benchmark: Whose file has the curves.
        curves: Their names.
        logarithmic: Whether the axis of what grows has powers of ten.
    """

    file: str
    title: str
    x: str
    benchmark: str
    curves: Sequence[str]
    logarithmic: bool = True


PLOTS: Final = (
    Plot(
        file="growth-queue.svg",
        title="CPU per task in microseconds, ten at a time",
        x="tasks queued",
        benchmark="growth",
        curves=("client us", "instance us", "broker us", "store us"),
    ),
    Plot(
        file="growth-bytes.svg",
        title="Redis per queued task in bytes",
        x="tasks queued",
        benchmark="growth",
        curves=("redis bytes",),
    ),
    Plot(
        file="growth-instances.svg",
        title="CPU of the registry per ping and per login in microseconds",
        x="instances",
        benchmark="growth",
        curves=("ping us", "login us"),
    ),
    Plot(
        file="growth-models.svg",
        title="CPU of the gateway per request in microseconds, memory per model in kB",
        x="models",
        benchmark="growth",
        curves=("request us", "model kB"),
    ),
    Plot(
        file="memory.svg",
        title="RSS in MB",
        x="tasks",
        benchmark="memory",
        curves=("gateway MB", "instance MB"),
        logarithmic=False,
    ),
)


def plotted(plot: Plot, measured: Measured) -> Mapping[str, Curve]:
    """The curves of a plot that were measured, by their label."""
    record = measured.records.get(plot.benchmark)
    if record is None:
        return {}
    found = {
        f"{name}, {backend}" if backend else name: record.curve(name, backend)
        for name in plot.curves
        for backend in record.parts
    }
    return {label: curve for label, curve in found.items() if len(curve) > 1}


def svg(plot: Plot, curves: Mapping[str, Curve]) -> str:
    """A picture; its vertical axis begins at zero."""
    xs = [x for curve in curves.values() for x, _ in curve]
    low, high = min(xs), max(xs)
    top = max(y for curve in curves.values() for _, y in curve) * 1.1 or 1.0

    def across(x: float) -> float:
        share = (log10(x) - log10(low)) / (log10(high) - log10(low)) if plot.logarithmic else (x - low) / (high - low)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def down(y: float) -> float:
        return TOP + (1 - y / top) * (HEIGHT - TOP - BOTTOM)

    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="11">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="18" font-size="13" fill="#24292f">{escape(plot.title)}</text>',
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2:g}" y="{HEIGHT - 8}" text-anchor="middle" fill="#57606a">{escape(plot.x)}</text>',
    ]
    lines += [
        f'<path d="M{LEFT} {down(tick):.1f}H{WIDTH - RIGHT}" stroke="#d0d7de"/>'
        f'<text x="{LEFT - 6}" y="{down(tick) + 4:.1f}" text-anchor="end" fill="#57606a">{tick:,g}</text>'
        for tick in _ticks(top)
    ]
    marks = sorted(set(xs)) if plot.logarithmic else [low, (low + high) / 2, high]
    lines += [
        f'<text x="{across(x):.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle" fill="#57606a">{x:,.0f}</text>'
        for x in marks
    ]
    for index, (label, curve) in enumerate(curves.items()):
        colour = COLOURS[index // 2 % len(COLOURS)]
        dash = next((f' stroke-dasharray="{dash}"' for name, dash in DASHES.items() if label.endswith(name)), "")
        points = " ".join(f"{across(x):.1f},{down(y):.1f}" for x, y in curve)
        lines.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>')
        y = TOP + 10 + 18 * index
        lines.append(
            f'<path d="M{WIDTH - RIGHT + 14} {y - 4}h22" stroke="{colour}" stroke-width="2"{dash}/>'
            f'<text x="{WIDTH - RIGHT + 42}" y="{y}" fill="#24292f">{escape(label)}</text>'
        )
    return "\n".join([*lines, "</svg>"]) + "\n"


def _ticks(top: float) -> Sequence[float]:
    """Round numbers from zero to below `top`, four to eight of them."""
    step = 10.0 ** int(log10(top) // 1)
    for divisor in (1, 2, 5, 10):
        if top / (step / divisor) >= 4:
            step /= divisor
            break
    return [step * number for number in range(int(top / step) + 1)]
