"""Output of commands on a terminal or a pipe. Control characters in untrusted texts are replaced."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.text import Text

PIPED_WIDTH: Final = 200
"""Columns of output that is not a terminal: a pipe or a file."""

WIDE: Final = 130
"""Columns that a list with whole dates and ids of instances needs."""

GAP: Final = "  "
"""Between two columns."""

_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def console() -> Console:
    known = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(width=None if known else PIPED_WIDTH, highlight=False, markup=False)


def progress_bar(problems: str, *, shown: bool = True) -> Progress:
    """A bar on stderr, if that is a terminal. Lines that are printed meanwhile appear above it.

    Args:
        problems: What follows the number in the field `failed` of its task.
        shown: Whether to show it at all.
    """
    to = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[failed]} " + problems),
        console=to,
        disable=not (shown and to.is_terminal),
    )


def printable(text: str) -> str:
    """`text` with control characters replaced, but for line breaks."""
    return "".join(each if each.isprintable() or each == "\n" else "\N{REPLACEMENT CHARACTER}" for each in text)


def one_line(text: str) -> str:
    return printable(" ".join(text.split()))


def moment(seconds: float) -> str:
    """A time as UTC, such as `2026-03-01 09:30:00`."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (OverflowError, OSError, ValueError):  # an untrusted number that is not a year
        return f"{seconds:g}"


def age(seconds: float) -> str:
    """A span of time in its largest unit, such as `3 h`."""
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return "now"


def rows_of(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[Text]:
    """Lines of equal columns, the first one bold."""
    table = [head, *rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for number, row in enumerate(table):
        line = GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        yield Text(line, style="bold" if number == 0 else "", no_wrap=True)
