"""Untrusted texts in a form that is safe in outcomes, pipes and logs."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection
from itertools import islice
from typing import Final, cast

UNREADABLE_JSON: Final = (ValueError, RecursionError)
"""The errors of msgspec for a text that is not the expected JSON: `DecodeError` is a `ValueError`, as is the
`UnicodeDecodeError` of bytes that are not UTF-8; nesting beyond the recursion limit is a `RecursionError`."""

TEXT_LIMIT: Final = 16_384
"""Characters of an error message or traceback that are stored."""

NAME_LIMIT: Final = 500
"""Characters of the name of a class that are stored."""

CUT: Final = " ..."
"""The end of a shortened text."""

_ITEMS: Final = 20
"""Items of a container that are shown."""

_LARGE: Final = 10**100

_BRACKETS: Final[dict[type, tuple[str, str]]] = {
    dict: ("{", "}"),
    list: ("[", "]"),
    tuple: ("(", ")"),
    set: ("{", "}"),
    frozenset: ("{", "}"),
    deque: ("[", "]"),
}


def text_of(write: Callable[[], str], limit: int = TEXT_LIMIT) -> str:
    """The result of `write`, shortened to `limit` and without lone surrogates. `write` may run untrusted code that fails."""
    try:
        text = str.__str__(write())
    except BaseException as broken:  # noqa: BLE001 - a __str__ of the model, which does not await; the task needs an outcome
        return f"(the error could not be shown: {type(broken).__qualname__[:100]})"
    return storable(text, limit)


def storable(text: str, limit: int) -> str:
    """`text` shortened, with `?` for each lone surrogate, which neither protobuf strings nor JSON texts may contain."""
    return shortened(text, limit).encode(errors="replace").decode()


def shortened(text: str, limit: int) -> str:
    """The first `limit` characters of `text`, followed by `CUT` if there are more."""
    return text if len(text) <= limit else text[:limit] + CUT


def printable(text: str, limit: int) -> str:
    r"""`text` on one line of at most `limit` characters, including `CUT` if it was shortened.

    Line ends, terminal escapes, lone surrogates, characters that change the direction of writing and all others that are
    not printable are escaped as in Python (`\n`, `\x1b`): a text can neither forge a line of the log nor move a cursor.
    """
    kept = text[:limit]
    if not kept.isprintable():
        kept = "".join(
            character if character.isprintable() else character.encode("unicode_escape").decode() for character in kept
        )
    return kept if len(text) <= limit and len(kept) <= limit else kept[: limit - len(CUT)] + CUT


def full_name(kind: type) -> str:
    """The full name of a class, such as `builtins.ValueError`; shortened, without lone surrogates.

    Both parts come from the author: `__module__` may be any object.
    """
    return text_of(lambda: f"{kind.__module__}.{kind.__qualname__}", NAME_LIMIT)


def bounded_repr(value: object, limit: int, *, depth: int = 2) -> str:
    """Like `repr`, of at most `limit` characters, in a time that does not depend on the size of built-in containers.

    Code of other classes is run; for one that raises, the class of the error is shown.
    """
    kind = type(value)
    inner = max(20, limit // 8)
    if kind in _BRACKETS and depth == 0:
        return f"{kind.__name__}(...)"
    if kind is dict:
        pairs = islice(cast("dict[object, object]", value).items(), _ITEMS)
        shown = [
            f"{bounded_repr(key, inner, depth=depth - 1)}: {bounded_repr(of, inner, depth=depth - 1)}"
            for key, of in pairs
        ]
    elif kind in _BRACKETS:
        items = islice(cast("Collection[object]", value), _ITEMS)
        shown = [bounded_repr(item, inner, depth=depth - 1) for item in items]
    elif kind in {str, bytes, bytearray}:
        text = cast("str", value)  # or bytes, which are sliced in the same way
        return shortened(repr(text[: limit + 1]), limit)
    elif kind is int and not -_LARGE < cast("int", value) < _LARGE:
        return f"(a number of {cast('int', value).bit_length()} bits)"  # its digits would take quadratic time
    else:
        return text_of(lambda: repr(value), limit)
    more = len(cast("Collection[object]", value)) - len(shown)
    first, last = _BRACKETS[kind]
    return shortened(first + ", ".join(shown) + (f", and {more} more" if more else "") + last, limit)
