"""docs/tutorial.md, word for word: its commands, files and expected output, in an empty folder with the built wheel.

What is not as on the reader's machine: ports are free ones; `pip` installs the wheel, and finds the packages that it depends on in
the environment of the tests, so that no network is needed; `python3 -m venv` leaves out pip.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.browser.conftest import Browser
from tests.browser.tutorial import Differs, Reader, Terminal, blocks, pattern
from tests.support.server import free_port
from tests.support.wheel import ROOT, build

pytestmark = pytest.mark.timeout(300)

PAGE: Final = (ROOT / "docs" / "tutorial.md").read_text()
PORTS: Final = {"gateway": "8000", "registry": "8001", "dashboard": "3000"}

PYTHON: Final = """#!/bin/sh
if [ "$1 $2" = "-m venv" ]; then
    shift 2
    set -- -m venv --without-pip "$@"
fi
exec {python} "$@"
"""
PIP: Final = """pip() {{ (cd {root} && {python} -m tests.support.wheel "$@"); }}
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    build(folder, "-t", "wheel")
    (found,) = folder.glob("*.whl")
    return found


class Machine:
    """An empty folder, two terminals in it, and ports that are free."""

    def __init__(self, folder: Path, wheel: Path) -> None:
        programs, home = folder / "bin", folder / "home"
        programs.mkdir()
        home.mkdir()
        python = programs / "python3"
        python.write_text(PYTHON.format(python=sys._base_executable))  # type: ignore[attr-defined]
        python.chmod(0o755)
        ports = {name: str(free_port()) for name in PORTS}
        self._addresses = {f"127.0.0.1:{PORTS[name]}": f"127.0.0.1:{port}" for name, port in ports.items()}
        common = {
            "PATH": f"{programs}:/usr/bin:/bin",
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTEST_ADDOPTS": "-p no:schemathesis -p no:cacheprovider",
        }
        gateway = {"HUB_GATEWAY_URL": f"http://127.0.0.1:{ports['gateway']}", "WHEEL": str(wheel)}
        self.first = Terminal(home, common | gateway)
        self.first.send(PIP.format(root=ROOT, python=sys.executable))
        self.second = Terminal(home, common | {f"HUB_{name.upper()}_PORT": port for name, port in ports.items()})

    def page(self, text: str) -> str:
        """The page with the ports of this machine."""
        for shown, real in self._addresses.items():
            text = text.replace(shown, real)
        return text

    def close(self) -> None:
        self.first.close()
        self.second.close()


@pytest.fixture
def machine(tmp_path: Path, wheel: Path) -> Iterator[Machine]:
    opened = Machine(tmp_path, wheel)
    try:
        yield opened
    finally:
        opened.close()


def test_the_tutorial_does_what_it_says(machine: Machine, browser: Browser) -> None:
    began = time.monotonic()
    reader = Reader(machine.first, machine.second, browser.page)
    reader.follow(machine.page(PAGE))
    assert reader.done == len(list(blocks(PAGE))) > 20
    print(f"\nthe tutorial took {time.monotonic() - began:.1f} s")  # noqa: T201


def test_every_file_is_named_in_the_text_before_it() -> None:
    """Only the site shows the title of a block; on a forge there is the text alone."""
    files = [block for block in blocks(PAGE) if block.title is not None and re.search(r"\.\w+$", block.title)]
    assert len(files) >= 6
    assert [block.title for block in files if f"`{block.title}`" not in block.before] == []


def test_a_changed_word_is_noticed(machine: Machine, browser: Browser) -> None:
    """The beginning of the page, with one word changed in a command, in a file, and in the output."""
    (beginning,) = re.findall(r"\A.*?^## Write the model$", PAGE, re.MULTILINE | re.DOTALL)
    for right, wrong in (("hub proto build\n```", "hub proto make\n```"),):
        with pytest.raises(Differs, match="proto make"):
            Reader(machine.first, machine.second, browser.page).follow(machine.page(beginning.replace(right, wrong)))


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("a\n", "a\n", True),
        ("a\n", "b\n", False),
        ("a\n", "a\nb\n", False),
        ("a ... c\n", "a b c\n", True),
        ("...\nc\n", "a\nb\nc\n", True),
        ("...\nc\n", "a\nb\n", False),
        ("a\n...\n", "a\n", True),
    ],
)
def test_output_is_compared_line_by_line(shown: str, printed: str, same: bool) -> None:
    assert bool(re.fullmatch(pattern(shown), printed)) is same
