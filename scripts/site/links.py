"""Where each page and each linked file of the project is on the site, and links rewritten for it."""

from __future__ import annotations

import ast
import posixpath
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from scripts.check_docs import ROOT

SOURCE: Final = "source"
"""Folder of the site with the files of the project that pages link to."""

PROJECT_PAGES: Final = {
    "README.md": "index.md",
    "CHANGELOG.md": "project/changelog.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "SECURITY.md": "project/security.md",
}
"""Pages outside of docs/ -> their place on the site. README.md is the start page of a forge; the site has its own."""

_LINK: Final = re.compile(r"(?P<head>\[(?P<text>(?:[^\[\]`]|`[^`]*`|\[[^\]]*\])*)\]\()(?P<target>[^)\s]+)\)")
_CODE: Final = re.compile(r"(^ *```.*?^ *```[ ]*$)", re.MULTILINE | re.DOTALL)
_DEFINITION: Final = re.compile(r"`([\w.]+)`")
_ELSEWHERE: Final = re.compile(r"[a-z][a-z0-9+.-]*:|//")


@dataclass(slots=True)
class Links:
    """Rewrites links, and collects the files that they lead to.

    Attributes:
        sources: Files and folders outside of docs/ that pages link to, from the root of the project.
    """

    sources: set[str] = field(default_factory=set[str])

    def rewritten(self, text: str, *, page: str, place: str) -> str:
        """The text of a page with its links made for the site.

        Args:
            text: Markdown.
            page: Path of the page in the project.
            place: Path of the page on the site.
        """

        def rewrite(link: re.Match[str]) -> str:
            target = self._target(link["target"], link["text"], page=page, place=place)
            return f"{link['head']}{target})"

        parts = _CODE.split(text)
        return "".join(part if part.lstrip().startswith("```") else _LINK.sub(rewrite, part) for part in parts)

    def _target(self, target: str, text: str, *, page: str, place: str) -> str:
        if _ELSEWHERE.match(target) or target.startswith("#"):
            return target
        name, hash_sign, fragment = target.partition("#")
        linked = posixpath.normpath(posixpath.join(posixpath.dirname(page), name))
        there = place_of(linked)
        if there is None:
            linked = linked.removesuffix("/README.md")  # the page of a folder has its text
            self.sources.add(linked)
            there = source_page(linked)
            defined = _DEFINITION.fullmatch(text)
            line = line_of(ROOT / linked, defined[1]) if defined else 0
            if line:
                hash_sign, fragment = "#", f"__span-0-{line}"
        return posixpath.relpath(there, posixpath.dirname(place) or ".") + hash_sign + fragment


def place_of(path: str) -> str | None:
    """The place on the site of a file of the project; `None` for one that is not a page or an image of the docs."""
    if path in PROJECT_PAGES:
        return PROJECT_PAGES[path]
    if path.startswith("docs/") and (ROOT / path).is_file():
        return path.removeprefix("docs/")
    if path.startswith("docs/") and (ROOT / path / "README.md").is_file():
        return f"{path.removeprefix('docs/')}/README.md"
    return None


def source_page(path: str) -> str:
    return f"{SOURCE}/{path}.md"


def line_of(module: Path, name: str) -> int:
    """The line of a class, function or method (`Class.method`) of a Python module; 0 if it is not there."""
    if module.suffix != ".py" or not module.exists():
        return 0
    return _lines(ast.parse(module.read_text()).body).get(name, 0)


def _lines(body: list[ast.stmt], prefix: str = "") -> dict[str, int]:
    found: dict[str, int] = {}
    for node in body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            found.setdefault(f"{prefix}{node.name}", node.lineno)
            if isinstance(node, ast.ClassDef) and not prefix:
                found |= _lines(node.body, f"{node.name}.")
    return found
