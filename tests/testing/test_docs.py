"""docs/testing.md against the test kit: its snippets parse, and what they name exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from textwrap import dedent
from typing import Final

import pytest

import hub.testing
import pytest_hub
from hub.cli.new.project import write_project

PAGE: Final = (Path(__file__).parents[2] / "docs/testing.md").read_text()
SNIPPETS: Final = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def test_what_the_page_names_exists() -> None:
    names = set(re.findall(r"hub\.testing\.(\w+)", PAGE)) - {"proxy"}
    assert {"run", "virtual_backend", "LocalClient", "ModelFailed"} <= names
    assert {name for name in names if not hasattr(hub.testing, name)} == set()
    methods = set(re.findall(r"\bclient\.(\w+)", PAGE))
    assert {"call", "submit", "stream", "redeliver", "lose_connection", "stall_store"} == methods
    assert {name for name in methods if not hasattr(hub.testing.LocalClient, name)} == set()
    fixtures = set(re.findall(r"^\| `(hub_\w+)`", PAGE, re.MULTILINE))
    assert fixtures == {name for name in vars(pytest_hub) if name.startswith("hub_")}


@pytest.mark.parametrize("snippet", SNIPPETS, ids=range(len(SNIPPETS)))
def test_a_snippet_parses(snippet: str) -> None:
    assert ast.parse(dedent(snippet)).body


def test_the_first_snippet_is_a_test_of_new_projects(tmp_path: Path) -> None:
    write_project("sentiment", "unary", tmp_path / "sentiment")
    made = (tmp_path / "sentiment/tests/test_sentiment.py").read_text()
    assert SNIPPETS[0].strip().splitlines() == [line for line in made.splitlines() if not line.startswith('"""')][1:]
