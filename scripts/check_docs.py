"""Checks the documentation against the project: links, definitions, `make` targets, `hub` commands, HUB_* variables.

Prints one line for each thing that is not there and exits with 1; prints nothing else.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Final

from hub.cli.app import app
from hub.cli.config import FILE_SUFFIX, MODELS, SECRETS
from hub.settings.tools import DoctorSettings

ROOT: Final = Path(__file__).resolve().parents[1]

_LINK: Final = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_DEFINITION: Final = re.compile(r"\[`([\w.]+)`\]\(([^)\s#]+\.py)\)")
_HEADING: Final = re.compile(r"^#+\s+(.+?)\s*$", re.MULTILINE)
_CODE: Final = re.compile(r"^```.*?^```|`[^`\n]+`", re.MULTILINE | re.DOTALL)
_MAKE: Final = re.compile(r"(?:^|[`\s])make ([a-z-]+)\b")
_COMMAND: Final = re.compile(r"(?:^|[`\s/])hub ((?:[a-z]+ ?)+)")
_VARIABLE: Final = re.compile(r"\bHUB_[A-Z0-9_]*[A-Z0-9]\b")
_OTHER_VARIABLES: Final = re.compile(r"HUB_CONFIG|HUB_TEST_[A-Z_]+")
_OUTPUT: Final = re.compile(r"^```text\b.*?^```", re.MULTILINE | re.DOTALL)


def pages() -> list[Path]:
    examples = (ROOT / "examples").glob("*/README.md")
    return [
        *sorted(ROOT.glob("*.md")),
        *sorted((ROOT / "docs").rglob("*.md")),
        ROOT / "examples/README.md",
        *sorted(examples),
    ]


def anchors(page: Path) -> set[str]:
    """The fragments of a page's headings, as Git forges make them."""
    headings = _HEADING.findall(
        _CODE.sub(lambda code: code.group().strip("`") if "\n" not in code.group() else "", page.read_text())
    )
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(page: Path, text: str) -> Iterator[str]:
    for target in _LINK.findall(_CODE.sub("", text)):
        if re.match(r"[a-z]+:", target):
            continue  # another site: not ours to check, and CI may have no network
        name, _, fragment = target.partition("#")
        linked = (page.parent / name).resolve() if name else page
        if not linked.exists():
            yield f"link to {target}, which does not exist"
        elif fragment and linked.suffix == ".md" and fragment not in anchors(linked):
            yield f"link to {target}: the page has no such heading"


def unknown_names(text: str) -> Iterator[str]:
    code = "\n".join(_CODE.findall(text))
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for target in _MAKE.findall(code):
        if target not in targets:
            yield f"`make {target}`: the Makefile has no such target"
    for words in _COMMAND.findall(_OUTPUT.sub("", code)):
        if words.split()[0] not in app:
            yield f"`hub {words.strip()}`: there is no such command"
    known = {f"HUB_{name.upper()}" for name in (*(field.name for field in fields(DoctorSettings)), MODELS)}
    known |= {f"HUB_{name.upper()}{FILE_SUFFIX}" for name in SECRETS}
    for variable in _VARIABLE.findall(text):
        if variable not in known and not _OTHER_VARIABLES.fullmatch(variable):
            yield f"{variable} is no setting"


def missing_definitions(page: Path, text: str) -> Iterator[str]:
    """Links such as [`Worker._handle`](../src/hub/model/worker/worker.py) whose module does not define what they name."""
    for name, target in _DEFINITION.findall(text):
        module = (page.parent / target).resolve()
        if module.exists() and name not in definitions(module):
            yield f"link to {target}: the module does not define {name}"


def definitions(module: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.parse(module.read_text()).body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            methods = (each for each in node.body if isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef)))
            found |= {f"{node.name}.{each.name}" for each in methods}
    return found


def main() -> int:
    found = 0
    for page in pages():
        text = page.read_text()
        for complaint in (*broken_links(page, text), *missing_definitions(page, text), *unknown_names(text)):
            print(f"{page.relative_to(ROOT)}: {complaint}")
            found += 1
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
