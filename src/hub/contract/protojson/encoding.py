"""JSON values to text, without one call into C that keeps the interpreter's lock for as long as the document is big."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Final

import msgspec

from hub.contract.protojson.json_text import JsonValue

PIECE: Final = 1024
"""Members of a list or an object that are encoded in one call."""

_FEW: Final = 16
_DEPTH: Final = 4
"""How deep big lists are looked for, in containers of a few members: at most `_FEW ** _DEPTH` looks."""

_encoder: Final = msgspec.json.Encoder()


def encoded(document: JsonValue) -> bytes:
    """Compact JSON in UTF-8, in one call."""
    return _encoder.encode(document)


def encoded_in_pieces(document: JsonValue) -> bytes:
    """The same text; other threads get their turn between the pieces."""
    return b"".join(_pieces(document, _DEPTH))


def _pieces(value: JsonValue, depth: int) -> Iterator[bytes]:
    match value:
        case list() if len(value) > PIECE:
            for start in range(0, len(value), PIECE):
                yield b"," if start else b"["
                yield encoded(value[start : start + PIECE])[1:-1]
            yield b"]"
        case dict() if len(value) > PIECE:
            members, opening = iter(value.items()), b"{"
            while piece := dict(islice(members, PIECE)):
                yield opening
                yield encoded(piece)[1:-1]
                opening = b","
            yield b"}"
        case list() if depth and 0 < len(value) <= _FEW:
            for index, item in enumerate(value):
                yield b"," if index else b"["
                yield from _pieces(item, depth - 1)
            yield b"]"
        case dict() if depth and 0 < len(value) <= _FEW:
            for index, (name, member) in enumerate(value.items()):
                yield b"," if index else b"{"
                yield encoded(name)
                yield b":"
                yield from _pieces(member, depth - 1)
            yield b"}"
        case _:
            yield encoded(value)
