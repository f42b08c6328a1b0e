"""The scripts of the pages, function by function, in the browser that runs them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.browser.conftest import Addresses, Browser

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def module(hub_up: Addresses, browser: Browser) -> Any:
    """Evaluates an expression about a module of ours, `m`."""
    browser.page.goto(f"{hub_up.dashboard}/tasks/none")  # a page that assigns no looks of its own

    def evaluate(name: str, expression: str) -> Any:
        return browser.page.evaluate(f"import('/assets/hub/{name}.js').then((m) => {expression})")

    return evaluate


def test_numbers_and_times_are_written_for_people(module: Any) -> None:
    assert module("format", "[null, 0, 999, 1234, 12345, 4.5e6].map(m.count)") == [
        "\u2013", "0", "999", "1,234", "12.3k", "4.5M",
    ]  # fmt: skip
    assert module("format", "[0, 0.25, 3.456, 12.34, 120].map(m.rate)") == ["0", "0.25", "3.46", "12.3", "120"]
    assert module("format", "[0, 0.0001, 0.004, 0.9999, 1.5, 59.6, 125, 7260, 180000].map(m.seconds)") == [
        "0 s", "< 1 ms", "4 ms", "1 s", "1.5 s", "1 min", "2 min 5 s", "2 h 1 min", "2 d 2 h",
    ]  # fmt: skip
    assert module("format", "[null, 0.4, 3.9, 60].map(m.ago)") == ["never", "just now", "3 s ago", "1 min ago"]


def test_a_model_looks_the_same_everywhere_and_no_two_look_alike(module: Any) -> None:
    names = [f"Model{number}" for number in range(40)]
    look = f"(m.assign({names}), {names}.map((name) => JSON.stringify(m.look(name))))"
    first = module("looks", look)
    assert len(set(first)) == 40  # eight colours with five kinds of dashes
    assert len({text.split(",")[0] for text in first[:8]}) > 1
    assert module("looks", f"(m.assign({names[::-1]}), {names}.map((name) => JSON.stringify(m.look(name))))") == first


def test_eight_models_have_eight_colours(module: Any) -> None:
    names = [f"M{number}" for number in range(8)]
    assert sorted(module("looks", f"(m.assign({names}), {names}.map((name) => m.look(name).colour))")) == [*range(1, 9)]


def test_the_series_takes_history_and_samples_and_forgets_the_oldest(module: Any) -> None:
    found = module(
        "series",
        """(() => {
            const series = new m.Series();
            const columns = ["live", "ready", "dead", "oldest", "finished", "failing", "failed", "run", "wait"];
            const model = (name, live, failed) => ({name, live, queue: {ready: 7, dead: 0, oldest_seconds: 1},
                work: {finished_per_second: 1, failed_per_second: 0, failed, run: {p95: 1}, wait: {p95: 2}}});
            const sample = (at, ...models) => series.add({at: new Date(at * 1000).toISOString(), models,
                totals: {active: models.length, failed: 5}});
            const old = Object.fromEntries(columns.map((column) => [column, [1, 1]]));
            series.load({times: [1000, 1002], models: [{name: "A", ...old}], totals: {active: [7, 1], failed: [1, 2]}});
            sample(1002, model("A", 1, 3));  // the one that the history ends with, again
            sample(1004, model("A", 0, 2), model("B", 2, 5));
            const before = {times: [...series.times], names: series.names, active: [...series.totals.active],
                b: [...series.column("B", "ready")], risen: series.risen("A", "failed")};
            sample(2500, model("B", 2, 9));
            series.show(["B"]);
            return {...before, total: m.risen(series.totals.failed), shown: series.names, kept: series.times, a: series.column("A", "live"), fell: series.risen("B", "failed")};
        })()""",
    )
    assert found["times"] == [1000, 1002, 1004]
    assert (found["names"], found["active"]) == (["A", "B"], [7, 1, 2])
    assert found["b"] == [None, None, 7]
    assert found["risen"] == 2
    assert (found["total"], found["shown"]) == (0, ["B"])
    assert found["kept"] == [1004, 2500]
    assert (found["a"], found["fell"]) == ([0, None], 4)
