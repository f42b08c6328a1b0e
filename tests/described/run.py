"""One run of schemathesis in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent
SEED: Final = 9


def conformance(url: str, *, examples: int, seconds: float, report: Path) -> str:
    """Tries everything that `url`/openapi.json describes: examples, edges, random and stateful, all checks.

    Args:
        url: Of a running server.
        examples: Requests for each operation at most, in each phase of random ones.
        seconds: After which the run is ended, and has failed.
        report: A folder for what schemathesis writes beside its output.

    Returns:
        What it found; empty if nothing.
    """
    command = [str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(FOLDER / "schemathesis.toml")]
    command += ["run", f"{url}/openapi.json", "--seed", f"{SEED}", "--max-examples", f"{examples}"]
    command += ["--request-timeout", "5", "--continue-on-failure", "--no-color", "--warnings", "off"]
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": "tests.described.hooks", "PYTHONPATH": str(FOLDER.parents[1])}
    done = subprocess.run(
        command, cwd=report, env=environment, capture_output=True, text=True, timeout=seconds, check=False
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr
