"""Fetches the script that draws the diagrams of pages: one file of an npm package, checked against its sums.

A site would otherwise load it from another host. Needs npm on PATH.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

from scripts.site.staging import CACHE
from scripts.vendor import Package, fetch


def main() -> None:
    for name, entry in tomllib.loads(Path(__file__).with_name("vendor.toml").read_text()).items():
        fetch(
            Package(
                name=name, version=entry["version"], integrity=entry["integrity"], folder=CACHE, files=entry["files"]
            )
        )


if __name__ == "__main__":
    main()
