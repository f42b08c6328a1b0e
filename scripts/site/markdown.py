"""Markdown of forges, which follow CommonMark, as Python-Markdown reads it: what is in a list is indented by four."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

_ITEM: Final = re.compile(r" *(?P<marker>[*+-]|\d+[.)]) +(?=\S)")
_FENCE: Final = re.compile(r" *(?P<fence>`{3,}|~{3,})")
_STEP: Final = 4
"""Columns for each level of a list."""


def for_python_markdown(text: str) -> str:
    """The text with the content of list items indented by four columns for each level, and blank lines around lists and code."""
    return "\n".join(_indented(_spaced(text.splitlines()))) + "\n"


def _fenced(lines: Iterable[str]) -> Iterator[tuple[str, bool, bool]]:
    """Each line; whether it belongs to a block of code; whether it is the first line of one."""
    fence = ""
    for line in lines:
        opened = _FENCE.match(line) if not fence else None
        yield line, bool(fence) or opened is not None, opened is not None
        if opened is not None:
            fence = opened["fence"]
        elif fence and line.strip() == fence:
            fence = ""


def _spaced(lines: Iterable[str]) -> Iterator[str]:
    """With blank lines around blocks of code."""
    before, code_before = "", False
    for line, code, begins in _fenced(lines):
        if before.strip() and line.strip() and (begins or (code_before and not code)):
            yield ""
        yield line
        before, code_before = line, code


def _indented(lines: Iterable[str]) -> Iterator[str]:
    contents: list[int] = []  # the column at which the content of each open item begins
    paragraph = False  # whether the line before is text outside of a list
    for line, code, begins in _fenced(lines):
        if not line.strip():
            yield ""
            paragraph = False
            continue
        indent = len(line) - len(line.lstrip())
        while contents and indent < contents[-1] and (begins or not code):
            contents.pop()
        item = None if code else _ITEM.match(line)
        if item is None:
            yield _moved(line, contents)
            paragraph = not code and not contents and not line.startswith(("#", "|", "<"))
            continue
        if paragraph and not contents:
            yield ""
        yield " " * (_STEP * len(contents)) + f"{item['marker']} {line[item.end() :]}"
        contents.append(item.end())
        paragraph = False


def _moved(line: str, contents: Sequence[int]) -> str:
    if not contents:
        return line
    indent = len(line) - len(line.lstrip())
    return " " * (_STEP * len(contents)) + line[min(contents[-1], indent) :]
