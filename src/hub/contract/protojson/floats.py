"""Single precision numbers in as few decimal digits as tell them apart.

A `float` field holds 0.1 as 0.10000000149011612; what its author wrote, and what protobuf prints, is 0.1.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Final

import msgspec

_PRECISIONS: Final = (6, 7, 8, 9)
"""Six digits are always exact, nine always enough (IEEE 754 binary32)."""

_EXACT: Final = 2.0**24
"""Up to here every integer is a single precision number of its own."""

_numbers: Final = msgspec.json.Decoder(list[float])


def shortest_float32(value: float) -> float:
    """The number with the fewest digits, at least six, that rounds to the finite single precision `value`."""
    if -_EXACT <= value <= _EXACT and value.is_integer():
        return value
    return shortest_float32s((value,))[0]


def shortest_float32s(values: Sequence[float]) -> list[float]:
    """`shortest_float32` of many finite values, formatted and parsed all at once."""
    shortest = list(values)
    # Pictures are often whole numbers.
    if all(map(float.is_integer, shortest)) and max(map(abs, shortest), default=0) <= _EXACT:
        return shortest
    waiting: Sequence[int] = range(len(shortest))
    exact = shortest
    for precision in _PRECISIONS:
        if not waiting:
            break
        text = ("[" + f"%.{precision}g," * len(exact))[:-1] + "]"
        candidates = _numbers.decode(text % tuple(exact))
        rounded = array("f", candidates).tolist()
        if rounded == exact and len(exact) == len(shortest):
            return candidates
        longer: list[int] = []
        for index, candidate, back, value in zip(waiting, candidates, rounded, exact, strict=True):
            if back == value:
                shortest[index] = candidate
            else:
                longer.append(index)
        waiting = longer
        exact = [values[index] for index in waiting]
    return shortest
