"""The pages of docs/concurrency: each program prints what is below it, on both backends, and each difference has its test."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import anyio
import pytest

import hub.testing
from hub.types import Backend

ROOT: Final = Path(__file__).parents[2]
FOLDER: Final = ROOT / "docs" / "concurrency"
BLOCK: Final = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
RUN: Final = "\n\nanyio.run(main)\n"
PROCESS: Final = 'backend="asyncio"'


@dataclass(frozen=True, slots=True)
class Program:
    """A Python block, and the block of text below it."""

    page: str
    number: int
    source: str
    printed: str

    @property
    def is_process(self) -> bool:
        return PROCESS in self.source


def programs() -> list[Program]:
    found: list[Program] = []
    for page in sorted(FOLDER.glob("*.md")):
        blocks = BLOCK.findall(page.read_text())
        for place, (language, text) in enumerate(blocks):
            if language == "python":
                below = blocks[place + 1] if place + 1 < len(blocks) else ("", "")
                assert below[0] == "text", f"{page.name}: a program without the text that it prints"
                found.append(Program(page.name, len(found), text, below[1]))
    return found


PROGRAMS: Final = programs()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: f"{program.page}-{program.number}")
def test_a_program_prints_what_the_page_shows(program: Program, backend: Backend, tmp_path: Path) -> None:
    assert (run_process if program.is_process else run)(program, backend, tmp_path) == program.printed


def run(program: Program, backend: Backend, folder: Path) -> str:
    """What it prints by itself; log lines are another thing."""
    assert program.source.endswith(RUN)
    lines: list[str] = []
    names: dict[str, Any] = {"__name__": "program", "print": lambda *words: lines.append(" ".join(map(str, words)))}
    file = folder / "program.py"
    exec(compile(program.source.removesuffix(RUN), file, "exec", dont_inherit=True), names)
    name, options = hub.testing.virtual_backend(backend)
    anyio.run(names["main"], backend=name, backend_options=options)
    return "".join(f"{line}\n" for line in lines)


def run_process(program: Program, backend: Backend, folder: Path) -> str:
    file = folder / "program.py"
    file.write_text(program.source.replace(PROCESS, f'backend="{backend}"'))
    done = subprocess.run([sys.executable, file], capture_output=True, text=True, timeout=60, check=True)
    return "".join(line for line in done.stdout.splitlines(keepends=True) if not line.startswith("20"))  # log lines


def test_every_page_is_in_the_index() -> None:
    index = (FOLDER / "README.md").read_text()
    assert {page.name for page in FOLDER.glob("*.md")} - {"README.md"} == set(re.findall(r"\]\((\w+\.md)\)", index))


def test_every_module_of_the_package_is_on_a_page() -> None:
    text = "".join(page.read_text() for page in FOLDER.glob("*.md"))
    modules = {path.name for path in (ROOT / "src/hub/concurrency").glob("*.py")} - {"__init__.py"}
    assert {name for name in modules if f"(../../src/hub/concurrency/{name})" not in text} == set()


def functions_of(file: Path) -> set[str]:
    tree = ast.parse(file.read_text())
    return {each.name for each in tree.body if isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef))}


def test_every_difference_of_the_backends_names_its_test() -> None:
    page = (FOLDER / "backends.md").read_text()
    sections = re.split(r"^### ", page, flags=re.MULTILINE)[1:]
    assert len(sections) >= 10
    named: set[str] = set()
    for section in sections:
        title = section.partition("\n")[0]
        links = re.findall(r"\[`(test_\w+)`\]\(\.\./\.\./(tests/[\w/]+\.py)\)", section)
        assert links, f"{title}: no test is named"
        for name, file in links:
            assert name in functions_of(ROOT / file), f"{title}: {file} has no {name}"
            named.add(name)
    differences = functions_of(ROOT / "tests/concurrency/test_backends.py")
    assert {name for name in differences if name.startswith("test_")} <= named, "a difference that is not on the page"
