"""docs/security.md names existing tests."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
NAMED = re.compile(r"(tests/[\w/]+\.py)|::(test_\w+)")


def test_each_row_of_the_threat_model_names_tests_that_exist() -> None:
    rows = [line for line in (ROOT / "docs/security.md").read_text().splitlines() if line.startswith("| ")]
    shown = 0
    for row in rows:
        file = ""
        for path, name in NAMED.findall(row.rsplit("|", 2)[1]):
            file = path or file
            text = (ROOT / file).read_text()
            assert not name or f"def {name}(" in text, f"{file} has no {name}"
            shown += 1
    assert shown > len(rows)
