"""The workflow of the forge against its schema, the classifiers, and the Makefile."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOW = ROOT / ".github" / "workflows" / "ci.yml"


def complaints(path: Path) -> str:
    """What is wrong with a workflow, by the schema that check-jsonschema has; empty if nothing is."""
    program = Path(sys.executable).with_name("check-jsonschema")
    command: list[str | Path] = [program, "--builtin-schema", "vendor.github-workflows", path]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return done.stdout if done.returncode else ""


def moving(text: str) -> list[str]:
    """Actions that are not pinned by a commit, with its version in a comment."""
    pinned = re.compile(r"[\w./-]+@[0-9a-f]{40} # v\d+(\.\d+)*")
    return [found for found in re.findall(r"uses: (.*)", text) if not pinned.fullmatch(found)]


def jobs() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(WORKFLOW.read_text())["jobs"]
    return found


def test_the_workflow_satisfies_its_schema_and_pins_its_actions() -> None:
    assert complaints(WORKFLOW) == ""
    assert moving(WORKFLOW.read_text()) == []


@pytest.mark.parametrize(("old", "new"), [("runs-on:", "runs_on:"), ("- run: make site", "- runs: make site")])
def test_a_mistake_in_the_workflow_is_found(old: str, new: str, tmp_path: Path) -> None:
    copy = tmp_path / "ci.yml"
    text = WORKFLOW.read_text()
    assert old in text
    copy.write_text(text.replace(old, new))

    assert "Schema validation errors" in complaints(copy)


@pytest.mark.parametrize("action", ["actions/checkout@v4", "a/b@main # v1", f"a/b@{'a' * 40}"])
def test_an_action_that_may_move_is_found(action: str) -> None:
    assert moving(f"- uses: {action}\n") == [action]


def test_every_supported_python_runs_what_ci_runs() -> None:
    classifiers = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["classifiers"]
    supported = [found[1] for each in classifiers if (found := re.fullmatch(r".* :: Python :: (3\.\d+)", each))]
    check = jobs()["check"]

    assert check["strategy"]["matrix"]["python"] == supported
    assert ".ci/run" in [step.get("run") for step in check["steps"]]


def test_the_workflow_runs_targets_of_the_makefile() -> None:
    targets = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    commands = [step["run"] for job in jobs().values() for step in job["steps"] if "run" in step]
    used = [target for command in commands if command.startswith("make ") for target in command.split()[1:]]

    assert targets is not None
    assert used == ["dist", "sbom", "site"]
    assert set(used) <= set(targets[1].split())
