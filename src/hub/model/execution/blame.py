"""The line of its author's code at which a model failed: what a person wants to see of a traceback."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from hub.observability.tracebacks import Described, describe
from hub.safe_text import shortened

_OURS: Final = str(Path(__file__).parents[2])

LONGEST: Final = 500
"""Characters of an error's text that are shown."""


def blamed(error: BaseException) -> str:
    """What was raised and where, in two or three lines: class and text, then the author's last line on the way.

    If there is none, because the model itself is an installed library, the last line outside of hub counts.
    """
    first = describe(error)[0]
    text = shortened(_text(error, first).strip().partition("\n")[0], LONGEST)
    kind = first.kind.rpartition(".")[2]
    return "\n".join([f"{kind}: {text}" if text else kind, *place_lines(error)])


def place_lines(error: BaseException) -> list[str]:
    """`in FILE, line NUMBER` and the line itself; empty for an error that has no place outside of hub."""
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
