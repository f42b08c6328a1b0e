"""The pages of the site as files for the generator: those of docs/, generated references, and linked files."""

from __future__ import annotations

import json
import re
import shutil
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from scripts.check_docs import ROOT
from scripts.site import errors, http, python_api, settings
from scripts.site.commands import commands_page
from scripts.site.links import PROJECT_PAGES, Links
from scripts.site.markdown import for_python_markdown
from scripts.site.sources import pages_of_sources

CACHE: Final = ROOT / ".cache" / "site"
PAGES: Final = CACHE / "pages"
CONFIGURATION: Final = ROOT / "zensical.toml"
COPY: Final = CACHE / CONFIGURATION.name
_OWN: Final = ("hub.css", "diagrams.js")
_DIAGRAMS: Final = "mermaid.min.js"

_GATEWAY: Final = (
    "Every route of a gateway, from its own description (`/openapi.json`, which is live and lists each model with its fields). "
    "`ModelA` stands for any model. [The gateway's API](../api.md) explains them, with commands to try."
)
_REGISTRY: Final = (
    "Every route of a registry, from its own description (`/openapi.json`). Clients need none of them; "
    "[the registry](../registry.md) and [a model in another language](../wire.md) explain them."
)


@dataclass(frozen=True, slots=True)
class Site:
    """What the generator gets.

    Attributes:
        pages: Markdown of each page, by its place.
        files: Other text files, by their place.
    """

    pages: Mapping[str, str]
    files: Mapping[str, str]


def navigation() -> list[Any]:
    found: list[Any] = tomllib.loads(CONFIGURATION.read_text())["project"]["nav"]
    return found


def documents() -> dict[str, str]:
    """The pages that are in the repository: path in the project -> place on the site."""
    docs = {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")}
    places = {path: path.removeprefix("docs/") for path in sorted(docs)}
    return places | {path: place for path, place in PROJECT_PAGES.items() if path != "README.md"}


def references(descriptions: Mapping[str, http.Document]) -> dict[str, str]:
    """The pages that are made from code and settings, by their place."""
    modules = {f"reference/{name}.md": python_api.page(name) for name in ("hub", "hub.client", "hub.testing")}
    return modules | {
        "reference/settings.md": settings.settings_page(),
        "reference/errors.md": errors.errors_page(),
        "reference/commands.md": commands_page(),
        "reference/gateway.md": http.page("HTTP: the gateway", _GATEWAY, descriptions["gateway"]),
        "reference/registry.md": http.page("HTTP: the registry", _REGISTRY, descriptions["registry"]),
    }


def site(descriptions: Mapping[str, http.Document]) -> Site:
    links = Links()
    pages: dict[str, str] = {}
    for path, place in documents().items():
        text = (ROOT / path).read_text()
        if path.startswith("docs/decisions/") and not path.endswith("README.md"):
            text += "\n[All decisions](README.md)\n"
        pages[place] = links.rewritten(text, page=path, place=place)
    for place, text in references(descriptions).items():
        # Docstrings name pages as `docs/models.md`.
        pages[place] = re.sub(r"`docs/([\w/-]+\.md)`", r"[\1](../\1)", text)
    pages = {place: for_python_markdown(text) for place, text in pages.items()} | pages_of_sources(links)
    files = {f"reference/{name}.openapi.json": json.dumps(each, indent=1) for name, each in descriptions.items()}
    return Site(pages, files)


def write(made: Site) -> None:
    """Writes the folder of the generator; files that are the same are left alone, others that are there are removed."""
    texts = {
        **made.pages,
        **made.files,
        **{f"assets/{name}": Path(__file__).with_name(name).read_text() for name in _OWN},
    }
    images = {f"images/{path.name}": path for path in (ROOT / "docs" / "images").iterdir()}
    binaries = {**images, f"assets/{_DIAGRAMS}": CACHE / _DIAGRAMS}
    for place, text in texts.items():
        there = PAGES / place
        there.parent.mkdir(parents=True, exist_ok=True)
        if not there.exists() or there.read_text() != text:
            there.write_text(text)
    for place, path in binaries.items():
        (PAGES / place).parent.mkdir(parents=True, exist_ok=True)
        if not (PAGES / place).exists() or (PAGES / place).stat().st_mtime < path.stat().st_mtime:
            shutil.copyfile(path, PAGES / place)
    shutil.copyfile(CONFIGURATION, COPY)
    for there in [path for path in PAGES.rglob("*") if path.is_file()]:
        if there.relative_to(PAGES).as_posix() not in texts.keys() | binaries.keys():
            there.unlink()
