"""JSON values to text, in calls into C that are short enough for other threads: each call keeps the interpreter's lock."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Final

import msgspec

from hub.contract.protojson.conversion import JsonValue

CHUNK: Final = 1024
"""Members of a list or an object that are encoded in one call."""

_FEW: Final = 16
_DEPTH: Final = 4
"""Levels of containers with at most `_FEW` members in which big lists are searched: at most `_FEW ** _DEPTH` of them."""

_encoder: Final = msgspec.json.Encoder()


def encode(document: JsonValue) -> bytes:
    """Compact JSON in UTF-8, in one call."""
    return _encoder.encode(document)


def encode_in_chunks(document: JsonValue) -> bytes:
    """The same text; other threads can run between the chunks."""
    return b"".join(_chunks(document, _DEPTH))


def _chunks(value: JsonValue, depth: int) -> Iterator[bytes]:
    match value:
        case list() if len(value) > CHUNK:
            for start in range(0, len(value), CHUNK):
                yield b"," if start else b"["
                yield encode(value[start : start + CHUNK])[1:-1]
            yield b"]"
        case dict() if len(value) > CHUNK:
            members, opening = iter(value.items()), b"{"
            while chunk := dict(islice(members, CHUNK)):
                yield opening
                yield encode(chunk)[1:-1]
                opening = b","
            yield b"}"
        case list() if depth and 0 < len(value) <= _FEW:
            for index, item in enumerate(value):
                yield b"," if index else b"["
                yield from _chunks(item, depth - 1)
            yield b"]"
        case dict() if (
            depth and 0 < len(value) <= _FEW and any(isinstance(each, list | dict) for each in value.values())
        ):
            for index, (name, member) in enumerate(value.items()):
                yield b"," if index else b"{"
                yield encode(name)
                yield b":"
                yield from _chunks(member, depth - 1)
            yield b"}"
        case _:
            yield encode(value)
