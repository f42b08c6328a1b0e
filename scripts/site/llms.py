"""`llms.txt`: an index of the site in Markdown, in the form of llmstxt.org; and `llms-full.txt`, its pages in one text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

OPTIONAL: Final = ("Decisions", "Project")
"""Sections that a reader with little room leaves out."""

LONGEST: Final = 240
"""Characters of the description of a page."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One page of the navigation."""

    section: str
    title: str
    place: str


def entries(nav: Sequence[Any]) -> Iterator[Entry]:
    """The pages of a navigation of two levels, in their order; an empty title is that of the page."""
    for part in nav:
        for section, pages in part.items():
            for page in pages:
                ((title, place),) = [("", page)] if isinstance(page, str) else page.items()
                yield Entry(section, title, place)


def title_of(text: str) -> str:
    found = re.search(r"^# +(.+)$", text, re.MULTILINE)
    return re.sub(r"[`*]", "", found[1]) if found else ""


def description_of(text: str) -> str:
    """The first sentences of a page, without links and code, up to `LONGEST` characters."""
    body = re.sub(r"^---\n.*?^---\n", "", text, count=1, flags=re.MULTILINE | re.DOTALL)
    for paragraph in re.split(r"\n{2,}", body):
        if not paragraph.strip() or re.match(r"[#|*<!-]|```|\d+\. ", paragraph):
            continue
        plain = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", " ".join(paragraph.split()))
        if len(plain) <= LONGEST:
            return plain
        cut = plain[: LONGEST + 1]
        end = max(cut.rfind(". "), cut.rfind(": "))
        return cut[: end + 1] if end > 0 else cut.rsplit(" ", 1)[0] + " ..."
    return ""


def index(name: str, summary: str, nav: Sequence[Any], pages: Mapping[str, str]) -> str:
    """The text of `llms.txt`; `pages` has the Markdown of each page by its place."""
    lines = [f"# {name}", "", f"> {summary}", "", "Each page is also Markdown, at its address with `.md` for `.html`."]
    sections: dict[str, list[str]] = {}
    for entry in entries(nav):
        text = pages[entry.place]
        line = f"- [{entry.title or title_of(text)}]({entry.place})"
        described = description_of(text)
        section = "Optional" if entry.section in OPTIONAL else entry.section
        sections.setdefault(section, []).append(f"{line}: {described}" if described else line)
    for section, found in sections.items():
        lines += ["", f"## {section}", "", *found]
    return "\n".join(lines) + "\n"


def full(nav: Sequence[Any], pages: Mapping[str, str]) -> str:
    """The text of `llms-full.txt`: all pages of the index but the optional ones."""
    parts = []
    for entry in entries(nav):
        if entry.section not in OPTIONAL:
            body = re.sub(r"^---\n.*?^---\n", "", pages[entry.place], count=1, flags=re.MULTILINE | re.DOTALL).strip()
            parts.append(f"<!-- {entry.place} -->\n\n{body}\n")
    return "\n".join(parts)
