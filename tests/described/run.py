"""One run of schemathesis in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent
CONFIG: Final = FOLDER / "schemathesis.toml"
CREDENTIAL: Final = """
[auth.openapi.bearer]
bearer = "{credential}"
"""
SEED: Final = 9


@dataclass(frozen=True, slots=True)
class Conformance:
    """What came of a run.

    Attributes:
        found: What schemathesis reports; empty if nothing is wrong.
        checks: The names of the checks that replies were held against.
        phases: Those of which at least one scenario was carried out.
    """

    found: str
    checks: frozenset[str]
    phases: frozenset[str]


def conformance(url: str, *, examples: int, seconds: float, report: Path, credential: str = "") -> Conformance:
    """Tries everything that `url`/openapi.json describes: examples, edges, random and stateful, all checks.

    Args:
        url: Of a running server.
        examples: Requests for each operation at most, in each phase of random ones.
        seconds: After which the run is ended, and has failed.
        report: A folder for what schemathesis writes beside its output.
        credential: A bearer token, sent with every request but those that must be refused without it; empty: none is asked for.
    """
    events = report / "events.ndjson"
    config = report / CONFIG.name
    config.write_text(CONFIG.read_text() + (CREDENTIAL.format(credential=credential) if credential else ""))
    command = [str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(config)]
    command += ["run", f"{url}/openapi.json", "--seed", f"{SEED}", "--max-examples", f"{examples}"]
    command += ["--request-timeout", "5", "--continue-on-failure", "--no-color", "--warnings", "off"]
    command += ["--report", "ndjson", "--report-ndjson-path", str(events)]
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": "tests.described.hooks", "PYTHONPATH": str(FOLDER.parents[1])}
    done = subprocess.run(
        command, cwd=report, env=environment, capture_output=True, text=True, timeout=seconds, check=False
    )
    checks: set[str] = set()
    phases: set[str] = set()
    for line in events.read_text().splitlines():
        scenario = json.loads(line).get("ScenarioFinished")
        if scenario is not None and scenario["status"] != "skip":
            phases.add(scenario["phase"])
            checks |= {check["name"] for case in scenario["recorder"]["checks"].values() for check in case}
    found = "" if done.returncode == 0 else done.stdout + done.stderr
    return Conformance(found, frozenset(checks), frozenset(phases))
