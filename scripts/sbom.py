"""Writes a software bill of materials (CycloneDX 1.6, JSON) to the standard output: everything that hub ships or installs.

It is made of what the repository pins: `requirements/run.lock` (what `pip install` and the image take), and
`scripts/vendor.toml` (the browser code in the package). With `--dev` the tools of `requirements/dev.lock` come in too, as
excluded from what runs. Nothing is asked of any network, and the same tree gives the same document.
"""

from __future__ import annotations

import json
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from uuid import NAMESPACE_URL, uuid5

ROOT: Final = Path(__file__).resolve().parents[1]

_PIN: Final = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?==([^\s;\\]+)")
_HASH: Final = re.compile(r"--hash=sha256:([0-9a-f]{64})")

Component = dict[str, Any]


def locked(lock: Path) -> Iterator[Component]:
    """The packages of a lock with the sums of all their files; pip downloads one of them, depending on the platform."""
    found: Component | None = None
    for line in lock.read_text().splitlines():
        pin = _PIN.match(line)
        if pin is not None:
            if found is not None:
                yield found
            name, version = re.sub(r"[-_.]+", "-", pin[1]).lower(), pin[2]
            purl = f"pkg:pypi/{name}@{version}"
            found = {
                "type": "library",
                "bom-ref": purl,
                "name": name,
                "version": version,
                "purl": purl,
                "properties": [],
            }
        if found is not None:
            found["properties"] += [{"name": "hub:file:sha256", "value": value} for value in _HASH.findall(line)]
    if found is not None:
        yield found


def vendored(listing: Path) -> Iterator[Component]:
    """The third-party browser code in the package."""
    for name, entry in tomllib.loads(listing.read_text()).items():
        purl = f"pkg:npm/{name}@{entry['version']}"
        yield {
            "type": "library",
            "bom-ref": purl,
            "name": name,
            "version": entry["version"],
            "purl": purl,
            "licenses": [{"license": {"id": entry["licence"]}}],
            "components": [
                {
                    "type": "file",
                    "bom-ref": f"{purl}#{path}",
                    "name": path,
                    "hashes": [{"alg": "SHA-256", "content": digest}],
                }
                for path, digest in entry["files"].items()
            ],
        }


def project_version() -> str:
    """The version in `src/hub/__init__.py`, by the pattern with which the wheel is built."""
    source = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["version"]
    found = re.search(source["pattern"], (ROOT / source["path"]).read_text())
    if found is None:
        raise SystemExit(f"{source['path']} has no version")
    return str(found["version"])


def bill(*, dev: bool) -> dict[str, Any]:
    """The document.

    Args:
        dev: Whether to list what only development needs, too.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    version = project_version()
    running = [*locked(ROOT / "requirements/run.lock"), *vendored(ROOT / "scripts/vendor.toml")]
    known = {component["bom-ref"] for component in running}
    tools = locked(ROOT / "requirements/dev.lock") if dev else ()
    excluded = [{**component, "scope": "excluded"} for component in tools if component["bom-ref"] not in known]
    root = f"pkg:pypi/{project['name']}@{version}"
    components = [*({**component, "scope": "required"} for component in running), *excluded]
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid5(NAMESPACE_URL, json.dumps(components, sort_keys=True))}",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": root,
                "name": project["name"],
                "version": version,
                "purl": root,
                "licenses": [{"license": {"id": "MIT"}}],
            }
        },
        "components": components,
        "dependencies": [
            {"ref": root, "dependsOn": sorted(known)},
            *({"ref": component["bom-ref"]} for component in components),
        ],
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(bill(dev="--dev" in sys.argv[1:]), indent=2) + "\n")
