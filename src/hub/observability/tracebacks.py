"""Formats exceptions: bounded in lines, characters and time, the author's frames first, without local variables.

All exceptions are formatted here: for both formats of the log, for outcomes in debug mode, and for errors of models in
processes of their own. Python's own formatting is unbounded: a message, a chain of causes or a group may have any size,
and rich takes quadratic time for a long word.
"""

from __future__ import annotations

import linecache
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Final, cast

from hub.observability.code_origin import Origin, origin_of
from hub.safe_text import TEXT_LIMIT, bounded_repr, full_name, printable, shortened, storable, text_of

LOG_LINES: Final = 14
"""Lines of a failure in a log, below the line of the event."""

STORED_LINES: Final = 60
"""Lines of a traceback that is stored with an outcome."""

WIDTH: Final = 1_900
"""Characters of a line; the log indents it."""

_BLOCKS: Final = 8
"""Exceptions of a chain or a group that are shown."""

_MEMBERS: Final = 4
"""Exceptions of one group that are shown."""

_FRAMES: Final = 6
"""Frames of one exception that are shown."""

_OUTER, _INNER = 64, 256
"""Frames at both ends of a traceback that are considered; a recursion has thousands between them."""

_STEPS: Final = 10_000
"""Frames of a traceback that are counted."""

_CAUSES: Final = 1_000
"""Errors between an error and its first cause that are followed."""

_FEWER: Final = ((6, 6), (4, 2), (3, 1), (2, 1), (1, 1), (5, 0), (4, 0), (3, 0), (2, 0), (1, 0), (0, 0))
"""Numbers of frames of the first exception, and of each other one, tried until all lines fit."""

_NOTES: Final = 2
_SOURCE: Final = 200
_NAME: Final = 300
_SOURCE_FILE: Final = 2_000_000
"""Bytes of a source file that is read to show a line of it."""

_TEXT_KEY: Final = "__hub_text__"


@dataclass(frozen=True, slots=True)
class Place:
    """The position of a frame; `source` is the line of code, or empty."""

    file: str
    line: int
    function: str
    source: str


@dataclass(frozen=True, slots=True)
class Described:
    """One exception as data. Creating it runs code of the exception's class (`__str__`); using it runs none.

    Attributes:
        relation: To the exception before it, as in `caused by`; empty for the first.
        kind: Full name of its class, without `builtins`.
        text: Its message, shortened to about `WIDTH` characters.
        notes: The first of its notes (PEP 678).
        places: The author's frames, innermost first, then those of a library; those of hub if there are no others.
        ours: Frames of hub and of the packages that run it that are left out.
        others: Other frames that are left out.
        group: Whether it is an exception group.
    """

    relation: str
    kind: str
    text: str
    notes: tuple[str, ...]
    places: tuple[Place, ...]
    ours: int
    others: int
    group: bool


def describe(error: BaseException) -> tuple[Described, ...]:
    """The exception, then the members of a group and the causes, nearest first. Never raises an `Exception`.

    For an error with a description from another process (an attribute `described`), that one.
    """
    given: object = getattr(error, "described", None)
    if isinstance(given, tuple) and given and isinstance(given[0], Described):
        return cast("tuple[Described, ...]", given)
    try:
        return tuple(_describe_one(each, relation) for each, relation in related(error))
    except Exception as broken:  # noqa: BLE001 - a class of the author may not behave like an exception
        kind = type(error)
        text = f"(the error could not be shown: {type(broken).__qualname__})"
        return (Described("", printable(kind.__qualname__, _NAME), text, (), (), 0, 0, group=False),)


def related(error: BaseException) -> Iterator[tuple[BaseException, str]]:
    """The exceptions of `describe`, each with its relation to the one before it."""
    waiting: deque[tuple[BaseException, str]] = deque([(error, "")])
    seen: set[int] = set()
    while waiting and len(seen) < _BLOCKS:
        current, relation = waiting.popleft()
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current, relation
        parts = _parts(current)
        waiting.extend((each, f"{n} of {len(parts)}: ") for n, each in enumerate(parts[:_MEMBERS], 1))
        cause, how = _cause(current)
        if cause is not None:
            if len(seen) == _BLOCKS - 1:
                cause, skipped = _root(cause)
                how = f"{skipped} errors further, {how}" if skipped else how
            waiting.append((cause, how))


def text_of_error(error: BaseException) -> str:
    """`str(error)` in a form that can be stored and sent, see `text_of`. The code of the error's class runs only once."""
    known = error.__dict__.get(_TEXT_KEY)
    return known if isinstance(known, str) else keep_text(error, text_of(lambda: _str(error)))


def keep_text(error: BaseException, text: str) -> str:
    """Sets the result of `text_of_error` for this error, unless it is set already; returns the result."""
    kept: str = error.__dict__.setdefault(_TEXT_KEY, text)
    return kept


def runs_foreign_code(error: BaseException) -> bool:
    """Whether `str(error)` may run code that is not part of hub or Python, which may take any time."""
    if _TEXT_KEY in error.__dict__ or isinstance(error, BaseExceptionGroup):
        return False
    if type(error).__module__.partition(".")[0] == "hub":
        return False
    return hasattr(type(error).__str__, "__code__") or not all(type(each) in _PLAIN for each in error.args)


def lines(described: Sequence[Described], limit: int = LOG_LINES) -> list[str]:
    """At most `limit` lines of at most `WIDTH` characters, all of them printable.

    The longer the chain of causes, the fewer frames of each exception are shown; the last line counts the omitted lines.
    """
    written: list[str] = []
    for first, others in ((limit, _FRAMES), *_FEWER):
        written = [
            line for n, each in enumerate(described) for line in _lines_of(each, frames=first if n == 0 else others)
        ]
        if len(written) <= limit:
            return written
    return [*written[: limit - 1], f"and {len(written) - limit + 1} more lines"]


def members(described: Sequence[Described], *, frames: int, text: int) -> list[dict[str, object]]:
    """The same for JSON, with at most `frames` frames per exception and `text` characters per text."""
    return [
        {
            "exc_type": storable(each.kind, text),
            "exc_value": storable(each.text, text),
            **({"exc_notes": [storable(note, text) for note in each.notes]} if each.notes else {}),
            **({"relation": each.relation.strip(" :")} if each.relation else {}),
            "is_group": each.group,
            "frames": [
                {
                    "filename": storable(place.file, text),
                    "lineno": place.line,
                    "name": storable(place.function, text),
                    **({"line": storable(place.source, text)} if place.source else {}),
                }
                for place in each.places[:frames]
            ],
            "frames_left_out": each.ours + each.others + max(0, len(each.places) - frames),
        }
        for each in described
    ]


def _lines_of(each: Described, *, frames: int) -> Iterator[str]:
    yield printable(f"{each.relation}{each.kind}: {each.text}" if each.text else each.relation + each.kind, WIDTH)
    for note in each.notes:
        yield printable(f"  note: {note}", WIDTH)
    for place in each.places[:frames]:
        where = f", in {place.function}" if place.function else ""
        yield printable(f'  File "{place.file}", line {place.line}{where}', WIDTH)
        if place.source:
            yield printable(f"    {place.source}", WIDTH)
    others = each.others + max(0, len(each.places) - frames)
    left_out = [f"{count} {what}" for count, what in ((each.ours, "of hub"), (others, "others")) if count]
    if left_out and frames:
        yield f"  and frames that are left out: {', '.join(left_out)}"


def _describe_one(error: BaseException, relation: str) -> Described:
    places, ours, others = _places(error)
    notes: object = getattr(error, "__notes__", None)
    some = cast("list[object]", notes)[:_NOTES] if isinstance(notes, list) else []
    return Described(
        relation=relation,
        kind=printable(full_name(type(error)).removeprefix("builtins."), _NAME),
        text=shortened(text_of_error(error), WIDTH),
        notes=tuple(map(_note, some)),
        places=places,
        ours=ours,
        others=others,
        group=isinstance(error, BaseExceptionGroup),
    )


def _note(note: object) -> str:
    return text_of(lambda: note if isinstance(note, str) else bounded_repr(note, _NAME), WIDTH)


def _str(error: BaseException) -> str:
    """`str(error)`, with a bounded form of large arguments."""
    how: object = type(error).__str__
    if how is BaseException.__str__ and len(error.args) > 1:
        return bounded_repr(error.args, TEXT_LIMIT)
    if how in {BaseException.__str__, KeyError.__str__} and len(error.args) == 1:
        argument: object = error.args[0]
        if type(argument) in _CONTAINERS or (how is KeyError.__str__ and isinstance(argument, str)):
            return bounded_repr(argument, TEXT_LIMIT)
    return str(error)


def _parts(error: BaseException) -> tuple[BaseException, ...]:
    """The members of a group; none of any other error."""
    if not isinstance(error, BaseExceptionGroup):
        return ()
    return cast("BaseExceptionGroup[BaseException]", error).exceptions  # true for every group


def _cause(error: BaseException) -> tuple[BaseException | None, str]:
    if error.__cause__ is not None:
        return error.__cause__, "caused by "
    return (None if error.__suppress_context__ else error.__context__), "while handling "


def _root(error: BaseException) -> tuple[BaseException, int]:
    """The first cause of an error, and the number of causes between."""
    steps = 0
    seen = {id(error)}
    while steps < _CAUSES and (cause := _cause(error)[0]) is not None and id(cause) not in seen:
        seen.add(id(cause))
        error = cause
        steps += 1
    return error, max(0, steps - 1)


def _places(error: BaseException) -> tuple[tuple[Place, ...], int, int]:
    """The frames to show, innermost first, and the numbers of omitted frames of hub and of others."""
    outer: list[tuple[FrameType, int]] = []
    inner: deque[tuple[FrameType, int]] = deque(maxlen=_INNER)
    count = 0
    trace = error.__traceback__
    while trace is not None and count < _STEPS:
        (outer if count < _OUTER else inner).append((trace.tb_frame, trace.tb_lineno))
        count += 1
        trace = trace.tb_next
    seen = [*reversed(inner), *reversed(outer)]
    by_origin: dict[Origin, list[tuple[FrameType, int]]] = {origin: [] for origin in Origin}
    for frame, line in seen:
        by_origin[origin_of(frame)].append((frame, line))
    authors, libraries, ours = (by_origin[origin] for origin in (Origin.AUTHOR, Origin.LIBRARY, Origin.OURS))
    if authors:
        chosen = authors if len(authors) <= _FRAMES else [*authors[: _FRAMES - 1], authors[-1]]
        chosen = [*chosen, *libraries[: min(2, _FRAMES - len(chosen))]]
    else:
        chosen = seen[:_FRAMES]
    shown = tuple(_place(frame, line) for frame, line in chosen)
    if isinstance(error, SyntaxError):
        shown = (*_place_of_syntax(error), *shown)
    ours_left = len([each for each in ours if each not in chosen])
    return shown, ours_left, count - len(chosen) - ours_left


def _place(frame: FrameType, line: int) -> Place:
    code = frame.f_code
    file = code.co_filename
    return Place(
        file=printable(file, 2 * _NAME),
        line=line or 0,
        function=printable(code.co_qualname, _NAME),
        source=printable(_source(file, line or 0), _SOURCE),
    )


def _place_of_syntax(error: SyntaxError) -> Iterator[Place]:
    """The position of a syntax error, which has no frame since the code never ran."""
    file, line, text = (cast("object", each) for each in (error.filename, error.lineno, error.text))
    if isinstance(file, str) and isinstance(line, int):
        source = text[: 2 * _SOURCE].strip() if isinstance(text, str) else ""
        yield Place(printable(file, 2 * _NAME), line, "", printable(source, _SOURCE))


def _source(file: str, line: int) -> str:
    if file not in linecache.cache:
        try:
            if Path(file).stat().st_size > _SOURCE_FILE:
                return ""
        except (OSError, ValueError):  # code without a file
            return ""
    return linecache.getline(file, line)[: 2 * _SOURCE].strip()


_PLAIN: Final = frozenset({str, int, float, bool, bytes, type(None)})
_CONTAINERS: Final = frozenset({int, list, tuple, dict, set, frozenset, deque, bytearray})
