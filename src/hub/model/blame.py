"""Finds the line of its author's code at which a model failed: what a person wants to see of a traceback."""

from __future__ import annotations

import re
import sysconfig
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Final

_OURS: Final = str(Path(__file__).parents[1])
_LIBRARIES: Final = tuple(
    {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")} | {_OURS, "<frozen "}
)


LONGEST: Final = 500
"""Characters of an error's text that are shown."""

_PRINTED: Final = re.compile(r'^ +File "(.+)", line (\d+)(?:, in (.+))?\n +(\S.*)$', re.MULTILINE)


def blamed(error: BaseException) -> str:
    """What was raised and where, in two or three lines: type and text, then the author's last line on the way.

    If there is none, because the model itself is an installed library, the last line outside of hub counts.
    """
    return "\n".join([_said(error), *place_lines(error)])


def place_lines(error: BaseException) -> list[str]:
    """`in FILE, line NUMBER` and the line itself; empty for an error that has no place."""
    if isinstance(error, SyntaxError) and error.filename and error.text:
        return [f"  in {_short(error.filename)}, line {error.lineno}", f"    {error.text.strip()}"]
    frames = traceback.extract_tb(error.__traceback__)
    return _last_place([(frame.filename, f"{frame.lineno}", frame.name, frame.line or "") for frame in frames])


def printed_place_lines(printed: str) -> list[str]:
    """The same for a traceback that has been printed, in another process."""
    return _last_place([(match[1], match[2], match[3] or "", match[4]) for match in _PRINTED.finditer(printed)])


def _last_place(frames: Sequence[tuple[str, str, str, str]]) -> list[str]:
    """The author's last of some frames: file, line number, function and source line."""
    own = [frame for frame in frames if not frame[0].startswith(_LIBRARIES)]
    others = [frame for frame in frames if not frame[0].startswith((_OURS, "<frozen "))]
    if not (own or others):
        return []
    filename, number, function, line = (own or others)[-1]
    where = f", in {function}" if function not in ("", "<module>") else ""
    lines = [f"  in {_short(filename)}, line {number}{where}"]
    return [*lines, f"    {line.strip()}"] if line.strip() else lines


def _said(error: BaseException) -> str:
    text = error.msg if isinstance(error, SyntaxError) else _text(error)
    first = text.strip().partition("\n")[0][:LONGEST]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - the author's `__str__` may do anything, and this is about the first error
        return ""


def _short(filename: str) -> str:
    path = Path(filename)
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else filename
