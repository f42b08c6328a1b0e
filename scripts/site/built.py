"""Checks of the built site: each link leads somewhere, and nothing is loaded from another host."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from typing_extensions import override

_LOADED: Final = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "audio": "src",
    "object": "data",
}
_LOADING_RELATIONS: Final = {
    "stylesheet",
    "icon",
    "preload",
    "prefetch",
    "preconnect",
    "dns-prefetch",
    "modulepreload",
    "manifest",
}
_FOREIGN: Final = re.compile(r"^\s*(?:[a-z][a-z0-9+.-]*:)?//", re.IGNORECASE)
_IN_STYLE: Final = re.compile(r"""(?:url\(|@import)\s*["']?\s*((?:https?:)?//[^"')\s]+)""", re.IGNORECASE)
_ELSEWHERE: Final = re.compile(r"^[a-z][a-z0-9+.-]*:|^//", re.IGNORECASE)
NOT_FOUND: Final = "404.html"
"""The page that a server sends for any path, so its links begin at the root."""


@dataclass(slots=True)
class Page:
    """What one page refers to."""

    ids: set[str] = field(default_factory=set[str])
    links: list[str] = field(default_factory=list[str])
    loaded: list[str] = field(default_factory=list[str])


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.page = Page()
        self._style = False

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self._style = tag == "style"
        if found.get("id"):
            self.page.ids.add(found["id"])
        if tag == "a" and found.get("name"):
            self.page.ids.add(found["name"])
        if tag == "a" and "href" in found:
            self.page.links.append(found["href"])
        if tag in _LOADED and found.get(_LOADED[tag]):
            self.page.loaded.append(found[_LOADED[tag]])
        for candidate in found.get("srcset", "").split(","):
            if candidate.strip():
                self.page.loaded.append(candidate.split()[0])
        if tag == "link" and _LOADING_RELATIONS & set(found.get("rel", "").lower().split()):
            self.page.loaded.append(found.get("href", ""))
        self.page.loaded += _IN_STYLE.findall(found.get("style", ""))

    @override
    def handle_data(self, data: str) -> None:
        if self._style:
            self.page.loaded += _IN_STYLE.findall(data)


def read(html: str) -> Page:
    reader = _Reader()
    reader.feed(html)
    reader.close()
    return reader.page


def complaints(site: Path) -> Sequence[str]:
    """What is wrong with the pages and styles below a folder, as sentences."""
    pages = {path: read(path.read_text()) for path in sorted(site.rglob("*.html"))}
    found = [
        f"{path.relative_to(site)}: {text}"
        for path, page in pages.items()
        for text in _of_page(site, path, page, pages)
    ]
    for style in sorted(site.rglob("*.css")):
        found += [f"{style.relative_to(site)}: loads {each}" for each in _IN_STYLE.findall(style.read_text())]
    return found


def _of_page(site: Path, path: Path, page: Page, pages: dict[Path, Page]) -> Iterator[str]:
    for loaded in page.loaded:
        if _FOREIGN.match(loaded):
            yield f"loads {loaded}"
        elif path.name != NOT_FOUND and not loaded.startswith("data:") and not _target(site, path, loaded).exists():
            yield f"loads {loaded}, which is not there"
    if path.name == NOT_FOUND:
        return
    for link in page.links:
        if _ELSEWHERE.match(link):
            continue
        name, _, fragment = link.partition("#")
        there = _target(site, path, name) if name else path
        if not there.exists():
            yield f"links to {link}, which is not there"
        elif fragment and there in pages and unquote(fragment) not in pages[there].ids:
            yield f"links to {link}: the page has no such heading"


def _target(site: Path, path: Path, link: str) -> Path:
    name = unquote(link.partition("#")[0].partition("?")[0])
    there = (site / name.lstrip("/")) if name.startswith("/") else (path.parent / name)
    there = there.resolve()
    return there / "index.html" if there.is_dir() else there
