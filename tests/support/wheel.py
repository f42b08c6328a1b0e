"""The wheel of hub, and environments with it, without a network."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import zipfile
from email import message_from_bytes
from importlib.metadata import distribution
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
UV: Final = Path(sys.executable).with_name("uv")


def build(folder: Path, *options: str) -> None:
    """Builds the wheel and the source distribution into a folder; `-t wheel` builds only the wheel."""
    command: list[str | Path] = [sys.executable, "-m", "hatchling", "build", "-d", folder, *options]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)


def install(wheel: Path, environment: Path) -> None:
    """Installs a wheel into an environment, which then has the locked dependencies of the running one too."""
    python = environment / "bin" / "python"
    command: list[str | Path] = [UV, "--quiet", "--offline", "--no-cache", "pip", "install", "--no-deps"]
    subprocess.run([*command, "--python", python, wheel], check=True)
    # A line of a .pth file adds a folder, but not what the .pth files in that folder name, such as the checkout.
    packages = sysconfig.get_path("purelib", vars={"base": str(environment)})
    (Path(packages) / "locked.pth").write_text(sysconfig.get_path("purelib") + "\n")


def pip(wheel: Path, environment: Path, arguments: list[str]) -> None:
    """What `pip install` of the wheel and of other packages does, as far as the running environment has these packages.

    Raises:
        AssertionError: It is another command, another wheel, an extra that the wheel does not have, or a package that is not there.
    """
    command, *requested = arguments
    assert command == "install", command
    name, _, extras = requested.pop(0).partition("[")
    assert name.rpartition("/")[2] == wheel.name, f"{name}: the wheel is called {wheel.name}"
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = (archive.read(each) for each in archive.namelist() if each.endswith(".dist-info/METADATA"))
    offered = set(message_from_bytes(metadata).get_all("Provides-Extra", []))
    assert set(extras.rstrip("]").split(",")) <= offered, f"the wheel has the extras {offered}"
    install(wheel, environment)
    for package in requested:  # with its command, whose first line names the interpreter
        for script in distribution(package).entry_points.select(group="console_scripts"):
            path = environment / "bin" / script.name
            path.write_text(f"#!{environment}/bin/python\nfrom {script.module} import {script.attr} as main\nmain()\n")
            path.chmod(0o755)


if __name__ == "__main__":
    pip(Path(os.environ["WHEEL"]), Path(os.environ["VIRTUAL_ENV"]), sys.argv[1:])
