"""Seeded mutations of inputs: deterministic, and fast enough for thousands of inputs a second."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Final

LARGEST: Final = 64 * 1024
"""Bytes of an input at most, so that no input is slow only because of its size."""

_INTERESTING: Final = (
    b"", b"\x00", b"\xff", b"\x7f", b"\x80", b"\r\n", b"\n", b" ", b'"', b"\\", b"\\ud800", b"\xed\xa0\x80", b"\xc3",
    b"1e400", b"-0", b"NaN", b"9223372036854775808", b"-9223372036854775809", b"0.1e-400", b"null", b"{}", b"[]",
    b"\xff\xff\xff\xff", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",
)  # fmt: skip
_NESTING: Final = (b"[", b'{"a":', b"{", b'[{"":')


def mutated(random: Random, corpus: Sequence[bytes]) -> bytes:
    """One of `corpus` after one to six changes."""
    data = bytearray(random.choice(corpus))
    for _ in range(random.randint(1, 6)):
        _change(random, data, corpus)
    return bytes(data[:LARGEST])


def _change(random: Random, data: bytearray, corpus: Sequence[bytes]) -> None:
    at = random.randint(0, len(data))
    match random.randrange(9):
        case 0 if data:
            data[at % len(data)] ^= 1 << random.randrange(8)
        case 1 if data:
            data[at % len(data)] = random.randrange(256)
        case 2:
            data[at:at] = random.choice(_INTERESTING)
        case 3:
            del data[at : at + random.randint(1, 16)]
        case 4:
            data[at:at] = data[at : at + random.randint(1, 64)] * random.choice((1, 2, 50))
        case 5:
            other = random.choice(corpus)
            start = random.randint(0, len(other))
            data[at:at] = other[start : start + random.randint(1, 64)]
        case 6:
            data[at:at] = random.choice(_NESTING) * random.choice((3, 90, 970, 5000))
        case 7:
            data[at : at + random.randint(0, 8)] = random.choice(_INTERESTING)
        case _:
            del data[at:]
