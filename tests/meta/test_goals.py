"""`docs/performance.md`: it is what the committed results give, and no goal is missed without a text."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.goals.goal import Goal
from benchmarks.goals.measured import Figure, Measured
from benchmarks.goals.outputs import ratios
from benchmarks.goals.page import GOALS, MISSED, NoReason, page, reasons
from benchmarks.goals.plots import PLOTS, plotted, svg
from benchmarks.peers.figures import Figures
from benchmarks.records import Part, Record, read, record

DOCS = Path(__file__).resolve().parents[2] / "docs"
GROWN = {"": Part(date="2026-01-01 00:00 UTC", figures={"help_s": 0.3})}


def measured(**parts: dict[str, Part]) -> Measured:
    records = {name: Record(machine={}, versions={}, load=0.0, parts=part) for name, part in parts.items()}
    return Measured(peers=Figures([]), records=records)


def test_the_page_is_what_the_committed_results_give() -> None:
    """`make bench ARGS="goals --page"` writes it."""
    assert (DOCS / "performance.md").read_text() == page(Measured.read(), reasons(MISSED.read_text()))


def test_the_plots_are_those_of_the_committed_results() -> None:
    found = Measured.read()
    for plot in PLOTS:
        if curves := plotted(plot, found):
            assert (DOCS / "images" / plot.file).read_text() == svg(plot, curves)


def test_a_goal_that_is_missed_without_a_text_is_an_error() -> None:
    with pytest.raises(NoReason, match="help"):
        page(measured(start=GROWN), {})


def test_the_text_of_a_goal_is_on_the_page_only_while_it_is_missed() -> None:
    texts = {"help": "An import takes 0.2 s."}
    reached = {"": Part(date="2026-01-01 00:00 UTC", figures={"help_s": 0.2})}

    assert "### `hub --help`: <= 0.25 s\n\nAn import takes 0.2 s." in page(measured(start=GROWN), texts)
    assert "An import takes" not in page(measured(start=reached), texts)


def test_a_goal_that_is_missed_on_one_backend_is_missed() -> None:
    both = {
        backend: Part(date="2026-01-01 00:00 UTC", figures={"up_s": seconds})
        for backend, seconds in (("asyncio", 1.0), ("trio", 3.0))
    }

    assert "| 1.00 s | 3.00 s | no |" in page(measured(start=both), {"up": "The import of a library."})


def test_what_was_not_measured_is_neither_reached_nor_missed() -> None:
    rows = [line for line in page(measured(), {}).splitlines() if line.startswith("| `hub --help`")]

    assert rows == ["| `hub --help` | <= 0.25 s | not measured |  |  | `start` |"]


def test_a_text_about_an_unknown_goal_is_an_error() -> None:
    with pytest.raises(KeyError, match="speed"):
        reasons("## speed\nNone.\n")


def test_keys_of_goals_are_unique() -> None:
    assert len({goal.key for goal in GOALS}) == len(GOALS)


@pytest.mark.parametrize(("value", "at_most", "reached"), [(1.0, True, True), (1.1, True, False), (0.9, False, False)])
def test_a_bound_is_reached_by_what_is_equal_to_it(value: float, at_most: bool, reached: bool) -> None:
    goal = Goal(key="x", what="", goal="", bound=1.0, command="", measure=lambda *_: None, at_most=at_most)

    assert goal.is_reached_by(Figure(value, "")) is reached


def test_a_record_keeps_the_other_backend(tmp_path: Path) -> None:
    record("x", {"a": 1.23456}, backend="asyncio", folder=tmp_path)
    record("x", {"a": 12345.6}, backend="trio", curves={"c": [(1, 2.0)]}, folder=tmp_path)
    found = read("x", tmp_path)

    assert found is not None
    assert found.figure("a", "asyncio") == 1.235
    assert found.figure("a", "trio") == 12346
    assert found.curve("c", "trio") == [(1.0, 2.0)]
    assert found.curve("c", "asyncio") == []


def test_of_several_forms_of_json_format_the_fastest_counts() -> None:
    text = """\
small: 40 bytes of JSON, 20 bytes of protobuf
  JSON to protobuf: hub    5.0 us, json_format   50.0 us, 10.0 times faster
  protobuf to JSON: hub    5.0 us, json_format   50.0 us, 10.0 times faster,   35.0 us,  7.0 times faster
"""

    assert ratios(text) == {"small, JSON to protobuf": 10.0, "small, protobuf to JSON": 7.0}
