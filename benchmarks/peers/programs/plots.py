"""Plots of results as SVG, with text as text: `python -m benchmarks.peers.programs.plots RESULTS RATES.svg CPU.svg`.

Runs in the environment of the peers, which has matplotlib; it needs nothing of hub.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib as mpl

mpl.use("svg")

from matplotlib import pyplot as plt

ROLES = {
    "client": ("#1f6feb", "client"),
    "worker": ("#54aeff", "worker"),
    "broker": ("#d4762c", "RabbitMQ"),
    "store": ("#b62324", "Redis"),
}
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "hub",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def measured(document: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The results of the first scenario, by system."""
    found: dict[str, list[dict[str, Any]]] = {}
    for result in document["results"]:
        if result["scenario"] == "many" and not result.get("error"):
            found.setdefault(result["system"], []).append(result)
    return dict(sorted(found.items(), key=lambda each: median(result["rate"] for result in each[1])))


def rates(systems: dict[str, list[dict[str, Any]]], path: str) -> None:
    figure, axes = plt.subplots(figsize=(7.5, 0.45 * len(systems) + 1))
    for row, (name, results) in enumerate(systems.items()):
        values = [result["rate"] for result in results]
        middle = median(values)
        axes.barh(row, middle, color="#1f6feb" if name.startswith("hub") else "#8c959f", height=0.6)
        axes.plot([min(values), max(values)], [row, row], color="#24292f", linewidth=1.5)
        label(axes, max(values), row, middle)
    axes.set_yticks(range(len(systems)), list(systems))
    axes.set_xlabel("tasks per second, 100 bytes, 200 in flight: median and range")
    axes.margins(x=0.12)
    axes.set_xlim(left=0)
    save(figure, path)


def cpu(systems: dict[str, list[dict[str, Any]]], path: str) -> None:
    figure, axes = plt.subplots(figsize=(7.5, 0.45 * len(systems) + 1.3))
    for row, results in enumerate(systems.values()):
        left = 0.0
        for role, (colour, text) in ROLES.items():
            used = median(result["cpu"].get(role, 0.0) for result in results)
            axes.barh(row, used, left=left, color=colour, height=0.6, label=text if row == 0 else None)
            left += used
        label(axes, left, row, left)
    axes.set_yticks(range(len(systems)), list(systems))
    axes.set_xlabel("CPU per task, microseconds")
    axes.margins(x=0.12)
    axes.legend(ncols=4, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    save(figure, path)


def label(axes: Any, end: float, row: int, number: float) -> None:
    axes.annotate(f"{number:,.0f}", (end, row), xytext=(4, 0), textcoords="offset points", va="center")


def save(figure: Any, path: str) -> None:
    figure.savefig(path, format="svg", bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)
    lines = [line.rstrip() for line in Path(path).read_text().splitlines()]
    Path(path).write_text("\n".join(lines) + "\n")


def main() -> None:
    source, rates_path, cpu_path = sys.argv[1:]
    systems = measured(json.loads(Path(source).read_text()))
    if systems:
        with mpl.rc_context(STYLE):
            rates(systems, rates_path)
            cpu(systems, cpu_path)


if __name__ == "__main__":
    main()
