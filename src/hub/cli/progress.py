"""Progress bars of commands that take long."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn


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
