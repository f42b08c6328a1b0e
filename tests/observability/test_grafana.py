"""The dashboard and its provisioning, as far as one can see without a Grafana."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import yaml

from hub.web.charts import CHARTS
from scripts.grafana_charts import for_grafana
from tests.observability import grafana
from tests.observability.config import CONFIG, ROOT

PROVISIONING = ROOT / "deploy" / "grafana" / "provisioning"


def provisioned(kind: str) -> dict[str, Any]:
    document = yaml.safe_load((PROVISIONING / kind / "hub.yml").read_text())
    assert document["apiVersion"] == 1
    (only,) = document[{"datasources": "datasources", "dashboards": "providers"}[kind]]
    assert isinstance(only, dict)
    return only


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = grafana.dashboard()["panels"]
    return found


def test_links_to_the_dashboard_do_not_change() -> None:
    board = grafana.dashboard()

    assert (board["uid"], board["title"]) == ("hub", "hub")
    assert [panel["id"] for panel in panels()] == list(range(1, len(panels()) + 1))


def test_it_has_every_chart_of_the_built_in_dashboard_under_the_same_name() -> None:
    titles = {panel["title"]: panel.get("description") for panel in panels()}

    assert {chart.title: chart.help for chart in CHARTS}.items() <= titles.items()


def test_every_panel_asks_the_chosen_data_source() -> None:
    chosen = {"type": "prometheus", "uid": "${datasource}"}

    assert [panel["title"] for panel in panels() if panel["type"] != "row" and panel["datasource"] != chosen] == []
    assert grafana.variable("model")["datasource"] == chosen


def test_panels_fill_their_lines_and_do_not_overlap() -> None:
    taken = [
        (x, y)
        for at in (panel["gridPos"] for panel in panels())
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]

    assert len(taken) == len(set(taken))
    assert set(taken) == set(itertools.product(range(24), range(max(y for _, y in taken) + 1)))


def test_the_data_source_is_the_one_that_the_dashboard_opens_with() -> None:
    source = provisioned("datasources")

    assert grafana.variable("datasource")["current"]["value"] == source["uid"]
    assert grafana.variable("datasource")["query"] == source["type"]
    assert source["isDefault"]


def test_rates_follow_the_scrape_interval_that_prometheus_has() -> None:
    scrape = yaml.safe_load(CONFIG.read_text())["global"]["scrape_interval"]

    assert provisioned("datasources")["jsonData"]["timeInterval"] == scrape


def test_grafana_and_prometheus_are_where_compose_has_them() -> None:
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    folder = provisioned("dashboards")["options"]["path"]
    opened = services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]

    assert f"./deploy/grafana/dashboards:{folder}:ro" in services["grafana"]["volumes"]
    assert opened == f"{folder}/{grafana.DASHBOARD.name}"
    assert provisioned("datasources")["url"] == "http://prometheus:9090"
    assert "hub_token" in services["prometheus"]["secrets"]


@pytest.mark.parametrize(
    ("promql", "expected"),
    [
        ("max(hub_models)", "max(hub_models)"),
        ("sum(hub_dead_letters)", 'sum(hub_dead_letters{model=~"$model"})'),
        ('rate(hub_x_total{a="b"}[1m])', 'rate(hub_x_total{a="b", model=~"$model"}[$__rate_interval])'),
        (
            'sum by (hub_instance) (up{hub_instance!=""})',
            'sum by (hub_instance) (up{hub_instance!="", model=~"$model"})',
        ),
        (
            "hub_store_connected / hub_instance_in_flight",
            'hub_store_connected / hub_instance_in_flight{model=~"$model"}',
        ),
    ],
)
def test_a_query_depends_on_the_zoom_and_the_chosen_models(promql: str, expected: str) -> None:
    assert for_grafana(promql) == expected
