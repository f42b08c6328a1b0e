"""Markdown of forges, which follow CommonMark, as Python-Markdown reads it: what is in a list is indented by four."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

_ITEM: Final = re.compile(r" *(?P<marker>[*+-]|\d+[.)]) +(?=\S)")
_FENCE: Final = re.compile(r" *(?P<fence>`{3,}|~{3,})")
_STEP: Final = 4
"""Columns for each level of a list."""


def for_python_markdown(text: str) -> str:
    """The text with the content of list items indented by four columns for each level, and blank lines before lists."""
    return "\n".join(_lines(text.splitlines())) + "\n"


def _lines(lines: Sequence[str]) -> Iterator[str]:
    contents: list[int] = []  # the column at which the content of each open item begins
    fence = ""
    paragraph = False  # whether the line before is text outside of a list
    for line in lines:
        if fence:
            yield _moved(line, contents)
            if line.strip() == fence:
                fence = ""
            continue
        if not line.strip():
            yield ""
            paragraph = False
            continue
        indent = len(line) - len(line.lstrip())
        while contents and indent < contents[-1]:
            contents.pop()
        opened, item = _FENCE.match(line), _ITEM.match(line)
        if opened is not None:
            fence = opened["fence"]
        if item is None or opened is not None:
            yield _moved(line, contents)
            paragraph = opened is None and not contents and not line.startswith(("#", "|", "<"))
            continue
        if paragraph and not contents:
            yield ""
        yield " " * (_STEP * len(contents)) + f"{item['marker']} {line[item.end() :]}"
        contents.append(item.end())
        paragraph = False


def _moved(line: str, contents: Sequence[int]) -> str:
    if not contents or not line.strip():
        return line.rstrip() if not line.strip() else line
    indent = len(line) - len(line.lstrip())
    return " " * (_STEP * len(contents)) + line[min(contents[-1], indent) :]
