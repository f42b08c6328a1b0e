"""The fenced blocks of the documentation, and which test checks each of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from textwrap import dedent
from typing import Final

from scripts.check_docs import pages

ROOT: Final = Path(__file__).parents[2]

_FENCE: Final = re.compile(
    r"^(?P<indent> *)```(?P<language>[\w-]*)[^\n]*\n(?P<text>.*?)^(?P=indent)```[ ]*$", re.MULTILINE | re.DOTALL
)
_SHELL: Final = frozenset({"sh", "bash", "console"})
_OUTPUT_LANGUAGES: Final = frozenset({"", "json", "text"})
_CALLS: Final = re.compile(r"\bcurl\b|\bhub (?:call|submit|task|cancel|stream|batch)\b")
_OF_THE_READER: Final = re.compile(r"\bexample\.com\b|\bSentiment\b|\bdocker\b")
"""What commands name that is on no machine of a test."""


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block.

    Attributes:
        page: Path of the page, from the root of the project.
        line: Number of its first line of text on the page.
        language: The word after the fence; may be empty.
        text: The text, without the indentation of the fence.
        heading: The heading of level 2 that it is below; empty above the first one.
        output_of: Line of the shell block directly before it, with nothing in between; 0 for none.
    """

    page: str
    line: int
    language: str
    text: str
    heading: str
    output_of: int = 0

    @property
    def id(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def first_line(self) -> str:
        return next((line.strip() for line in self.text.splitlines() if line.strip()), "")

    @property
    def is_shell(self) -> bool:
        return self.language in _SHELL

    @property
    def is_transcript(self) -> bool:
        """Whether it has lines such as `$ hub schema list`, with what they print."""
        return self.language in {"", "console", "text"} and re.search(r"^\$ ", self.text, re.MULTILINE) is not None


def blocks_of(page: str, text: str) -> Sequence[Block]:
    """The blocks of a page, in their order."""
    found: list[Block] = []
    end = 0
    for fence in _FENCE.finditer(text):
        before = text[end : fence.start()]
        last = found[-1] if found else None
        follows = last is not None and last.is_shell and not before.strip() and fence["language"] in _OUTPUT_LANGUAGES
        headings = re.findall(r"^## +(.+)$", _FENCE.sub("", text[: fence.start()]), re.MULTILINE)
        found.append(
            Block(
                page=page,
                line=text.count("\n", 0, fence.start("text")) + 1,
                language=fence["language"],
                text=dedent(fence["text"]),
                heading=headings[-1] if headings else "",
                output_of=last.line if follows and last is not None else 0,
            )
        )
        end = fence.end()
    return found


@cache
def all_blocks() -> Sequence[Block]:
    found: list[Block] = []
    for path in pages():
        found += blocks_of(path.relative_to(ROOT).as_posix(), path.read_text())
    return found


ELSEWHERE: Final = {
    ("docs/api.md", "Generated clients"): "tests/clients runs these generators and calls, from the text of the page",
    (
        "docs/architecture.md",
        "The tasks of a running system",
    ): "tests/meta/test_task_tree.py compares it with running components",
    (
        "docs/client.md",
        "A package for one's models",
    ): "tests/client/test_generate.py runs it with packages that it generates",
    ("docs/installing.md", ""): "tests/meta/test_distribution.py installs the wheel into an empty environment",
    ("docs/installing.md", "The other package called hub"): "tests/meta/test_distribution.py has the other package",
}
"""Sections whose blocks are run by a test of their own."""

PAGES_ELSEWHERE: Final = {
    "docs/tutorial.md": "tests/browser/test_tutorial.py follows it word for word",
    "docs/concurrency/": "tests/concurrency/test_pages.py runs its programs and compares what they print",
}
"""Pages, and folders of pages, whose blocks are run by a test of their own."""

EXCUSED: Final[dict[tuple[str, str], str]] = {
    (
        "docs/models.md",
        "[warning  ] the event loop of the model is blocked",
    ): "log lines: tests/observability/test_watchdog.py",
}
"""Blocks that no test can check, by page and the beginning of the first line, each with the reason."""


def kind_of(block: Block) -> str:  # noqa: PLR0911 - a table of cases
    """The name of the check of a block; empty if there is none."""
    if any(block.page == page and block.first_line.startswith(begin) for page, begin in EXCUSED):
        return "excused"
    if (block.page, block.heading) in ELSEWHERE or block.page.startswith(tuple(PAGES_ELSEWHERE)):
        return "elsewhere"
    if block.language == "python":
        return "python"
    if block.is_shell:
        calls = bool(_CALLS.search(block.text) or re.fullmatch(r"(?:\w+=\S+\n)+", block.text))
        calls = calls and not _OF_THE_READER.search(block.text)
        return "run" if calls and runs(block.page) else "commands"
    if block.output_of and kind_of(shell_block(block.page, block.output_of)) == "run":
        return "output"
    if block.is_transcript:
        return "commands"
    if block.language in {"json", "yaml", "toml", "protobuf", "promql", "dockerfile", "nginx"}:
        return block.language
    if block.language == "mermaid":
        return "drawing"
    return ""


RUN_PAGES: Final = ("README.md", "docs/api.md", "docs/cli.md", "docs/how-to/")
"""Pages whose calls of a gateway are run, in the order of the page; a folder means all pages in it."""


def runs(page: str) -> bool:
    return any(page == each or (each.endswith("/") and page.startswith(each)) for each in RUN_PAGES)


def shell_block(page: str, line: int) -> Block:
    return next(block for block in all_blocks() if block.page == page and block.line == line)


def blocks_to_check(kind: str) -> Iterator[Block]:
    return (block for block in all_blocks() if kind_of(block) == kind)
