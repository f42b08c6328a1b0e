"""Pages of the project's files that the documentation links to."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from typing import Final

from scripts.check_docs import ROOT
from scripts.site.links import Links, place_of, source_page
from scripts.site.markdown import for_python_markdown

_LARGEST: Final = 100_000
"""Bytes of a file that is shown; a larger one is only named."""

_LANGUAGES: Final = {
    ".py": "python",
    ".proto": "protobuf",
    ".yaml": "yaml",
    ".yml": "yaml",
    ".json": "json",
    ".sh": "bash",
    ".mjs": "javascript",
    ".lua": "lua",
}
_HIDDEN: Final = ("__pycache__", "node_modules")
_HEAD: Final = "---\nsearch:\n  exclude: true\n---\n\n"


def pages_of_sources(links: Links) -> dict[str, str]:
    """The pages, by their place on the site: those of `links.sources`, and of the files in folders among them."""
    found: dict[str, str] = {}
    todo = sorted(links.sources)
    while todo:
        path = todo.pop()
        if source_page(path) in found:
            continue
        if (ROOT / path).is_dir():
            entries = list(_entries(path))
            before = set(links.sources)
            found[source_page(path)] = _folder(path, entries, links)
            todo += [*(each for each in entries if place_of(each) is None), *sorted(links.sources - before)]
        else:
            found[source_page(path)] = _file(path)
    return found


def _entries(folder: str) -> Iterator[str]:
    for entry in sorted((ROOT / folder).iterdir()):
        if not entry.name.startswith((".", *_HIDDEN, "README.md")) and entry.suffix not in (".lock", ".pyc"):
            yield f"{folder}/{entry.name}"


def _folder(path: str, entries: list[str], links: Links) -> str:
    """Its README, if it has one, and links to its files."""
    here = posixpath.dirname(source_page(path))
    readme = ROOT / path / "README.md"
    text = f"# {path}/\n"
    if readme.exists():
        text = links.rewritten(readme.read_text(), page=f"{path}/README.md", place=source_page(path))
    lines = [f"* [{posixpath.basename(each)}]({posixpath.relpath(source_page(each), here)})" for each in entries]
    return _HEAD + for_python_markdown(f"{text}\n" + "\n".join(lines))


def _file(path: str) -> str:
    file = ROOT / path
    if file.stat().st_size > _LARGEST:
        return f"{_HEAD}# {path}\n\nThis file has {file.stat().st_size:,} bytes; it is in the repository.\n"
    try:
        text = file.read_text()
    except UnicodeDecodeError:
        return f"{_HEAD}# {path}\n\nThis file is not text; it is in the repository.\n"
    language = _LANGUAGES.get(file.suffix, "text")
    return f"{_HEAD}# {path}\n\n``````{language}\n{text.rstrip()}\n``````\n"
