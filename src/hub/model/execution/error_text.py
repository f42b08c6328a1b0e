"""Texts of a model's errors: read from the errors, which runs code of the author, and shortened to the author's line."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from anyio import CapacityLimiter, move_on_after
from anyio.to_thread import run_sync

from hub.observability.tracebacks import Described, describe, keep_text, related, runs_foreign_code, text_of_error
from hub.safe_text import shortened

TIMEOUT: Final = 1.0
"""Seconds for all texts of an error and of its causes."""

_OURS: Final = str(Path(__file__).parents[2])

LONGEST: Final = 500
"""Characters of an error's text that are shown."""


async def read_texts(error: BaseException, threads: CapacityLimiter) -> None:
    """Reads the texts of an error and its causes for `text_of_error`, in a thread if that runs code of the author.

    A text that is not there within `TIMEOUT` is replaced; its thread continues, and the result is discarded.

    Args:
        error: An error of a model.
        threads: Limiter of the threads.
    """
    unread = [each for each, _ in related(error) if runs_foreign_code(each)]
    if unread:
        with move_on_after(TIMEOUT):
            for each in unread:
                await run_sync(text_of_error, each, abandon_on_cancel=True, limiter=threads)
    for each in unread:
        keep_text(each, f"(str() of this error took longer than {TIMEOUT:g} s)")


def error_summary(error: BaseException) -> str:
    """An error in two or three lines: its class and text, then the author's last line in the traceback.

    If there is none, because the model is an installed library, the last line outside of hub.
    """
    first = describe(error)[0]
    text = shortened(_text(error, first).strip().partition("\n")[0], LONGEST)
    kind = first.kind.rpartition(".")[2]
    return "\n".join([f"{kind}: {text}" if text else kind, *location_lines(error)])


def location_lines(error: BaseException) -> list[str]:
    """`in FILE, line NUMBER` and the line itself; empty for an error without a place outside of hub."""
    for place in describe(error)[0].places:
        if not place.file.startswith((_OURS, "<frozen ")):
            where = f", in {place.function}" if place.function not in ("", "<module>") else ""
            line = f"  in {_short(place.file)}, line {place.line}{where}"
            return [line, f"    {place.source}"] if place.source else [line]
    return []


def _text(error: BaseException, described: Described) -> str:
    return error.msg if isinstance(error, SyntaxError) else described.text


def _short(filename: str) -> str:
    path = Path(filename)
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else filename
