"""Queries and alerts name existing metrics; tests/system/test_metrics.py compares the page with the metrics."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from hub.web.charts import CHARTS
from tests.system.metrics_page import SECTIONS, documented, queries

RULES = Path(__file__).parents[2] / "deploy" / "prometheus" / "hub.rules.yml"
TARGET_LABELS = frozenset({"hub_instance"})


def alerts() -> list[str]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule["expr"] for group in groups for rule in group["rules"] if "hub_" in rule["expr"]]


@pytest.mark.parametrize(
    "query", [*(query.promql for chart in CHARTS for query in chart.queries), *queries(), *alerts()]
)
def test_a_query_names_existing_metrics(query: str) -> None:
    known = {name for sections in SECTIONS.values() for section in sections for name in documented(section)}
    names = {re.sub(r"_(bucket|sum|count)$", "", name) for name in re.findall(r"\bhub_\w+", query)} - TARGET_LABELS
    assert names
    assert names <= known
