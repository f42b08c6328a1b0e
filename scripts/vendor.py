"""Installs third-party browser code into `src/hub/web/assets`, as listed in `scripts/vendor.toml`.

Needs npm for the download. With `--check` it needs nothing: it compares the files in the tree with their sums.
Exit code 1 when a package or a file is not what the list says; then nothing of that package has been written.
"""

from __future__ import annotations

import base64
import hashlib
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parents[1]
ASSETS = ROOT / "src" / "hub" / "web" / "assets"


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """One package of the list; `files` maps paths inside the package to SHA-256 sums."""

    name: str
    version: str
    integrity: str
    folder: Path
    files: dict[str, str]


def packages() -> Iterator[Package]:
    for name, entry in tomllib.loads((ROOT / "scripts" / "vendor.toml").read_text()).items():
        yield Package(
            name=name,
            version=entry["version"],
            integrity=entry["integrity"],
            folder=ASSETS / entry["folder"],
            files=entry["files"],
        )


def differences(package: Package) -> list[str]:
    """Differences between the tree and the list, as sentences."""
    expected = {PurePosixPath(path).name: digest for path, digest in package.files.items()}
    found = {file.name: _sha256(file.read_bytes()) for file in package.folder.glob("*")}
    return [
        *(f"{package.folder / name} is missing" for name in sorted(expected.keys() - found.keys())),
        *(f"{package.folder / name} is not on the list" for name in sorted(found.keys() - expected.keys())),
        *(
            f"{package.folder / name} has the sum {found[name]}, the list says {expected[name]}"
            for name in sorted(expected.keys() & found.keys())
            if expected[name] != found[name]
        ),
    ]


def fetch(package: Package) -> None:
    """Downloads a package, checks it, and writes the listed files."""
    with tempfile.TemporaryDirectory() as folder:
        wanted = f"{package.name}@{package.version}"
        subprocess.run(["npm", "pack", "--silent", "--pack-destination", folder, wanted], check=True, stdout=sys.stderr)
        (archive,) = Path(folder).glob("*.tgz")
        algorithm, _, expected = package.integrity.partition("-")
        actual = base64.b64encode(hashlib.new(algorithm, archive.read_bytes()).digest()).decode()
        if actual != expected:
            raise SystemExit(f"{wanted} has the integrity {algorithm}-{actual}, the list says {package.integrity}")
        contents = dict(_contents(archive, package))
    package.folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (package.folder / name).write_bytes(content)


def _contents(archive: Path, package: Package) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(archive) as tar:
        for path, expected in package.files.items():
            member = tar.extractfile(f"package/{path}")
            if member is None:
                raise SystemExit(f"{package.name}@{package.version} has no file {path}")
            content = member.read()
            if _sha256(content) != expected:
                raise SystemExit(f"{package.name}: {path} has the sum {_sha256(content)}, the list says {expected}")
            yield PurePosixPath(path).name, content


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def main(arguments: list[str]) -> int:
    found = []
    for package in packages():
        if "--check" not in arguments:
            fetch(package)
        found += differences(package)
    for sentence in found:
        print(sentence, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
