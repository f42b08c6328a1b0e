"""The tables and queries of docs/metrics.md."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

PAGE: Final = Path(__file__).parents[2] / "docs" / "metrics.md"

_CONNECTIONS: Final = "Connections of gateway and instance"

_PROCESS: Final = "Every process"

SECTIONS: Final = {
    "registry": ["Registry", _PROCESS],
    "instance": ["Instance", _CONNECTIONS, _PROCESS],
    "gateway": ["Gateway", _CONNECTIONS, _PROCESS],
}
"""The sections of the page that list the metrics of each kind of process."""


def documented(section: str) -> dict[str, tuple[str, frozenset[str]]]:
    """Type and labels of each metric in the table of one section of the page."""
    text = PAGE.read_text().split(f"\n## {section}\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(hub_\w+)` \| (\w+) \|([^|]*)\| [^|]+ \|$", text, re.MULTILINE)
    assert len(rows) == text.count("\n| `"), f"a row of {section} does not describe a metric"
    return {name: (kind, frozenset(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}


def queries() -> list[str]:
    """The blocks of PromQL on the page."""
    return re.findall(r"```promql\n(.*?)```", PAGE.read_text(), re.DOTALL)
