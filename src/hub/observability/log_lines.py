"""Renders an event of the log as text: lines of at most `LINE_LIMIT` characters, tracebacks of at most a screen.

Texts of models, clients and libraries are shortened and made printable, so that none of them floods the log, forges a line
of it, or moves the cursor of a terminal (CWE-117).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final, Literal, TypeAlias, cast, final

from structlog.dev import Column, ConsoleRenderer, KeyValueColumnFormatter
from structlog.typing import EventDict, WrappedLogger

from hub.observability.tracebacks import LOG_LINES, WIDTH, Described, describe, lines, members
from hub.safe_text import CUT, bounded_repr, printable, shortened, storable

LINE_LIMIT: Final = 2_000
"""Characters of one line of the log."""

_SHARES: Final = (1, 2, 4, 8, 16, 32)
"""Divisors of the lengths of texts, tried until the line fits: JSON escapes some characters with twelve."""

_ROOM: Final = 1_600
"""Characters of an event and its fields."""

_FIELDS: Final = 40
"""Fields of an event."""

_FIRST: Final = ("event", "level", "timestamp", "logger", "task", "model", "instance")
"""Fields that are never left out."""

_LEAST: Final = 40
"""Minimum number of characters of a field: a task's id, a time."""

_INDENT: Final = "  "
_LARGE: Final = 2**63

Cut: TypeAlias = Callable[[str, int], str]
"""Makes a text valid for one of the formats, and shortens it."""


@final
class LineRenderer:
    """The last processor in structlog's chain: renders the text of an event.

    The error in `exc_info` and the texts in `lines` are rendered below it, each text on a line of its own.

    Args:
        form: `console`, with the error below the line, or `json`, with one line per event.
        colors: Whether the console supports colors.
        encoding: Encoding of the output stream; other characters are escaped.
    """

    def __init__(self, form: Literal["console", "json"], *, colors: bool = False, encoding: str = "utf-8") -> None:
        self._console = _console(colors=colors) if form == "console" else None
        self._encoding = encoding

    def __call__(self, logger: WrappedLogger, name: str, event_dict: EventDict) -> str:
        error = _error(event_dict.pop("exc_info", None))
        described = () if error is None else describe(error)
        more = [printable(line, WIDTH) for line in cast("Sequence[str]", event_dict.pop("lines", ()))[:LOG_LINES]]
        text = ""
        for share in _SHARES:
            if self._console is None:
                room = _ROOM // share if error is None else _ROOM // (2 * share)
                fields = _bounded(event_dict, room, storable)
                if more:
                    fields["lines"] = [storable(line, max(12, 600 // share)) for line in more]
                text = _as_json(fields, described, share)
            else:
                text = self._encodable(self._console(logger, name, _bounded(event_dict, _ROOM // share, printable)))
            if len(text) <= LINE_LIMIT:
                break
        if self._console is not None:
            below = (self._encodable(_INDENT + line) for line in (*more, *lines(described)))
            text = "\n".join([text, *(shortened(line, LINE_LIMIT - len(CUT)) for line in below)])
        return text

    def _encodable(self, line: str) -> str:
        return line.encode(self._encoding, "backslashreplace").decode(self._encoding)


def _as_json(fields: dict[str, object], described: Sequence[Described], share: int) -> str:
    if described:
        blocks = described[: max(1, len(described) // share)]
        fields["exception"] = members(blocks, frames=max(1, 6 // share), text=max(12, 600 // share))
        if len(blocks) < len(described):
            fields["exceptions_left_out"] = len(described) - len(blocks)
    return json.dumps(fields)


def _bounded(event: EventDict, room: int, cut: Cut) -> dict[str, object]:
    """The event, shortened to about `room` characters: each field gets a share of what the fields before it have left."""
    kept: dict[str, object] = {}
    left_out = 0
    for key in (*(key for key in _FIRST if key in event), *(key for key in event if key not in _FIRST)):
        if key not in _FIRST and (len(kept) >= _FIELDS or room <= 0):
            left_out += 1
            continue
        name = cut(str(key), 60)
        kept[name] = value = _plain(event[key], max(_LEAST, room // 2), cut)
        room -= len(name) + len(str(value))
    if left_out:
        kept["fields_left_out"] = left_out
    return kept


def _plain(value: object, limit: int, cut: Cut) -> object:
    """A value as a bounded text, number, truth value or `None`."""
    if isinstance(value, str):
        return cut(str.__str__(value), limit)
    if value is None or isinstance(value, bool | float) or (isinstance(value, int) and -_LARGE < value < _LARGE):
        return value
    return cut(bounded_repr(value, limit), limit)


def _error(given: object) -> BaseException | None:
    """The error in `exc_info`, in any of the forms that the standard library accepts."""
    if isinstance(given, BaseException):
        return given
    if isinstance(given, tuple):
        found = cast("tuple[object, ...]", given)[1:2]
        return found[0] if found and isinstance(found[0], BaseException) else None
    return sys.exception() if given else None


def _console(*, colors: bool) -> ConsoleRenderer:
    renderer = ConsoleRenderer(colors=colors)
    others, *named = renderer.columns
    formatter = replace(cast("KeyValueColumnFormatter", others.formatter), value_repr=_quoted)  # see ConsoleRenderer
    renderer.columns = [Column("", formatter), *named]
    return renderer


def _quoted(value: Any) -> str:
    """The text of a plain value, in quotes if its end would be ambiguous."""
    if not isinstance(value, str):
        return repr(value)
    if not value or any(character in value for character in " ='\""):
        return f'"{value}"' if "'" in value else f"'{value}'"
    return value
