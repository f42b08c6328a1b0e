"""The environment of the peers: pinned with hashes in `requirements.txt`, installed by `scripts/install-peers.sh` when needed."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
PYTHON: Final = ROOT / ".cache" / "peers" / "bin" / "python"

_VERSIONS: Final = """
import importlib.metadata, json, sys
print(json.dumps({name: importlib.metadata.version(name) for name in sys.argv[1:]}))
"""


def install() -> None:
    """Installs the peers unless the same versions are there already."""
    subprocess.run([str(ROOT / "scripts" / "install-peers.sh")], check=True, cwd=ROOT)


def versions(*packages: str) -> dict[str, str]:
    """The installed versions of peers, by package."""
    done = subprocess.run([str(PYTHON), "-c", _VERSIONS, *packages], check=True, capture_output=True, text=True)
    found: dict[str, str] = json.loads(done.stdout)
    return found
