"""The committed dashboard as Grafana would ask for its data."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from tests.observability.config import ROOT

DASHBOARD: Final = ROOT / "deploy" / "grafana" / "dashboards" / "hub.json"

_LABEL_VALUES: Final = re.compile(r"label_values\((?P<selector>.+), *(?P<label>\w+)\)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One query of one panel."""

    panel: str
    promql: str
    instant: bool


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return found


def variable(name: str) -> dict[str, Any]:
    found: dict[str, Any]
    (found,) = (each for each in dashboard()["templating"]["list"] if each["name"] == name)
    return found


def label_values(query: str) -> tuple[str, str]:
    """The selector and the label of a query of a variable."""
    match = _LABEL_VALUES.fullmatch(query)
    assert match, query
    return match["selector"], match["label"]


def targets(*, model: str, interval: str) -> Iterator[Target]:
    """Every query, with the dashboard's variables put in.

    Args:
        model: What `$model` stands for, a regular expression.
        interval: What `$__rate_interval` stands for.
    """
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", []):
            promql = target["expr"].replace("$__rate_interval", interval).replace("$model", model)
            assert "$" not in promql, promql
            yield Target(panel=panel["title"], promql=promql, instant=bool(target.get("instant")))
