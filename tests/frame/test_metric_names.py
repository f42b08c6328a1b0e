"""Queries and alerts name metrics that hub has; tests/system/test_metrics.py holds the page against what hub tells."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hub.web.charts import CHARTS
from tests.system.metrics_page import SECTIONS, documented, queries

RULES = Path(__file__).parents[2] / "deploy" / "prometheus" / "hub.rules.yml"

QUERIES = [
    *(query.promql for chart in CHARTS for query in chart.queries),
    *queries(),
    *(line for line in RULES.read_text().splitlines() if re.search(r"\bhub_\w+[{)]", line)),
]


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_names_metrics_that_there_are(query: str) -> None:
    known = {name for sections in SECTIONS.values() for section in sections for name in documented(section)}
    names = {re.sub(r"_(bucket|sum|count)$", "", name) for name in re.findall(r"\bhub_\w+", query)}
    labels = {"hub_instance"}
    assert names - labels
    assert names - labels <= known
